package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const gib = 1 << 30

func testDevices() []gpu.Device {
	return []gpu.Device{
		{Index: 0, UUID: "GPU-00000000-0000-0000-0000-000000000000", Name: "NVIDIA A100-SXM4-40GB", PCIBusID: "00000000:07:00.0", MemoryTotalBytes: 40 * gib, IdlePowerW: 50, LimitPowerW: 400},
		{Index: 1, UUID: "GPU-11111111-1111-1111-1111-111111111111", Name: "NVIDIA A100-SXM4-40GB", PCIBusID: "00000000:0F:00.0", MemoryTotalBytes: 40 * gib, IdlePowerW: 50, LimitPowerW: 400},
	}
}

func testReadings(g generation) []reading {
	devices := testDevices()
	return []reading{
		read(gpu.Sample{Device: devices[0], Utilization: 0.8349, MemoryUsedBytes: 5*gib + 12345, PowerW: 298.3871, TemperatureC: 61.4, MemoryTemperatureC: 67.4, EnergyJ: 1234.56789, SMClockMHz: 1410, MemoryClockMHz: 1215}, g),
		read(gpu.Sample{Device: devices[1], PowerW: 50, TemperatureC: 33, MemoryTemperatureC: 39, EnergyJ: 617.2, SMClockMHz: 210, MemoryClockMHz: 405}, g),
	}
}

func TestMetricsText(t *testing.T) {
	for _, g := range []generation{names48, names49} {
		t.Run(string(g), func(t *testing.T) {
			cfg := config{generation: g, hostname: "gpu-node-1"}
			holders := map[string]holder{testDevices()[0].UUID: {Namespace: "triton", Pod: "triton-infer-0", Container: "triton"}}
			var got bytes.Buffer
			render(&got, cfg, defaultCounters(g), testReadings(g), holders)

			golden := filepath.Join("testdata", "metrics-"+string(g)+".txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the metrics differ from %s (rewrite with -update):\n%s", golden, got.String())
			}
		})
	}
}

func families(t *testing.T, r io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.UTF8Validation)
	f, err := p.TextToMetricFamilies(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func value(t *testing.T, f map[string]*dto.MetricFamily, name string, index int) float64 {
	t.Helper()
	family := f[name]
	if family == nil || len(family.Metric) <= index {
		t.Fatalf("no metric %s of GPU %d", name, index)
	}
	m := family.Metric[index]
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

// Both generations speak of the same GPU, each in its own units.
func TestGenerationsAgree(t *testing.T) {
	f := map[generation]map[string]*dto.MetricFamily{}
	for _, g := range []generation{names48, names49} {
		var text bytes.Buffer
		render(&text, config{generation: g}, defaultCounters(g), testReadings(g), nil)
		f[g] = families(t, &text)
	}
	for _, tc := range []struct {
		old, new       string
		perNew, within float64
	}{
		{"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO", 100, 0.5},
		{"DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_USED_BYTES", 1.0 / bytesPerMiB, 0.5},
		{"DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_FREE_BYTES", 1.0 / bytesPerMiB, 0.5},
		{"DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_FB_RESERVED_BYTES", 1.0 / bytesPerMiB, 0},
		{"DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS", 1, 0},
		{"DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", 1, 0},
		{"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", 1000, 1000},
		{"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_SM_CLOCK_HERTZ", 1e-6, 0},
		{"DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", 1, 0.005},
	} {
		for index := range testDevices() {
			before, after := value(t, f[names48], tc.old, index), value(t, f[names49], tc.new, index)*tc.perNew
			if math.Abs(before-after) > tc.within {
				t.Errorf("GPU %d: %s %g, %s %g", index, tc.old, before, tc.new, after)
			}
		}
		if f[names48][tc.new] != nil || f[names49][tc.old] != nil {
			t.Errorf("%s and %s are in one generation", tc.old, tc.new)
		}
	}
	total := value(t, f[names48], "DCGM_FI_DEV_FB_USED", 0) + value(t, f[names48], "DCGM_FI_DEV_FB_FREE", 0) + value(t, f[names48], "DCGM_FI_DEV_FB_RESERVED", 0)
	if total != 40*1024 {
		t.Errorf("used, free and reserved memory sum up to %g MiB", total)
	}
}

func TestLabelValuesAreEscaped(t *testing.T) {
	r := testReadings(names48)[:1]
	r[0].Device.Name = "a\\b\"c\nd"
	var text bytes.Buffer
	render(&text, config{generation: names48}, defaultCounters(names48), r, nil)
	for _, l := range families(t, &text)["DCGM_FI_DEV_GPU_TEMP"].Metric[0].Label {
		if l.GetName() == "modelName" && l.GetValue() != r[0].Device.Name {
			t.Errorf("model name %q became %q", r[0].Device.Name, l.GetValue())
		}
	}
}

func testExporter(t *testing.T, g generation) (*exporter, *gpu.Accounting, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	if err := gpu.WriteInventory(dir, testDevices()); err != nil {
		t.Fatal(err)
	}
	telemetry, err := gpu.NewTelemetry(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := gpu.OpenAccounting(dir, testDevices()[0].UUID, "triton")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := telemetry.Close(); err != nil {
			t.Error(err)
		}
	})
	var published bytes.Buffer
	cfg := config{generation: g, collectInterval: time.Hour, kubernetes: true, podResourcesFile: filepath.Join(dir, "pods.json")}
	return &exporter{cfg: cfg, counters: defaultCounters(g), telemetry: telemetry, published: &published, log: slog.New(slog.DiscardHandler)}, a, &published
}

func get(t *testing.T, e *exporter, path string, status int) string {
	t.Helper()
	w := httptest.NewRecorder()
	e.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != status {
		t.Fatalf("GET %s: %d, want %d: %s", path, w.Code, status, w.Body)
	}
	return w.Body.String()
}

// Between two refreshes the same values are served, whatever the GPU does; and
// what is logged is what is served.
func TestValuesChangeAtRefreshOnly(t *testing.T) {
	for _, g := range []generation{names48, names49} {
		t.Run(string(g), func(t *testing.T) {
			e, a, published := testExporter(t, g)
			start := time.Now()
			if err := e.refresh(start); err != nil {
				t.Fatal(err)
			}
			idle := get(t, e, "/metrics", http.StatusOK)
			a.SetMemoryBytes(3 * gib)
			a.Begin()
			if again := get(t, e, "/metrics", http.StatusOK); again != idle {
				t.Error("the values changed without a refresh")
			}
			published.Reset()
			if err := e.refresh(start.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			f := families(t, strings.NewReader(get(t, e, "/metrics", http.StatusOK)))
			var line publication
			if err := json.Unmarshal(published.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			names := map[generation][5]string{
				names48: {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"},
				names49: {"DCGM_FI_DEV_GPU_UTIL_RATIO", "DCGM_FI_DEV_FB_USED_BYTES", "DCGM_FI_DEV_BOARD_POWER_WATTS", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL"},
			}[g]
			units := map[generation][5]float64{names48: {0.01, bytesPerMiB, 1, 1, 0.001}, names49: {1, 1, 1, 1, 1}}[g]
			for index, logged := range line.GPUs {
				for i, want := range []float64{logged.Utilization, float64(logged.MemoryUsedBytes), logged.PowerW, logged.TemperatureC, logged.EnergyJ} {
					if got := value(t, f, names[i], index) * units[i]; math.Abs(got-want) > 1e-9*math.Max(1, want) {
						t.Errorf("GPU %d: %s says %.9f, the log %.9f", index, names[i], got, want)
					}
				}
			}
			if busy := line.GPUs[0]; busy.Utilization < 0.99 || busy.MemoryUsedBytes != 3*gib || busy.PowerW <= line.GPUs[1].PowerW {
				t.Errorf("the busy GPU is logged as %+v", busy)
			}
			if idle := line.GPUs[1]; idle.Utilization != 0 || idle.MemoryUsedBytes != 0 || idle.PowerW != 50 {
				t.Errorf("the idle GPU is logged as %+v", idle)
			}
		})
	}
}

func TestPodLabels(t *testing.T) {
	e, _, _ := testExporter(t, names48)
	if err := e.refresh(time.Now()); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(e.cfg.podResourcesFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if text := get(t, e, "/metrics", http.StatusOK); strings.Contains(text, `pod="`) {
		t.Errorf("pod labels without pod resources:\n%s", text)
	}
	write(`[{"uuid":"` + testDevices()[1].UUID + `","namespace":"triton","pod":"triton-infer-0","container":"triton"}]`)
	lines := strings.Split(get(t, e, "/metrics", http.StatusOK), "\n")
	want := `,container="triton",err_code="0",err_msg="No Error",namespace="triton",pod="triton-infer-0"} 0`
	var held, free bool
	for _, l := range lines {
		if strings.HasPrefix(l, "DCGM_FI_DEV_XID_ERRORS{") {
			held = held || strings.Contains(l, `gpu="1"`) && strings.HasSuffix(l, want)
			free = free || strings.Contains(l, `gpu="0"`) && !strings.Contains(l, "pod=")
		}
	}
	if !held || !free {
		t.Errorf("held GPU labelled: %v, free GPU not labelled: %v", held, free)
	}
	e.cfg.kubernetes = false
	if text := get(t, e, "/metrics", http.StatusOK); strings.Contains(text, `pod="`) {
		t.Error("pod labels without --kubernetes")
	}
	e.cfg.kubernetes = true
	write("{")
	get(t, e, "/metrics", http.StatusInternalServerError)
	if health := get(t, e, "/health", http.StatusOK); health != "OK" {
		t.Errorf("health %q", health)
	}
}

// The whole program, as a container without inherited listeners.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	if err := gpu.WriteInventory(dir, testDevices()); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{envGPUDir: dir, "NODE_NAME": "gpu-node-1", "DCGM_EXPORTER_KUBERNETES": "true"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stdoutWriter := io.Pipe()
	stderr, stderrWriter := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-f", defaultCollectorsFile, "--collect-interval=20"}, func(k string) string { return env[k] }, stdoutWriter, stderrWriter)
		stdoutWriter.CloseWithError(err)
		stderrWriter.CloseWithError(err)
		ended <- err
	}()
	address := listeningOn(t, stderr)
	lines := json.NewDecoder(stdout)
	var first, second publication
	for _, line := range []*publication{&first, &second} {
		if err := lines.Decode(line); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	if !second.Time.After(first.Time) || len(second.GPUs) != 2 {
		t.Errorf("published %+v, then %+v", first, second)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	f := families(t, resp.Body)
	resp.Body.Close()
	for _, name := range []string{"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"} {
		if len(f[name].GetMetric()) != 2 {
			t.Errorf("%d series of %s, want 2", len(f[name].GetMetric()), name)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
}

func listeningOn(t *testing.T, log io.Reader) string {
	t.Helper()
	buf := make([]byte, 1024)
	n, err := log.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	_, rest, found := strings.Cut(string(buf[:n]), "address=")
	address, _, _ := strings.Cut(rest, " ")
	if !found {
		t.Fatalf("no address in %q", buf[:n])
	}
	return address
}
