package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

func value(v float64) *float64 { return &v }

// sample is a test with every part present and some of them wrong.
func sample() *Bench {
	begin := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	return &Bench{
		Schema: BenchSchema, ToolVersion: "v0.1.0", StartTime: begin, EndTime: begin.Add(30 * time.Second),
		Target: Target{Context: "prod", Namespace: "triton", Service: "triton-infer", Model: "resnet50", Platform: "tensorrt_plan", TritonVersion: "2.70.0",
			Pods: []Pod{{Name: "triton-infer-7c9d-abcde", UID: "u1", Node: "gpu-node-1", Ready: true, Loaded: true}, {Name: "triton-infer-7c9d-fghij", UID: "u2", Ready: true}}},
		Path:    Path{Kind: "API server port-forward", Transport: "SPDY", PodsLoaded: 1, PodsReady: 2},
		Request: Request{Protocol: "HTTP", Encoding: "binary", BatchSize: 1, SizeBytes: 602112, Data: "random", Seed: 1, Inputs: []Tensor{{Name: "input", Datatype: "FP32", Shape: []int64{1, 3, 224, 224}}}},
		Load:    Load{Mode: "open", RequestRatePerSecond: 500, Arrival: "poisson", MaxInFlight: 1024, DurationSeconds: 30, WarmupSeconds: 2, TimeoutSeconds: 30},
		Tunnel:  &Tunnel{RoundTripP50US: 921.4, RoundTripP99US: 2104, RoundTripSamples: 50, CeilingPerSecond: 3618.2, CeilingConcurrency: 16, CeilingUsedRatio: 0.138},
		Verdict: Verdict{Kind: "queue-bound", Summary: "requests wait 12.1 ms for a model instance and compute 6.02 ms",
			Evidence: []string{"of 19.4 ms mean service time: queue 62.4 %, compute 31.0 %, outside 6.60 %", "average batch 3.81 of at most 8"},
			Next:     "batches are not full: allow max_queue_delay_microseconds or more requests in flight, then add instances (instance_group count)"},
		Client: Client{ElapsedSeconds: 30.02, Sent: 15000, Succeeded: 14990, Failed: 8, Canceled: 2, Unsent: 12, ErrorRatio: 8.0 / 14998, RequestRatePerSecond: 499.3, InferenceRatePerSecond: 499.3, Inferences: 14990, MaxInFlightReached: 64,
			Response: &Latency{14990, 19400, 7100, 18100, 29900, 33000, 46200, 88000, 1_210_000},
			Service:  &Latency{14990, 19300, 7050, 18000, 29800, 32900, 46000, 87000, 1_200_000},
			SendLag:  &Latency{14990, 80, 2, 70, 110, 130, 160, 1200, 5000},
			CPU:      &CPU{UsedSeconds: 1.2, CoresUsed: 0.04, PerRequestUS: 80, WaitedSeconds: 0.03, DelayMeanUS: 2},
			Stability: &Stability{Steady: false, ComparedWindows: 3, RateSpreadRatio: 0.004, RateLimitRatio: 0.1, ResponseSpreadRatio: 0.28, ResponseLimitRatio: 0.1,
				Windows: []Window{{0, 10, 499, 15000}, {10, 10, 500, 16800}, {20, 10, 499.5, 26400}}},
			Errors: []Error{{Class: "http 503", Count: 8, First: "Exceeds maximum queue size", FirstAtSeconds: 4.2}}},
		Server: &Server{Pods: []ServerPod{{Name: "triton-infer-7c9d-abcde", UID: "u1", Requests: 15002, Inferences: 15002, Executions: 3937}, {Name: "triton-infer-7c9d-fghij", UID: "u2", Problem: "the pod went away or stopped being ready during the test; its counters are lost"}},
			Requests: 15002, Inferences: 15002, Executions: 3937, AverageBatch: 3.81, Batches: []Batch{{1, 400}, {4, 3000}, {8, 537}},
			RequestUS: 18200, QueueUS: 12100, ComputeInputUS: 20, ComputeInferUS: 5900, ComputeOutputUS: 100, OverheadUS: 80, OutsideUS: value(1100), ForeignRequests: 12, Complete: true},
		GPU: &GPU{Source: "Prometheus (DCGM)", IntervalSeconds: 1, Devices: []GPUDevice{
			{UUID: "GPU-11111111-2222-3333-4444-555555555555", Index: "0", Product: "NVIDIA A100-SXM4-40GB", Node: "gpu-node-1", Samples: 30, UtilizationAverage: value(0.731), UtilizationPeak: value(0.98), MemoryUsedBytes: value(7.3e9), MemoryTotalBytes: value(42.9e9), PowerAverageW: value(231), PowerPeakW: value(390), TemperaturePeakC: value(71), EnergyJ: value(6930), EnergyPerInference: value(0.462)},
			{UUID: "GPU-66666666-2222-3333-4444-555555555555", Samples: 1, Insufficient: true}},
			Gaps: []string{"no answer from pod dcgm-exporter-x for 4 s"}},
		Grafana: &Grafana{AnnotationID: 7, URL: "http://localhost:3000/d/triton-latency?from=1&to=2", Reach: "kubectl triton observe open --from 1793534385000 --to 1793534445000"},
		Missing: []Missing{{Part: "Grafana annotation", Why: "Grafana does not accept the login", Fix: "--grafana-token-file"}},
		Notes:   []string{"other clients sent 12 requests to the same pods during the test; the server's means include them"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update when the change is meant:\n%s", name, diff)
	}
}

func text(t *testing.T, b *Bench, profile termenv.Profile) string {
	t.Helper()
	var out bytes.Buffer
	r := lipgloss.NewRenderer(&out)
	r.SetColorProfile(profile)
	if err := Text(&out, r, b); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTextIsGoldenAndFits(t *testing.T) {
	got := text(t, sample(), termenv.Ascii)
	golden(t, "bench.txt", []byte(got))
	for _, l := range strings.Split(got, "\n") {
		if w := lipgloss.Width(l); w > Width && !strings.Contains(l, "http") && !strings.Contains(l, "kubectl") {
			t.Errorf("a line is %d columns wide: %q", w, l)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("plain text holds escape sequences")
	}
}

// TestBatchSharesAddUp: executions that failed have a size and may not be among
// those that are counted.
func TestBatchSharesAddUp(t *testing.T) {
	b := sample()
	for _, executions := range []uint64{0, 3} {
		b.Server.Batches, b.Server.Executions = []Batch{{1, 1}, {4, 3}}, executions
		if got := text(t, b, termenv.Ascii); !strings.Contains(strings.Join(strings.Fields(got), " "), "by size: 1: 25.0 %, 4: 75.0 %") {
			t.Error(got)
		}
	}
}

// TestMIGInstancesAreToldApart: they have their GPU's UUID and index in common.
func TestMIGInstancesAreToldApart(t *testing.T) {
	b := sample()
	b.GPU.Devices = []GPUDevice{
		{UUID: "GPU-1", Index: "0", MIGProfile: "1g.10gb", MIGInstance: "7", UtilizationAverage: value(0.5)},
		{UUID: "GPU-1", Index: "0", MIGProfile: "2g.20gb", MIGInstance: "9", UtilizationAverage: value(0.25)},
	}
	if got := text(t, b, termenv.Ascii); !strings.Contains(got, "GPU-1 MIG 7 1g.10gb\n") || !strings.Contains(got, "GPU-1 MIG 9 2g.20gb\n") {
		t.Error(got)
	}
	var out bytes.Buffer
	if err := PerfAnalyzerCSV(&out, b); err != nil || !strings.Contains(out.String(), "GPU-1/7:0.5;GPU-1/9:0.25;") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestColourOnlyStyles(t *testing.T) {
	plain, coloured := text(t, sample(), termenv.Ascii), text(t, sample(), termenv.ANSI256)
	if !strings.Contains(coloured, "\x1b[") {
		t.Fatal("a colour terminal gets no colour")
	}
	if stripped := stripANSI(coloured); stripped != plain {
		t.Errorf("colour changes the text:\n%s", cmp.Diff(plain, stripped))
	}
}

func stripANSI(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			for s[i] != 'm' {
				i++
			}
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestTextOfAnEmptyResult(t *testing.T) {
	got := text(t, &Bench{Verdict: Verdict{Kind: "failed", Summary: "no request was finished"}, Interrupted: true}, termenv.Ascii)
	for _, want := range []string{"interrupted", "no request was answered", "× failed: no request was finished"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}

func TestJSONAndYAMLHoldTheSame(t *testing.T) {
	var j, y bytes.Buffer
	if err := JSON(&j, sample()); err != nil {
		t.Fatal(err)
	}
	if err := YAML(&y, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench.json", j.Bytes())
	golden(t, "bench.yaml", y.Bytes())
	var back Bench
	if err := json.Unmarshal(j.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), &back); diff != "" {
		t.Errorf("JSON does not read back:\n%s", diff)
	}
	back = Bench{}
	if err := yaml.Unmarshal(y.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), &back); diff != "" {
		t.Errorf("YAML does not read back:\n%s", diff)
	}
}

// TestYAMLIsTheSameDocument: read without the schema, both forms hold the same
// names and values, numbers at the edge of what they can carry included.
func TestYAMLIsTheSameDocument(t *testing.T) {
	b := sample()
	b.Request.Seed = math.MaxUint64
	b.Client.Response.MaxUS = 1e21
	b.Client.Response.MinUS = 1.0 / 3
	b.Target.Context = "yes" // a boolean to careless writers of YAML
	b.Target.Model = "0123"
	var j, y bytes.Buffer
	if err := JSON(&j, b); err != nil {
		t.Fatal(err)
	}
	if err := YAML(&y, b); err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSONStrict(y.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(text))
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if diff := cmp.Diff(read(j.Bytes()), read(asJSON)); diff != "" {
		t.Errorf("JSON and YAML differ:\n%s", diff)
	}
	if !bytes.Contains(y.Bytes(), []byte("seed: 18446744073709551615")) {
		t.Error("the seed lost digits on the way to YAML")
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Significant(0), "0"},
		{Significant(0.9214), "0.921"},
		{Significant(12.06), "12.1"},
		{Significant(9.996), "10.0"},
		{Significant(99.96), "100"},
		{Significant(999.6), "1,000"},
		{Significant(3618.2), "3,620"},
		{Significant(1234567), "1,230,000"},
		{Significant(-4.567), "-4.57"},
		{Count(1234567), "1,234,567"},
		{Microseconds(0), "0 ms"},
		{Microseconds(45.64), "45.6 µs"},
		{Microseconds(99.97), "0.100 ms"},
		{Microseconds(921.4), "0.921 ms"},
		{Microseconds(999_600), "1.00 s"},
		{Microseconds(1_210_000), "1.21 s"},
		{Seconds(0.5), "500 ms"},
		{Seconds(30), "30.0 s"},
		{Seconds(3600), "1.00 h"},
		{Percent(0), "0 %"},
		{Percent(0.00001), "<0.01 %"},
		{Percent(0.0005), "0.0500 %"},
		{Percent(0.138), "13.8 %"},
		{Percent(0.9999), "99.99 %"},
		{Percent(1), "100 %"},
		{Bytes(13), "13.0 B"},
		{Bytes(602112), "588 KiB"},
		{Bytes(42.9e9), "40.0 GiB"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
