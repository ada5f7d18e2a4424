//go:build benchmark

// Package benchmark measures the plugin against named peers in the same run and
// writes the tables to docs/benchmarks.md. "make benchmark" builds what it needs.
package benchmark

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const (
	rounds        = 5
	roundDuration = 3 * time.Second
	binDir        = "../../bin"
	// saturated is the part of the machine's CPU time from which on it, and
	// nothing else, limits the rate.
	saturated = 0.85
	// crowded is the part of it used by others from which on the rates say
	// little.
	crowded = 0.15
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// measurement is one path at one concurrency in one round. CPU times are per
// request.
type measurement struct {
	ratePerSecond float64
	p50, p99      time.Duration
	clientUS      float64 // the forwarding process included
	clusterUS     float64 // API server and node
	tritonUS      float64
	busy          float64 // part of the machine's CPU time that all of them used
	idle          float64 // part that nobody used
}

// path is one way to the same pod.
type path struct {
	name   string
	dial   dialFunc
	client []int // processes on the client's side
}

// cluster is the processes on the other side.
type cluster struct {
	daemon int   // API server and nodes
	triton []int // its children
}

// TestTunnel compares the ways to a pod with the same client and server,
// in interleaved rounds.
func TestTunnel(t *testing.T) {
	config := startSandbox(t, "--models", "testdata/models")
	client, err := kubernetes.NewForConfig(config.rest)
	if err != nil {
		t.Fatal(err)
	}
	server := clusterProcesses(t, config)
	self := os.Getpid()
	local, kubectl := kubectlPortForward(t, config.file)
	paths := []path{
		{"kubectl port-forward, local listener", func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", local)
		}, []int{self, kubectl}},
		{"kubectl triton, SPDY", endpoint(t, config.rest, client, portforward.TransportSPDY), []int{self}},
		{"kubectl triton, WebSocket", endpoint(t, config.rest, client, portforward.TransportWebSocket), []int{self}},
	}
	var rows []string
	var limits []string
	for _, concurrency := range []int{1, 16, 64} {
		results := make([][]measurement, len(paths))
		for range rounds {
			for i, p := range paths {
				results[i] = append(results[i], measure(t, p, server, concurrency))
			}
		}
		base := median(results[0])
		for i, p := range paths {
			m := median(results[i])
			rows = append(rows, fmt.Sprintf("| %d | %s | %.0f | %.2f | %.1f | %.2f | %.1f | %.1f | %.0f | %.2f | %.2f |", concurrency, p.name,
				m.ratePerSecond, m.ratePerSecond/base.ratePerSecond, m.clientUS, m.clientUS/base.clientUS, m.clusterUS, m.tritonUS, 100*m.busy,
				float64(m.p50)/1e6, float64(m.p99)/1e6))
		}
		limits = append(limits, limit(concurrency, base, median(results[1])))
	}
	writeSection(t, "The tunnel through the API server", `The same load engine and the same simulated Triton on one machine of `+fmt.Sprint(runtime.NumCPU())+` cores: a model of
the shape of simple (INT32[1,16] twice, HTTP binary, keep-alive) that computes in no
time, as the usual one's 0.2 ms would be the limit. Closed loop, medians of `+fmt.Sprint(rounds)+` interleaved
rounds of `+roundDuration.String()+`. CPU is user and system time per request: of the client's side, with the
kubectl process where there is one; of the API server, etcd and the nodes, which are
one process; and of Triton. "Cores busy" is what these processes used of the machine.

| in flight | path | requests/s | ratio | client CPU µs | ratio | API server and node CPU µs | Triton CPU µs | cores busy % | p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|---|---|---|
`+strings.Join(rows, "\n")+"\n\n"+strings.Join(limits, "\n")+"\n")
}

// limit says what kept the rate from being higher.
func limit(concurrency int, kubectl, own measurement) string {
	if others := max(1-kubectl.busy-kubectl.idle, 1-own.busy-own.idle); others > crowded {
		return fmt.Sprintf("- %d in flight: other work took %.0f %% of the machine, so that only the CPU times say much.", concurrency, 100*others)
	}
	if kubectl.busy < saturated || own.busy < saturated {
		return fmt.Sprintf("- %d in flight: the machine is not saturated, the way to and fro is what counts.", concurrency)
	}
	total := func(m measurement) float64 { return m.clientUS + m.clusterUS + m.tritonUS }
	return fmt.Sprintf("- %d in flight: the machine is saturated, and %.0f %% of the work through SPDY is the API server's and\n  the node's, %.0f %% the client's. With a client that costs nothing the ratio of requests/s\n  could be %.2f at most.",
		concurrency, 100*own.clusterUS/total(own), 100*own.clientUS/total(own), total(kubectl)/(own.clusterUS+own.tritonUS))
}

func measure(t *testing.T, p path, server cluster, concurrency int) measurement {
	t.Helper()
	spec := simpleRequest(t, p.dial)
	runner := bench.NewRunner(func(int) (bench.Requester, error) {
		s, err := triton.NewHTTPSender(p.dial, spec, triton.HTTPOptions{Binary: true, Host: "triton", Timeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
		return requester{s}, nil
	})
	defer runner.Close()
	load := bench.Load{Concurrency: concurrency, Duration: 500 * time.Millisecond, Timeout: 10 * time.Second}
	if _, err := runner.Run(t.Context(), load, nil); err != nil {
		t.Fatal(err)
	}
	load.Duration = roundDuration
	began, idle := time.Now(), idleTime(t)
	client, daemon, model := cpu(t, p.client...), cpu(t, server.daemon), cpu(t, server.triton...)
	r, err := runner.Run(t.Context(), load, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, daemon, model = cpu(t, p.client...)-client, cpu(t, server.daemon)-daemon, cpu(t, server.triton...)-model
	machine := float64(time.Since(began)) * float64(runtime.NumCPU())
	idle = idleTime(t) - idle
	if r.Failed > 0 || r.Completed == 0 {
		t.Fatalf("%s: %d of %d requests failed: %+v", p.name, r.Failed, r.Issued, r.Errors)
	}
	perRequest := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(r.Completed) }
	return measurement{
		ratePerSecond: r.RequestRate(), p50: r.Service.Quantile(0.5), p99: r.Service.Quantile(0.99),
		clientUS: perRequest(client), clusterUS: perRequest(daemon), tritonUS: perRequest(model),
		busy: float64(client+daemon+model) / machine, idle: float64(idle) / machine,
	}
}

type requester struct{ triton.Sender }

func (r requester) Do(ctx context.Context, seq uint64) (int, error) {
	reply, err := r.Send(ctx, seq)
	return reply.Inferences, err
}

func median(all []measurement) measurement {
	middle := func(f func(measurement) float64) float64 {
		values := make([]float64, len(all))
		for i, m := range all {
			values[i] = f(m)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return measurement{
		ratePerSecond: middle(func(m measurement) float64 { return m.ratePerSecond }),
		p50:           time.Duration(middle(func(m measurement) float64 { return float64(m.p50) })),
		p99:           time.Duration(middle(func(m measurement) float64 { return float64(m.p99) })),
		clientUS:      middle(func(m measurement) float64 { return m.clientUS }),
		clusterUS:     middle(func(m measurement) float64 { return m.clusterUS }),
		tritonUS:      middle(func(m measurement) float64 { return m.tritonUS }),
		busy:          middle(func(m measurement) float64 { return m.busy }),
		idle:          middle(func(m measurement) float64 { return m.idle }),
	}
}

// cpu is the user and system time of processes.
func cpu(t *testing.T, pids ...int) time.Duration {
	t.Helper()
	var total time.Duration
	for _, pid := range pids {
		// The clock of another process, as clock_getcpuclockid(3) makes it.
		const cpuClock = 2
		var used unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|cpuClock), &used); err != nil {
			t.Fatalf("reading the CPU time of process %d: %v", pid, err)
		}
		total += time.Duration(used.Nano())
	}
	return total
}

// idleTime is the time that the machine's cores were idle since it started.
func idleTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): user, nice, system, idle and iowait in ticks of 10 ms.
	var user, nice, system, idle, iowait int64
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d", &user, &nice, &system, &idle, &iowait); err != nil {
		t.Fatal(err)
	}
	return time.Duration(idle+iowait) * 10 * time.Millisecond
}

// clusterProcesses finds the processes of a sandbox that runs nothing but
// Triton.
func clusterProcesses(t *testing.T, config sandboxConfig) cluster {
	t.Helper()
	var status struct{ Instances []struct{ PID int } }
	decode(t, config.must(t, "sandbox", "status", "--name", config.name, "-o", "json"), &status)
	if len(status.Instances) != 1 {
		t.Fatalf("there are %d sandboxes of the name %s", len(status.Instances), config.name)
	}
	daemon := status.Instances[0].PID
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", daemon))
	if err != nil {
		t.Fatal(err)
	}
	found := cluster{daemon: daemon}
	for _, thread := range threads {
		children, err := os.ReadFile(thread)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			found.triton = append(found.triton, pid)
		}
	}
	if len(found.triton) == 0 {
		t.Fatalf("process %d, the sandbox, has no child that could be Triton", daemon)
	}
	return found
}

func simpleRequest(t *testing.T, dial dialFunc) *triton.RequestSpec {
	t.Helper()
	c := triton.NewClient(httpClient(t, dial), "http://triton")
	meta, err := c.ModelMetadata(t.Context(), "simple", "")
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.ModelConfig(t.Context(), "simple", "")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := triton.BuildRequest(meta, config, triton.RequestOptions{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func endpoint(t *testing.T, config *rest.Config, client kubernetes.Interface, transport portforward.Transport) dialFunc {
	t.Helper()
	d, err := portforward.New(portforward.Config{REST: config, Client: client, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.Service("triton", "triton-infer", "8000").DialContext
}

type sandboxConfig struct {
	name string
	file string
	rest *rest.Config
}

func startSandbox(t *testing.T, options ...string) sandboxConfig {
	t.Helper()
	name := fmt.Sprintf("benchmark-%d", os.Getpid())
	sandbox := filepath.Join(binDir, "sandbox")
	t.Cleanup(func() {
		if out, err := exec.Command(sandbox, "down", "--name", name).CombinedOutput(); err != nil {
			t.Errorf("the sandbox could not be ended: %v\n%s", err, out)
		}
	})
	if out, err := exec.Command(sandbox, append([]string{"up", "--name", name, "--stack=false"}, options...)...).CombinedOutput(); err != nil {
		t.Fatalf("the sandbox did not come up: %v\n%s", err, out)
	}
	out, err := exec.Command(sandbox, "kubeconfig", "--name", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := strings.TrimSpace(string(out))
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	return sandboxConfig{name, file, config}
}

// kubectlPortForward starts the stock client's port-forward and returns its
// local address and process id.
func kubectlPortForward(t *testing.T, kubeconfig string) (string, int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(binDir, "kubectl"), "--kubeconfig", kubeconfig, "-n", "triton", "port-forward", "svc/triton-infer", ":8000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	listening := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return m[1], cmd.Process.Pid
		}
	}
	t.Fatal("kubectl port-forward did not say where it listens")
	return "", 0
}
