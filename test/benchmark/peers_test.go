//go:build benchmark

package benchmark

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// attack is what a load generator is asked to do. rate 0 is a closed loop.
type attack struct {
	target   target
	inFlight int
	rate     int
	duration time.Duration
	core     int // the client's own, -1 for all
}

// outcome is what a load generator says, and what it took of the machine. A
// quantile of 0 is one that it doesn't tell.
type outcome struct {
	requests                 uint64
	p50, p90, p99, p999, max time.Duration
	cpuUS                    float64 // user and system time per request
	memoryMiB                float64 // resident, at most
	// Of this engine only.
	service           quantiles
	lag               quantiles
	answeredPerSecond float64
}

// quantiles are in µs, as this engine's program prints them.
type quantiles struct{ P50, P90, P99, P999, Max float64 }

func (o outcome) perSecond(a attack) float64 { return float64(o.requests) / a.duration.Seconds() }

// generator is one load generator. read finds what it said in its output.
type generator struct {
	name string
	args func(a attack) []string
	read func(t *testing.T, output string) outcome
}

// run is one attack. The process's CPU time and memory come from the operating
// system's accounting and include its start.
func (g generator) run(t *testing.T, a attack) outcome {
	t.Helper()
	args := g.args(a)
	args = append([]string{program(args[0])}, args[1:]...)
	if a.core >= 0 {
		args = onCore(a.core, args)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = plainEnvironment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	memory := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	peak := memory()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	o := g.read(t, stdout.String())
	if o.requests == 0 {
		t.Fatalf("%v: no request was answered\n%s%s", args, stdout.String(), stderr.String())
	}
	state := cmd.ProcessState
	o.cpuUS = float64((state.UserTime() + state.SystemTime()).Microseconds()) / float64(o.requests)
	o.memoryMiB = peak
	return o
}

// watchMemory looks at the peak of a process's resident memory until stop is
// called, which returns it in MiB. The accounting of an ended process is of no
// use: it begins with the memory of the process that started it.
func watchMemory(pid int) (stop func() float64) {
	over, peak := make(chan struct{}), make(chan float64)
	go func() {
		const interval = 50 * time.Millisecond
		var highest float64
		for {
			select {
			case <-over:
				peak <- highest
				return
			case <-time.After(interval):
			}
			// proc(5): VmHWM is in kB. Of a process that has ended there is none.
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				continue
			}
			if m := highWater.FindSubmatch(text); m != nil {
				kB, _ := strconv.ParseFloat(string(m[1]), 64)
				highest = max(highest, kB/1024)
			}
		}
	}()
	return func() float64 { close(over); return <-peak }
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// plainEnvironment is without what the Makefile sets for the compiler: a Go
// program must pay for its garbage.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=")
	})
}

// payload is the request, in the files that the tools want.
type payload struct {
	headers                            []string
	http, script, targets, grpc, frame string
	results                            string
}

const inferPath = "/v2/models/simple/infer"

func writePayload(t *testing.T, address string) payload {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	head := `{"parameters":{"binary_data_output":true},"inputs":[` +
		`{"name":"INPUT0","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}},` +
		`{"name":"INPUT1","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}}]}`
	tensors := bytes.Repeat([]byte{42, 0, 0, 0}, 32)
	p := payload{
		headers: []string{fmt.Sprintf("Inference-Header-Content-Length: %d", len(head))},
		http:    write("body", append([]byte(head), tensors...)),
		results: filepath.Join(dir, "vegeta.bin"),
	}
	name, value, _ := strings.Cut(p.headers[0], ": ")
	p.script = write("wrk.lua", fmt.Appendf(nil, `wrk.method = "POST"
wrk.path = %q
wrk.body = io.open(%q, "rb"):read("*a")
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers[%q] = %q
`, inferPath, p.http, name, value))
	p.targets = write("targets", fmt.Appendf(nil, "POST http://%s%s\nContent-Type: application/octet-stream\n%s\n@%s\n", address, inferPath, p.headers[0], p.http))
	message, err := proto.Marshal(&inferencepb.ModelInferRequest{
		ModelName: "simple",
		Inputs: []*inferencepb.ModelInferRequest_InferInputTensor{
			{Name: "INPUT0", Datatype: "INT32", Shape: []int64{1, 16}}, {Name: "INPUT1", Datatype: "INT32", Shape: []int64{1, 16}},
		},
		RawInputContents: [][]byte{tensors[:64], tensors[64:]},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.grpc = write("message", message)
	p.frame = write("frame", append([]byte{0, 0, 0, 0, byte(len(message))}, message...))
	return p
}

// perConnection is how many gRPC requests share a connection, with every tool.
const perConnection = 8

func connections(inFlight int) int { return max(1, inFlight/perConnection) }

func httpGenerators(p payload) []generator {
	url := func(a attack) string { return "http://" + a.target.http + inferPath }
	return []generator{
		{"wrk", func(a attack) []string {
			return []string{"wrk", "-t1", "-c" + strconv.Itoa(a.inFlight), "-d" + seconds(a), "--latency", "-s", p.script, "http://" + a.target.http}
		}, readWrk},
		{"h2load, HTTP/1.1", func(a attack) []string {
			return []string{"h2load", "--h1", "-t1", "-c" + strconv.Itoa(a.inFlight), "-D" + seconds(a), "-d", p.http, "-H", "content-type: application/octet-stream", "-H", p.headers[0], url(a)}
		}, readH2load},
		{"this engine", func(a attack) []string { return engineArgs(a, "-address", a.target.http) }, readEngine},
		{"fortio", func(a attack) []string {
			return []string{"fortio", "load", "-c", strconv.Itoa(a.inFlight), "-qps", strconv.Itoa(a.rate), "-t", seconds(a) + "s", "-p", "50,90,99,99.9", "-quiet", "-json", "-", "-content-type", "application/octet-stream", "-H", p.headers[0], "-payload-file", p.http, url(a)}
		}, readFortio},
		{"hey", func(a attack) []string {
			return []string{"hey", "-z", seconds(a) + "s", "-c", strconv.Itoa(a.inFlight), "-q", fmt.Sprint(float64(a.rate) / float64(a.inFlight)), "-m", "POST", "-T", "application/octet-stream", "-H", p.headers[0], "-D", p.http, url(a)}
		}, readHey},
		{"vegeta", func(a attack) []string {
			args := []string{"vegeta", "attack", "-duration", seconds(a) + "s", "-targets", p.targets, "-output", p.results}
			if a.rate == 0 {
				return append(args, "-rate", "0", "-max-workers", strconv.Itoa(a.inFlight), "-workers", strconv.Itoa(a.inFlight))
			}
			return append(args, "-rate", strconv.Itoa(a.rate), "-max-connections", strconv.Itoa(a.inFlight))
		}, func(t *testing.T, _ string) outcome { return readVegeta(t, p.results) }},
	}
}

func grpcGenerators(p payload) []generator {
	return []generator{
		{"h2load, HTTP/2", func(a attack) []string {
			return []string{"h2load", "-t1", "-c", strconv.Itoa(connections(a.inFlight)), "-m", strconv.Itoa(min(a.inFlight, perConnection)), "-D" + seconds(a), "-d", p.frame, "-H", "content-type: application/grpc", "-H", "te: trailers",
				"http://" + a.target.grpc + "/inference.GRPCInferenceService/ModelInfer"}
		}, readH2load},
		{"this engine", func(a attack) []string {
			return engineArgs(a, "-address", a.target.http, "-grpc", a.target.grpc, "-per-connection", strconv.Itoa(perConnection))
		}, readEngine},
		{"ghz", func(a attack) []string {
			return []string{"ghz", "--insecure", "--call", "inference.GRPCInferenceService/ModelInfer", "-c", strconv.Itoa(a.inFlight), "--connections", strconv.Itoa(connections(a.inFlight)), "--rps", strconv.Itoa(a.rate),
				"-z", seconds(a) + "s", "--duration-stop", "wait", "-B", p.grpc, "-O", "json", a.target.grpc}
		}, readGhz},
	}
}

func engineArgs(a attack, where ...string) []string {
	args := append([]string{"engine", "-duration", a.duration.String()}, where...)
	if a.rate > 0 {
		return append(args, "-rate", strconv.Itoa(a.rate), "-max-in-flight", strconv.Itoa(a.inFlight))
	}
	return append(args, "-concurrency", strconv.Itoa(a.inFlight))
}

func seconds(a attack) string { return fmt.Sprint(a.duration.Seconds()) }

func readEngine(t *testing.T, output string) outcome {
	var r struct {
		Completed, Failed                uint64
		RequestsPerSecond                float64
		ResponseUS, ServiceUS, SendLagUS quantiles
	}
	decode(t, output, &r)
	if r.Failed > 0 {
		t.Fatalf("%d requests failed", r.Failed)
	}
	us := func(v float64) time.Duration { return time.Duration(v * float64(time.Microsecond)) }
	q := r.ResponseUS
	return outcome{
		requests: r.Completed, p50: us(q.P50), p90: us(q.P90), p99: us(q.P99), p999: us(q.P999), max: us(q.Max),
		service: r.ServiceUS, lag: r.SendLagUS, answeredPerSecond: r.RequestsPerSecond,
	}
}

func readWrk(t *testing.T, output string) outcome {
	if strings.Contains(output, "Socket errors") || strings.Contains(output, "Non-2xx") {
		t.Fatal(output)
	}
	return outcome{
		requests: find(t, output, `(\d+) requests in`),
		p50:      duration(t, output, `50%\s+([\d.]+\w+)`), p99: duration(t, output, `99%\s+([\d.]+\w+)`),
	}
}

func readH2load(t *testing.T, output string) outcome {
	if find(t, output, `(\d+) failed`) > 0 || find(t, output, `(\d+) 5xx`) > 0 || find(t, output, `(\d+) 4xx`) > 0 {
		t.Fatal(output)
	}
	return outcome{requests: find(t, output, `(\d+) succeeded`)}
}

func readFortio(t *testing.T, output string) outcome {
	var r struct {
		RetCodes          map[string]uint64
		DurationHistogram struct {
			Percentiles []struct{ Percentile, Value float64 }
			Max         float64
		}
	}
	decode(t, output, &r)
	inSeconds := func(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }
	o := outcome{requests: r.RetCodes["200"], max: inSeconds(r.DurationHistogram.Max)}
	for _, p := range r.DurationHistogram.Percentiles {
		switch d := inSeconds(p.Value); p.Percentile {
		case 50:
			o.p50 = d
		case 90:
			o.p90 = d
		case 99:
			o.p99 = d
		case 99.9:
			o.p999 = d
		}
	}
	return o
}

func readHey(t *testing.T, output string) outcome {
	inSeconds := func(pattern string) time.Duration {
		m := regexp.MustCompile(pattern).FindStringSubmatch(output)
		if m == nil {
			t.Fatalf("no %s in %s", pattern, output)
		}
		return duration(t, m[1]+"s", `(.*)`)
	}
	return outcome{requests: find(t, output, `\[200\]\s+(\d+) responses`),
		p50: inSeconds(`50%+ in ([\d.]+) secs`), p90: inSeconds(`90%+ in ([\d.]+) secs`), p99: inSeconds(`99%+ in ([\d.]+) secs`),
		max: inSeconds(`Slowest:\s+([\d.]+) secs`)}
}

func readVegeta(t *testing.T, results string) outcome {
	out, err := exec.CommandContext(t.Context(), program("vegeta"), "report", "-type=json", results).Output()
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Latencies struct {
			P50 time.Duration `json:"50th"`
			P90 time.Duration `json:"90th"`
			P99 time.Duration `json:"99th"`
			Max time.Duration `json:"max"`
		}
		StatusCodes map[string]uint64 `json:"status_codes"`
	}
	decode(t, string(out), &r)
	return outcome{requests: r.StatusCodes["200"], p50: r.Latencies.P50, p90: r.Latencies.P90, p99: r.Latencies.P99, max: r.Latencies.Max}
}

func readGhz(t *testing.T, output string) outcome {
	var r struct {
		StatusCodeDistribution map[string]uint64
		LatencyDistribution    []struct {
			Percentage int
			Latency    time.Duration
		}
		Slowest time.Duration
	}
	decode(t, output, &r)
	o := outcome{requests: r.StatusCodeDistribution["OK"], max: r.Slowest}
	for _, l := range r.LatencyDistribution {
		switch l.Percentage {
		case 50:
			o.p50 = l.Latency
		case 90:
			o.p90 = l.Latency
		case 99:
			o.p99 = l.Latency
		}
	}
	return o
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func find(t *testing.T, output, pattern string) uint64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no %s in %s", pattern, output)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func duration(t *testing.T, output, pattern string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no %s in %s", pattern, output)
	}
	d, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}
