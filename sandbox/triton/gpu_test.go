package triton

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

// A server on a GPU node: instances on every device that it sees, series with
// and without gpu_uuid, memory and busy time in the driver's accounts.
func TestOnGPUs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "driver")
	var devices []gpu.Device
	for i := range 3 {
		devices = append(devices, gpu.Device{
			Index: i, UUID: fmt.Sprintf("GPU-%d", i), Name: "NVIDIA L4", PCIBusID: fmt.Sprintf("00000000:0%d:00.0", i),
			MemoryTotalBytes: 24 << 30, IdlePowerW: 16, LimitPowerW: 72,
		})
	}
	if err := gpu.WriteInventory(dir, devices); err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	for name, content := range DefaultModels() {
		if err := os.WriteFile(filepath.Join(repository, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Start(Config{
		Args: []string{"--model-repository", repository, "--metrics-interval-ms=10"}, Log: io.Discard,
		GPUDirectory: dir, GPUs: []string{"GPU-0", "GPU-2"}, Process: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	telemetry, err := gpu.NewTelemetry(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = telemetry.Close() })

	config, err := exchange(s.Address(httpPort), []byte("GET /v2/models/resnet50/config HTTP/1.1\r\nHost: x\r\n\r\n"))
	if err != nil || !bytes.Contains(config, []byte(`"kind":"KIND_GPU","count":1,"gpus":[0,1]`)) {
		t.Errorf("%v %s", err, config)
	}
	image := bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 3*224*224)
	request := append(fmt.Appendf(nil, "POST /v2/models/resnet50/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(image)), image...)
	for range 4 {
		if answer, err := exchange(s.Address(httpPort), request); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			t.Fatalf("%v %.100q", err, answer)
		}
	}
	samples, err := telemetry.Sample(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	for i, wantMemory := range []uint64{(450 + 1400 + 2*900) * mib, 0, (450 + 1400 + 2*900) * mib} {
		if got := samples[i].MemoryUsedBytes; got != wantMemory {
			t.Errorf("device %d uses %d MiB, want %d", i, got/mib, wantMemory/mib)
		}
	}
	// One at a time on the longest idle instance: both devices have had two.
	if samples[0].BusySeconds < 0.008 || samples[1].BusySeconds != 0 || samples[2].BusySeconds < 0.008 {
		t.Errorf("busy %v, %v, %v s", samples[0].BusySeconds, samples[1].BusySeconds, samples[2].BusySeconds)
	}
	until(t, "the server has polled its GPUs", func() bool {
		return strings.Contains(scrape(t, s), `nv_gpu_memory_used_bytes{gpu_uuid="GPU-2"} `+fmt.Sprint(wantBytes))
	})
	page := scrape(t, s)
	for _, line := range []string{
		`nv_inference_request_success{model="resnet50",version="1"} 0`,
		`nv_inference_request_success{gpu_uuid="GPU-0",model="resnet50",version="1"} 2`,
		`nv_inference_request_success{gpu_uuid="GPU-2",model="resnet50",version="1"} 2`,
		`nv_inference_request_failure{gpu_uuid="GPU-0",model="resnet50",reason="BACKEND",version="1"} 0`,
		`nv_model_load_duration_secs{gpu_uuid="GPU-0",model="resnet50",version="1"} 0`,
		`nv_gpu_memory_total_bytes{gpu_uuid="GPU-0"} 25769803776`,
		`nv_gpu_power_limit{gpu_uuid="GPU-2"} 72`,
		`# TYPE nv_energy_consumption counter`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(page, "GPU-1") {
		t.Error("a device of another container shows")
	}
}

const wantBytes = (450 + 1400 + 2*900) << 20

func TestControlPort(t *testing.T) {
	s := start(t, nil, load("identity_fast")...)
	base := "http://" + s.Address(ControlPort)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	do := func(method, path, body string) (int, string) {
		t.Helper()
		request, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	infer := func(id string) string {
		t.Helper()
		answer, err := exchange(s.Address(httpPort), post("/v2/models/identity_fast/infer", `{"id":"`+id+`","inputs":[{"name":"INPUT0","shape":[2,1],"datatype":"FP32","data":[1,2]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		status, _, _ := strings.Cut(string(answer), "\r\n")
		return status
	}
	if status := infer("a"); status != "HTTP/1.1 200 OK" {
		t.Fatal(status)
	}
	if code, text := do("PUT", "/behaviour/identity_fast", "failures: {ratio: 1, code: UNAVAILABLE}\nservice_time: {base: 2ms}"); code != 200 || !strings.Contains(text, `"base":"2ms"`) {
		t.Errorf("%d %s", code, text)
	}
	if status := infer("b"); status != "HTTP/1.1 503 Service Unavailable" {
		t.Error(status)
	}
	for _, bad := range [][2]string{{"/behaviour/nope", "{}"}, {"/behaviour/identity_fast", "failures: {ratio: 7}"}, {"/behaviour/identity_fast", "["}} {
		if code, _ := do("PUT", bad[0], bad[1]); code != 400 {
			t.Errorf("PUT %s %q: %d", bad[0], bad[1], code)
		}
	}
	_, lines := do("GET", "/requests", "")
	decoder := json.NewDecoder(strings.NewReader(lines))
	var records []map[string]any
	for decoder.More() {
		record := map[string]any{}
		if err := decoder.Decode(&record); err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	if len(records) != 2 || records[0]["id"] != "a" || records[0]["status"] != "OK" || records[0]["batch"] != 2.0 || records[0]["exec_batch"] != 2.0 ||
		records[1]["status"] != "UNAVAILABLE" || records[1]["model"] != "identity_fast" || records[1]["protocol"] != "http" {
		t.Errorf("log %s", lines)
	}
	if ns, _ := records[1]["compute_infer_ns"].(float64); ns < 2e6 {
		t.Errorf("a service time of 2 ms is logged as %v ns", records[1]["compute_infer_ns"])
	}
	if total, _ := records[1]["total_ns"].(float64); total < 2e6 {
		t.Errorf("total_ns %v", records[1]["total_ns"])
	}
	if _, after := do("GET", "/requests?since=1", ""); strings.Count(after, "\n") != 1 {
		t.Errorf("after the first: %s", after)
	}
	if code, _ := do("GET", "/requests?since=x", ""); code != 400 {
		t.Errorf("since=x: %d", code)
	}
	do("DELETE", "/requests", "")
	if _, left := do("GET", "/requests", ""); left != "" {
		t.Errorf("after DELETE: %s", left)
	}
}

func TestFlags(t *testing.T) {
	s, err := parseFlags([]string{
		"--model-repository=/models", "--http-port", "9000", "--log-verbose=1", "--strict-readiness=true", "--metrics-config", "summary_latencies=true",
		"--cache-config", "local,size=1048576", "--exit-on-error=false", "--backend-config=tensorrt,coalesce-request-input=true",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !s.strictReady || !defaults().strictReady {
		t.Error("readiness is not strict, by default or when asked for")
	}
	if loose, err := parseFlags([]string{"--model-repository=/models", "--strict-readiness=false"}); err != nil || loose.strictReady {
		t.Errorf("--strict-readiness=false is not taken: %v", err)
	}
	if s.httpPort != 9000 || !s.metrics.Summaries || s.cacheBytes != 1<<20 || s.exitOnError || s.repositories[0] != "/models" {
		t.Errorf("%+v", s)
	}
	for _, bad := range [][]string{
		{}, {"--nope", "--model-repository=/models"}, {"/models"}, {"--model-repository=/m", "--http-port=x"}, {"--model-repository=/m", "--model-control-mode=poll"},
		{"--model-repository=/m", "--metrics-config=nope=1"}, {"--model-repository=/m", "--cache-config=redis,host=x"}, {"--model-repository=/m", "--http-restricted-api=everything:k=v"},
	} {
		if _, err := parseFlags(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestStartRefusesABrokenModel(t *testing.T) {
	arguments := []string{"--model-repository=testdata/models/broken.json"}
	if s, err := Start(Config{Args: arguments}); err == nil {
		_ = s.Stop(context.Background())
		t.Fatal("a server with a broken model starts")
	}
	s, err := Start(Config{Args: append(arguments, "--exit-on-error=false")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop(context.Background()) }()
	if s.core.Ready() {
		t.Error("it is ready")
	}
}

func BenchmarkInferHTTP(b *testing.B) {
	s, err := Start(Config{Args: []string{"--model-repository=testdata/models/identity_fast.json"}, Log: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Stop(context.Background()) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	body := `{"inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}`
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := client.Post("http://"+s.Address(httpPort)+"/v2/models/identity_fast/infer", "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	})
}
