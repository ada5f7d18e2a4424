//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// logged is one line of the simulator's own request log.
type logged struct {
	Model     string `json:"model"`
	ArrivalNS int64  `json:"arrival_ns"`
	QueueNS   int64  `json:"queue_ns"`
	InferNS   int64  `json:"compute_infer_ns"`
	TotalNS   int64  `json:"total_ns"`
	Batch     int    `json:"batch"`
	ExecBatch int    `json:"exec_batch"`

	Responses       int    `json:"responses"`
	FirstResponseNS int64  `json:"first_response_ns"`
	Status          string `json:"status"`
}

// simulatorLog reads the requests for a model that arrived during the test.
func simulatorLog(t *testing.T, hc *http.Client, r *report.Bench) []logged {
	t.Helper()
	var all []logged
	lines := bufio.NewScanner(strings.NewReader(fetch(t, hc, http.MethodGet, "http://sim/requests", "")))
	for lines.Scan() {
		var l logged
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Model == r.Target.Model && l.ArrivalNS >= r.StartTime.UnixNano() && l.ArrivalNS <= r.EndTime.UnixNano() {
			all = append(all, l)
		}
	}
	return all
}

func tritonControl(t *testing.T) *http.Client {
	t.Helper()
	return dialPod(t, "triton", readyPod(t, "triton", "app=triton-infer").Name, "8003")
}

// TestPercentilesMatchTheSimulator: what the client reports is what the
// simulator did, for both protocols, both transports and both loops.
func TestPercentilesMatchTheSimulator(t *testing.T) {
	for _, args := range [][]string{
		{"steady", "--concurrency", "8", "--duration", "12s"},
		{"steady", "--concurrency", "8", "--duration", "8s", "--protocol", "grpc"},
		{"steady", "--concurrency", "8", "--duration", "8s", "--transport", "websocket", "--batch-size", "3"},
		{"steady", "--rate", "30", "--arrival", "constant", "--duration", "8s"},
		{"steady", "--concurrency", "8", "--requests", "200", "--encoding", "json"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			hc := tritonControl(t)
			fetch(t, hc, http.MethodDelete, "http://sim/requests", "")
			r := benchJSON(t, 0, append(args, "--warmup", "1s")...)
			done := simulatorLog(t, hc, r)
			if len(done) == 0 || uint64(len(done)) != r.Client.Succeeded || r.Client.Failed != 0 {
				t.Fatalf("the simulator answered %d requests; the client counts %d ok, %d failed", len(done), r.Client.Succeeded, r.Client.Failed)
			}
			inferences := uint64(0)
			var total []int64
			for _, l := range done {
				inferences += uint64(l.Batch)
				total = append(total, l.TotalNS)
			}
			if r.Client.Inferences != inferences || r.Server.Inferences != inferences || r.Server.Requests != uint64(len(done)) || r.Server.ForeignRequests != 0 || !r.Server.Complete {
				t.Errorf("the simulator made %d inferences; the client counts %d, the server's statistics %d (%d requests, %d foreign)", inferences, r.Client.Inferences, r.Server.Inferences, r.Server.Requests, r.Server.ForeignRequests)
			}
			slices.Sort(total)
			for _, c := range []struct {
				name string
				q    float64
				got  float64
			}{
				{"p50", 0.5, r.Client.Service.P50US}, {"p90", 0.9, r.Client.Service.P90US},
				{"p95", 0.95, r.Client.Service.P95US}, {"p99", 0.99, r.Client.Service.P99US},
			} {
				// The nearest-rank definition that HDR histograms use.
				rank := max(0, int(math.Ceil(c.q*float64(len(total))))-1)
				want := float64(total[rank]) / 1e3
				off := c.got/want - 1
				t.Logf("%s: client %.2f ms, simulator %.2f ms (%+.1f %%)", c.name, c.got/1e3, want/1e3, off*100)
				if math.Abs(off) > 0.05 {
					t.Errorf("%s is off by %.1f %%", c.name, off*100)
				}
			}
		})
	}
}

// TestServerTimesMatchTheSimulator: queue, compute and batches of a model that
// queues, and the verdict that follows.
func TestServerTimesMatchTheSimulator(t *testing.T) {
	hc := tritonControl(t)
	fetch(t, hc, http.MethodDelete, "http://sim/requests", "")
	r := benchJSON(t, 0, "queueing", "--concurrency", "12", "--duration", "6s", "--warmup", "500ms")
	done := simulatorLog(t, hc, r)
	queue, infer, perBatch := 0.0, 0.0, map[int]float64{}
	for _, l := range done {
		queue += float64(l.QueueNS)
		infer += float64(l.InferNS)
		perBatch[l.ExecBatch] += 1 / float64(l.ExecBatch)
	}
	n := float64(len(done))
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"queue", r.Server.QueueUS, queue / n / 1e3}, {"compute infer", r.Server.ComputeInferUS, infer / n / 1e3}} {
		if math.Abs(c.got/c.want-1) > 0.01 {
			t.Errorf("%s is %.1f µs per request, the simulator's log says %.1f", c.name, c.got, c.want)
		}
	}
	for _, b := range r.Server.Batches {
		if math.Abs(float64(b.Executions)-perBatch[int(b.Size)]) > 0.5 {
			t.Errorf("%d executions of batch %d, the simulator's log says %.1f", b.Executions, b.Size, perBatch[int(b.Size)])
		}
	}
	// On a machine that starves the client, the verdict has to say that first.
	starved := r.Verdict.Kind == "client-bound" && r.Client.CPU.DelayMeanUS > 0.1*r.Client.Service.MeanUS
	if r.Verdict.Kind != "queue-bound" && !starved {
		t.Errorf("the verdict is %+v", r.Verdict)
	}
}

// TestErrorCountsMatchTheSimulator: errors are counted by class, never fatal,
// and decide the exit code.
func TestErrorCountsMatchTheSimulator(t *testing.T) {
	hc := tritonControl(t)
	fetch(t, hc, http.MethodDelete, "http://sim/requests", "")
	r := benchJSON(t, 3, "flaky", "--concurrency", "4", "--requests", "500", "--warmup", "0", "--max-error-rate", "1%")
	failed := uint64(0)
	for _, l := range simulatorLog(t, hc, r) {
		if l.Status != "OK" {
			failed++
		}
	}
	if failed == 0 || r.Client.Failed != failed || r.Client.Succeeded+failed != 500 || r.Server.Failed != failed {
		t.Errorf("the simulator failed %d of 500; the client counts %d failed, %d ok, the statistics %d", failed, r.Client.Failed, r.Client.Succeeded, r.Server.Failed)
	}
	if len(r.Client.Errors) != 1 || r.Client.Errors[0].Class != "http 503" || !strings.Contains(r.Client.Errors[0].First, "out of luck") {
		t.Errorf("errors are %+v", r.Client.Errors)
	}
	if o := plugin(t, "bench", "flaky", "--requests", "50", "--warmup", "0", "--max-error-rate", "90%"); o.code != 0 {
		t.Errorf("exit code %d below --max-error-rate", o.code)
	}
}

// TestOddInputs: a request for each odd input is built and accepted by the
// simulator's strict size checks.
func TestOddInputs(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--shape", "TEXT:7"}, {"--input-data", "zero"}, {"--protocol", "grpc", "--shape", "TEXT:3"}, {"--shape", "EXTRA:1"},
	} {
		r := benchJSON(t, 0, append([]string{"mixed", "--requests", "20", "--warmup", "0"}, args...)...)
		if r.Client.Succeeded != 20 {
			t.Errorf("%v: %d of 20 succeeded: %+v", args, r.Client.Succeeded, r.Client.Errors)
		}
	}
}

// published is one line of the GPU exporter's own log.
type published struct {
	Time time.Time `json:"ts"`
	GPUs []struct {
		UUID            string  `json:"uuid"`
		Utilization     float64 `json:"utilization"`
		MemoryUsedBytes float64 `json:"memory_used_bytes"`
		PowerW          float64 `json:"power_w"`
		TemperatureC    float64 `json:"temperature_c"`
	} `json:"gpus"`
}

// exporterLog reads, through the API server, what the exporter of a node published.
func exporterLog(t *testing.T, node string) []published {
	t.Helper()
	pod := readyPodOn(t, "monitoring", "app.kubernetes.io/name=dcgm-exporter", node)
	o := finish(t, command(t.Context(), "kubectl", nil, "-n", "monitoring", "logs", pod.Name))
	if o.code != 0 {
		t.Fatal(o.stderr)
	}
	var all []published
	lines := bufio.NewScanner(strings.NewReader(o.stdout))
	for lines.Scan() {
		var p published
		if json.Unmarshal(lines.Bytes(), &p) == nil && len(p.GPUs) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// TestGPUFiguresAreWhatWasPublished: every Prometheus sample of the window is a
// value that the exporter published, and the report's figures are those of
// exactly these samples.
func TestGPUFiguresAreWhatWasPublished(t *testing.T) {
	r := benchJSON(t, 0, "queueing", "--concurrency", "6", "--duration", "10s", "--warmup", "500ms")
	if r.GPU == nil || len(r.GPU.Devices) != 1 || r.GPU.Source != "Prometheus (DCGM)" {
		t.Fatalf("GPU figures are %+v; missing %+v", r.GPU, r.Missing)
	}
	d := r.GPU.Devices[0]
	log := exporterLog(t, d.Node)
	for _, c := range []struct {
		metric    string
		unit      float64
		published func(g int, p published) float64
		avg, peak *float64
	}{
		{"DCGM_FI_DEV_GPU_UTIL", 0.01, func(g int, p published) float64 { return math.Round(p.GPUs[g].Utilization * 100) }, d.UtilizationAverage, d.UtilizationPeak},
		{"DCGM_FI_DEV_POWER_USAGE", 1, func(g int, p published) float64 { return p.GPUs[g].PowerW }, d.PowerAverageW, d.PowerPeakW},
		{"DCGM_FI_DEV_GPU_TEMP", 1, func(g int, p published) float64 { return math.Round(p.GPUs[g].TemperatureC) }, nil, d.TemperaturePeakC},
		{"DCGM_FI_DEV_FB_USED", 1 << 20, func(g int, p published) float64 { return math.Round(p.GPUs[g].MemoryUsedBytes / (1 << 20)) }, nil, d.MemoryUsedBytes},
	} {
		samples := promSamples(t, fmt.Sprintf("%s{UUID=%q}", c.metric, d.UUID), r.StartTime, r.EndTime)
		if len(samples) != d.Samples || len(samples) < 5 {
			t.Errorf("%s: Prometheus holds %d samples, the report says %d", c.metric, len(samples), d.Samples)
			continue
		}
		sum, peak := 0.0, math.Inf(-1)
		for _, s := range samples {
			sum += s.value
			peak = max(peak, s.value)
			if !slices.ContainsFunc(log, func(p published) bool {
				g := slices.IndexFunc(p.GPUs, func(g struct {
					UUID            string  `json:"uuid"`
					Utilization     float64 `json:"utilization"`
					MemoryUsedBytes float64 `json:"memory_used_bytes"`
					PowerW          float64 `json:"power_w"`
					TemperatureC    float64 `json:"temperature_c"`
				}) bool {
					return g.UUID == d.UUID
				})
				age := s.at.Sub(p.Time)
				return g >= 0 && age > -100*time.Millisecond && age < 3*time.Second && math.Abs(c.published(g, p)-s.value) <= 0.01*max(1, math.Abs(s.value))
			}) {
				t.Errorf("%s: %v at %s was never published", c.metric, s.value, s.at)
			}
		}
		check := func(what string, got *float64, want float64) {
			if got != nil && math.Abs(*got-want*c.unit) > 1e-6*math.Abs(want*c.unit) {
				t.Errorf("%s: the report's %s is %v, the samples' %v", c.metric, what, *got, want*c.unit)
			}
		}
		check("average", c.avg, sum/float64(len(samples)))
		check("peak", c.peak, peak)
	}
	if d.UtilizationAverage == nil || *d.UtilizationAverage < 0.5 {
		t.Error("the load does not show in the GPU's utilisation")
	}
}
