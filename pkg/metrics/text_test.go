package metrics

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, name string) []byte {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func parseGPUs(t testing.TB, page string) []GPUReading {
	t.Helper()
	readings, err := ParseGPUs(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return readings
}

func f(v float64) *float64 { return &v }
func n(v int) *int         { return &v }

var equal = cmp.Options{cmpopts.IgnoreUnexported(GPUReading{}, GPUSummary{}), cmpopts.EquateApprox(1e-9, 1e-9)}

const (
	uuidA = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
	uuidB = "GPU-bbbbbbbb-0000-0000-0000-000000000000"
	uuidC = "GPU-cccccccc-0000-0000-0000-000000000000"
	uuidD = "GPU-dddddddd-0000-0000-0000-000000000000"
	a100  = "NVIDIA A100-SXM4-40GB"
)

func TestParseGPUs(t *testing.T) {
	holder := func(g GPU, pod string) GPU {
		g.Namespace, g.Pod, g.Container = "triton", pod, "triton"
		return g
	}
	for file, want := range map[string][]GPUReading{
		"dcgm_4_8.txt": {{
			GPU:    holder(GPU{UUID: uuidA, Index: "0", Model: a100, Node: "gpu-node-1"}, "triton-infer-0"),
			Family: FamilyDCGM, Utilization: f(0.73), UtilizationFrom: UtilizationKernels,
			MemoryUsedBytes: f(7000 << 20), MemoryTotalBytes: f(40960 << 20), PowerW: f(287.413), TemperatureC: f(61), EnergyJ: f(5123456.789), LastXID: n(13),
		}, {
			GPU: GPU{UUID: uuidB, Index: "1", Model: a100, Node: "gpu-node-1"}, Family: FamilyDCGM, Utilization: f(0), UtilizationFrom: UtilizationKernels,
			MemoryUsedBytes: f(0), MemoryTotalBytes: f(40000 << 20), PowerW: f(54.12), TemperatureC: f(29), EnergyJ: f(912345.678),
		}},
		"dcgm_4_9.txt": {{
			GPU:    holder(GPU{UUID: uuidC, Index: "0", Model: "NVIDIA H100 80GB HBM3", Node: "gpu-node-2"}, "triton-infer-1"),
			Family: FamilyDCGM, Utilization: f(0.97), UtilizationFrom: UtilizationKernels,
			MemoryUsedBytes: f(12 << 30), MemoryTotalBytes: f(80 << 30), PowerW: f(411.5), TemperatureC: f(58), EnergyJ: f(88123),
		}},
		"dcgm_mig.txt": {{
			GPU:    holder(GPU{UUID: uuidD, Index: "0", Model: a100, Node: "gpu-node-3", MIGProfile: "3g.20gb", MIGInstance: "1"}, "triton-infer-2"),
			Family: FamilyDCGM, Utilization: f(0.44), UtilizationFrom: UtilizationEngine, MemoryUsedBytes: f(2 << 30), MemoryTotalBytes: f(20 << 30),
		}, {
			GPU:    GPU{UUID: uuidD, Index: "0", Model: a100, Node: "gpu-node-3", MIGProfile: "1g.5gb", MIGInstance: "9"},
			Family: FamilyDCGM, Utilization: f(0), UtilizationFrom: UtilizationEngine, MemoryUsedBytes: f(3 << 20),
		}},
		"triton_gpu.txt": {{
			GPU: GPU{UUID: uuidA}, Family: FamilyTriton, Utilization: f(0.73), UtilizationFrom: UtilizationKernels,
			MemoryUsedBytes: f(7000 << 20), MemoryTotalBytes: f(40 << 30), PowerW: f(287.4), PowerLimitW: f(400), EnergyJ: f(51234.5),
		}},
		"triton_default.loaded.txt": {}, // a server without GPUs
	} {
		t.Run(file, func(t *testing.T) {
			if diff := cmp.Diff(want, parseGPUs(t, string(open(t, file))), equal); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseGPUsLabelForms(t *testing.T) {
	for name, test := range map[string]struct{ labels, namespace, pod, node string }{
		"exported by Prometheus wins over the target's": {`exported_namespace="triton",exported_pod="infer",namespace="monitoring",pod="dcgm-exporter-x",Hostname="n1"`, "triton", "infer", "n1"},
		"plain":                 {`namespace="triton",pod="infer",hostname="n1"`, "triton", "infer", "n1"},
		"old kubernetes labels": {`pod_namespace="triton",pod_name="infer",container_name="c",node="n1"`, "triton", "infer", "n1"},
		"held by no pod":        {`Hostname="n1"`, "", "", "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, uuid := range uuidLabels() {
				got := parseGPUs(t, `DCGM_FI_DEV_GPU_UTIL{`+uuid+`="GPU-1",`+test.labels+"} 50\n")
				if len(got) != 1 || got[0].UUID != "GPU-1" || got[0].Namespace != test.namespace || got[0].Pod != test.pod || got[0].Node != test.node {
					t.Errorf("by %s: %+v", uuid, got)
				}
			}
		})
	}
}

func TestParseGPUsIgnores(t *testing.T) {
	for name, value := range map[string]string{
		"blank int64": "9223372036854775794", "blank, not found": "9223372036854775793", "blank double": "140737488355328", "blank double 3": "140737488355331",
		"not a number": "NaN", "Triton's spelling of it": "Nan", "infinite": "+Inf", "negative": "-1", "above 100 %": "140",
	} {
		t.Run(name, func(t *testing.T) {
			got := parseGPUs(t, "DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-1\"} "+value+"\nDCGM_FI_DEV_GPU_TEMP{UUID=\"GPU-1\"} 40\n")
			if len(got) != 1 || got[0].Utilization != nil || *got[0].TemperatureC != 40 {
				t.Errorf("got %+v, want only a temperature", got)
			}
		})
	}
	if got := parseGPUs(t, "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 12\n"); len(got) != 0 {
		t.Errorf("a GPU without UUID: got %+v", got)
	}
	// A time-sliced GPU comes once per pod: it is one GPU all the same.
	shared := parseGPUs(t, "DCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-1\",pod=\"a\",namespace=\"x\"} 200\nDCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-1\",pod=\"b\",namespace=\"x\"} 200\n")
	if len(shared) != 1 || *shared[0].PowerW != 200 {
		t.Errorf("a shared GPU: got %+v", shared)
	}
}

func TestParseRefusesOtherPages(t *testing.T) {
	for name, page := range map[string]string{
		"HTML": "<!doctype html>\n<html><body>404</body></html>\n",
		"JSON": `{"error":"Not Found"}`,
		"cut":  "DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-1",
	} {
		if _, err := ParseGPUs(strings.NewReader(page)); err == nil || !strings.Contains(err.Error(), "metrics p") {
			t.Errorf("%s: GPUs: got %v", name, err)
		}
		if _, err := ParseTriton(strings.NewReader(page)); err == nil {
			t.Errorf("%s: Triton: no error", name)
		}
	}
	endless := strings.NewReader(strings.Repeat("# padding to make the page far too long for anyone to read it\n", maxExpositionBytes/60))
	if _, err := ParseGPUs(endless); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("endless page: got %v", err)
	}
}

// The captures' pages of one server under five configurations.
func TestParseTritonGolden(t *testing.T) {
	for _, file := range []string{"triton_default.idle.txt", "triton_default.loaded.txt", "triton_default.after_unload.txt", "triton_all.loaded.txt", "triton_cache.loaded.txt", "triton_gpu.txt"} {
		t.Run(file, func(t *testing.T) {
			reading, err := ParseTriton(bytes.NewReader(open(t, file)))
			if err != nil {
				t.Fatal(err)
			}
			models := map[string]ModelCounters{}
			for key, counters := range reading.Models {
				models[key.Name+" "+key.Version] = counters
			}
			got, err := json.MarshalIndent(models, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", strings.TrimSuffix(file, ".txt")+".golden.json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("models (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseTritonAddsReporters(t *testing.T) {
	reading, err := ParseTriton(bytes.NewReader(open(t, "triton_gpu.txt")))
	if err != nil {
		t.Fatal(err)
	}
	want := ModelCounters{
		Success: 1500, Failure: 7, FailureBy: map[string]uint64{"BACKEND": 2, "REJECTED": 5}, Inferences: 4800, Executions: 700,
		Request: 9030 * time.Millisecond, Pending: 4, LoadTime: 2500 * time.Millisecond, HasLatencies: true,
	}
	if diff := cmp.Diff(want, reading.Models[ModelKey{Name: "resnet50", Version: "1"}]); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if len(reading.GPUs) != 1 {
		t.Errorf("got %d GPUs, want 1", len(reading.GPUs))
	}
}

func TestParseTritonMatchesStatistics(t *testing.T) {
	reading, err := ParseTriton(bytes.NewReader(open(t, "triton_default.loaded.txt")))
	if err != nil {
		t.Fatal(err)
	}
	got := reading.Models[ModelKey{Name: "queue_small", Version: "1"}]
	want := ModelCounters{
		Success: 11, FailureBy: map[string]uint64{"BACKEND": 0, "CANCELED": 0, "OTHER": 0, "REJECTED": 0}, Inferences: 11, Executions: 6,
		Request: 7704722 * time.Microsecond, Queue: 4401697 * time.Microsecond, ComputeInput: 25 * time.Microsecond, ComputeInfer: 3301937 * time.Microsecond,
		LoadTime: 2406350 * time.Nanosecond, HasLatencies: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("queue_small (-want +got):\n%s", diff)
	}
}

func TestModelCountersSince(t *testing.T) {
	before := ModelCounters{Success: 10, Failure: 3, FailureBy: map[string]uint64{"OTHER": 3}, Inferences: 40, Executions: 5, Queue: time.Second, Pending: 2}
	after := ModelCounters{Success: 17, Failure: 4, FailureBy: map[string]uint64{"OTHER": 3, "REJECTED": 1}, Inferences: 70, Executions: 9, Queue: 3 * time.Second, Pending: 1}
	delta, reset := after.Since(before)
	want := ModelCounters{Success: 7, Failure: 1, FailureBy: map[string]uint64{"OTHER": 0, "REJECTED": 1}, Inferences: 30, Executions: 4, Queue: 2 * time.Second, Pending: 1}
	if diff := cmp.Diff(want, delta); diff != "" || reset {
		t.Errorf("reset %v, delta (-want +got):\n%s", reset, diff)
	}
	if after.FailureBy["OTHER"] != 3 {
		t.Error("Since changed its receiver")
	}
	for name, restarted := range map[string]ModelCounters{
		"success": {Success: 4, Inferences: 70, Executions: 9, Queue: 3 * time.Second},
		"queue":   {Success: 17, Inferences: 70, Executions: 9, Queue: time.Millisecond},
		"reason":  {Success: 17, Failure: 4, FailureBy: map[string]uint64{"OTHER": 1, "REJECTED": 3}, Inferences: 70, Executions: 9, Queue: 3 * time.Second},
	} {
		delta, reset := restarted.Since(before)
		if diff := cmp.Diff(restarted, delta); diff != "" || !reset {
			t.Errorf("%s: reset %v, want the new counters whole (-want +got):\n%s", name, reset, diff)
		}
	}
}

// seed gives the fuzzer pages of a few lines: it minimises slowly.
func seed(f *testing.F) {
	for _, file := range []string{"dcgm_4_8.txt", "dcgm_4_9.txt", "dcgm_mig.txt", "triton_gpu.txt", "triton_cache.loaded.txt"} {
		for lines := range slices.Chunk(strings.SplitAfter(string(open(f, file)), "\n"), 4) {
			if page := strings.Join(lines, ""); len(page) < 1000 {
				f.Add([]byte(page))
			}
		}
	}
	f.Add([]byte("nv_inference_count{model=\"m\",version=\"1\"} 1e300\n"))
	f.Add([]byte("nv_model_load_duration_secs{model=\"m\"} Nan\n"))
	f.Add([]byte("DCGM_FI_DEV_FB_USED{UUID=\"u\"} -0\n"))
}

func FuzzParseGPUs(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, page []byte) {
		readings, err := ParseGPUs(bytes.NewReader(page))
		if err != nil && len(readings) > 0 {
			t.Error("readings beside an error")
		}
		for _, r := range readings {
			if r.UUID == "" {
				t.Errorf("a GPU without UUID: %+v", r)
			}
			for _, v := range []*float64{r.Utilization, r.MemoryUsedBytes, r.MemoryTotalBytes, r.PowerW, r.PowerLimitW, r.TemperatureC, r.EnergyJ} {
				if v != nil && (*v < 0 || math.IsNaN(*v) || math.IsInf(*v, 0)) {
					t.Errorf("impossible figure %v in %+v", *v, r)
				}
			}
			if r.Utilization != nil && *r.Utilization > 1.0001 {
				t.Errorf("utilisation %v", *r.Utilization)
			}
		}
	})
}

func FuzzParseTriton(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, page []byte) {
		reading, err := ParseTriton(bytes.NewReader(page))
		if err != nil {
			return
		}
		for key, c := range reading.Models {
			if key.Name == "" || c.Request < 0 || c.LoadTime < 0 || c.Pending < 0 {
				t.Errorf("impossible counters of %+v: %+v", key, c)
			}
			if delta, reset := c.Since(c); reset || delta.Success != 0 {
				t.Errorf("%+v since itself: %+v, reset %v", c, delta, reset)
			}
		}
	})
}
