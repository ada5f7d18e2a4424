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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// measurement is one path at one concurrency in one round.
type measurement struct {
	ratePerSecond float64
	p50, p99      time.Duration
	cpuUS         float64 // client CPU per request, the forwarding process included
}

// path is one way to the same pod.
type path struct {
	name string
	dial dialFunc
	pid  int // of a helper process on the client's side, 0 for none
}

// TestTunnel compares the ways to a pod with the same client and server,
// in interleaved rounds.
func TestTunnel(t *testing.T) {
	config := startSandbox(t)
	client, err := kubernetes.NewForConfig(config.rest)
	if err != nil {
		t.Fatal(err)
	}
	local, pid := kubectlPortForward(t, config.file)
	paths := []path{
		{"kubectl port-forward, local listener", func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", local)
		}, pid},
		{"kubectl triton, SPDY", endpoint(t, config.rest, client, portforward.TransportSPDY), 0},
		{"kubectl triton, WebSocket", endpoint(t, config.rest, client, portforward.TransportWebSocket), 0},
	}
	var rows []string
	for _, concurrency := range []int{1, 16, 64} {
		results := make([][]measurement, len(paths))
		for range rounds {
			for i, p := range paths {
				results[i] = append(results[i], measure(t, p, concurrency))
			}
		}
		base := median(results[0])
		for i, p := range paths {
			m := median(results[i])
			rows = append(rows, fmt.Sprintf("| %d | %s | %.0f | %.2f | %.1f | %.2f | %.2f | %.2f |", concurrency, p.name,
				m.ratePerSecond, m.ratePerSecond/base.ratePerSecond, m.cpuUS, m.cpuUS/base.cpuUS,
				float64(m.p50)/1e6, float64(m.p99)/1e6))
		}
	}
	writeSection(t, "The tunnel through the API server", `The same load engine and the same simulated Triton (model simple, INT32[1,16]
twice, HTTP binary, keep-alive) on one machine, closed loop, medians of `+fmt.Sprint(rounds)+`
interleaved rounds of `+roundDuration.String()+`. CPU is user and system time of the client's side
per request, with the kubectl process where there is one.

| in flight | path | requests/s | ratio | client CPU µs | ratio | p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|
`+strings.Join(rows, "\n")+"\n")
}

func measure(t *testing.T, p path, concurrency int) measurement {
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
	before := cpu(t, p.pid)
	r, err := runner.Run(t.Context(), load, nil)
	if err != nil {
		t.Fatal(err)
	}
	used := cpu(t, p.pid) - before
	if r.Failed > 0 || r.Completed == 0 {
		t.Fatalf("%s: %d of %d requests failed: %+v", p.name, r.Failed, r.Issued, r.Errors)
	}
	return measurement{r.RequestRate(), r.Service.Quantile(0.5), r.Service.Quantile(0.99), float64(used.Microseconds()) / float64(r.Completed)}
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
		cpuUS:         middle(func(m measurement) float64 { return m.cpuUS }),
	}
}

// cpu is the user and system time of this process and, when pid is not 0, of
// that one.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		t.Fatal(err)
	}
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if pid == 0 {
		return total
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms; the
	// command's name before them may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return total + time.Duration(user+system)*10*time.Millisecond
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
	file string
	rest *rest.Config
}

func startSandbox(t *testing.T) sandboxConfig {
	t.Helper()
	name := fmt.Sprintf("benchmark-%d", os.Getpid())
	sandbox := filepath.Join(binDir, "sandbox")
	t.Cleanup(func() {
		if out, err := exec.Command(sandbox, "down", "--name", name).CombinedOutput(); err != nil {
			t.Errorf("the sandbox could not be ended: %v\n%s", err, out)
		}
	})
	if out, err := exec.Command(sandbox, "up", "--name", name, "--stack=false").CombinedOutput(); err != nil {
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
	return sandboxConfig{file, config}
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
