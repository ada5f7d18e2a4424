//go:build e2e

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/cluster"
	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

const patience = 2 * time.Minute

// programs are those that "make sandbox kubectl helm charts" builds.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it with make sandbox kubectl helm charts", err)
	}
	return path
}

// sandbox is one instance under test.
type sandbox struct {
	t    *testing.T
	name string
	bin  string
}

func newSandbox(t *testing.T, suffix string) *sandbox {
	s := &sandbox{t: t, name: fmt.Sprintf("test-%d-%s", os.Getpid(), suffix), bin: program(t, "sandbox")}
	t.Cleanup(func() { s.run("down", "--name", s.name) })
	return s
}

type outcome struct {
	stdout, stderr string
	code           int
}

func (s *sandbox) run(args ...string) outcome { return execute(s.t, s.bin, nil, args...) }

func execute(t *testing.T, program string, variables []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), variables...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (s *sandbox) must(args ...string) outcome {
	s.t.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.t.Fatalf("sandbox %v: exit code %d\n%s", args, o.code, o.stderr)
	}
	return o
}

func (s *sandbox) kubectl(args ...string) string {
	s.t.Helper()
	o := execute(s.t, program(s.t, "kubectl"), []string{"KUBECONFIG=" + s.kubeconfig()}, args...)
	if o.code != 0 {
		s.t.Fatalf("kubectl %v: exit code %d\n%s", args, o.code, o.stderr)
	}
	return o.stdout
}

func (s *sandbox) kubeconfig() string {
	return strings.TrimSpace(s.must("kubeconfig", "--name", s.name).stdout)
}

func (s *sandbox) status() cluster.Status {
	s.t.Helper()
	var answer struct{ Instances []cluster.Status }
	if err := json.Unmarshal([]byte(s.must("status", "--name", s.name, "-o", "json").stdout), &answer); err != nil {
		s.t.Fatal(err)
	}
	if len(answer.Instances) != 1 {
		s.t.Fatalf("status lists %d instances, want one", len(answer.Instances))
	}
	return answer.Instances[0]
}

// processes returns every process whose command line or variables name the instance.
func (s *sandbox) processes() []process.ID {
	s.t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	var found []process.ID
	for _, path := range paths {
		var text []byte
		for _, file := range []string{"cmdline", "environ"} {
			content, _ := os.ReadFile(filepath.Join(path, file)) // the process may have ended
			text = append(text, content...)
		}
		if !bytes.Contains(text, []byte(s.name)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if id, err := process.Identify(pid); err == nil {
			found = append(found, id)
		}
	}
	return found
}

func (s *sandbox) expectNothingLeft(before []process.ID) {
	s.t.Helper()
	for _, id := range before {
		if !id.WaitGone(10 * time.Second) {
			s.t.Errorf("process %d of the instance is still running", id.PID)
		}
	}
	if rest := s.processes(); len(rest) > 0 {
		s.t.Errorf("processes %v of the instance are still running", rest)
	}
	files, err := filepath.Glob(filepath.Join(os.TempDir(), "*"+s.name+"*"))
	if err != nil || len(files) > 0 {
		s.t.Errorf("files are left: %v, %v", files, err)
	}
	if o := s.run("status", "--name", s.name); o.code == 0 {
		s.t.Errorf("status still shows the instance: %s", o.stdout)
	}
}

// TestTwoInstances brings two instances up at once, uses one with the stock
// kubectl, and ends one without touching the other.
func TestTwoInstances(t *testing.T) {
	full, lean := newSandbox(t, "full"), newSandbox(t, "lean")
	var both sync.WaitGroup
	var fullUp, leanUp outcome
	both.Go(func() { fullUp = full.run("up", "--name", full.name, "--triton-replicas", "2") })
	both.Go(func() {
		leanUp = lean.run("up", "--name", lean.name, "--stack=false", "--gpu-nodes", "1", "--nodes", "2", "--gpus-per-node", "4")
	})
	both.Wait()
	for _, o := range []outcome{fullUp, leanUp} {
		if o.code != 0 {
			t.Fatalf("up: exit code %d\n%s", o.code, o.stderr)
		}
	}
	if want := "export KUBECONFIG=" + full.kubeconfig() + "\n"; fullUp.stdout != want {
		t.Errorf("up prints %q on standard output, want %q", fullUp.stdout, want)
	}
	for _, line := range strings.Split(strings.TrimSpace(fullUp.stderr), "\n") {
		if !regexp.MustCompile(`^\[ *[0-9]+\.[0-9]s\] .+`).MatchString(line) {
			t.Errorf("the line of progress %q has no elapsed time", line)
		}
	}
	if info, err := os.Stat(filepath.Dir(full.kubeconfig())); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the instance's directory: %v, %v; want mode 0700", info.Mode(), err)
	}
	if o := full.run("up", "--name", full.name); o.code == 0 || !strings.Contains(o.stderr, "is running already") {
		t.Errorf("a second up of the same name: exit code %d, %s", o.code, o.stderr)
	}
	status := full.status()
	if status.State != "running" || len(status.Nodes) != 3 || len(status.Pods) != 6 {
		t.Errorf("status = %+v, want a running instance of 3 nodes and 6 pods", status)
	}
	for _, p := range status.Pods {
		if !p.Ready || p.Restarts != 0 {
			t.Errorf("pod %s is not ready or has restarted: %+v", p.Name, p)
		}
	}
	t.Run("objects", full.testObjects)
	t.Run("kubectl", full.testKubectl)
	t.Run("metrics", full.testMetrics)
	t.Run("replacement", full.testReplacement)

	processes := full.processes()
	if len(processes) < 7 {
		t.Errorf("%d processes belong to the instance, want the daemon and six pods'", len(processes))
	}
	full.must("down", "--name", full.name)
	full.expectNothingLeft(processes)
	if nodes := lean.kubectl("get", "nodes", "-o", "name"); strings.Count(nodes, "node/") != 3 {
		t.Errorf("after the other's end, the lean instance has the nodes %q", nodes)
	}
	if pods := lean.kubectl("get", "pods", "-A", "-o", "name"); strings.TrimSpace(pods) == "" || strings.Contains(pods, "grafana") {
		t.Errorf("the lean instance has the pods %q, want Triton's only", pods)
	}
	processes = lean.processes()
	lean.must("down", "--name", lean.name)
	lean.expectNothingLeft(processes)
	if o := lean.run("down", "--name", lean.name); o.code != 0 || !strings.Contains(o.stderr, "there is no sandbox") {
		t.Errorf("a second down: exit code %d, %s", o.code, o.stderr)
	}
}

func (s *sandbox) testObjects(t *testing.T) {
	tests := []struct{ args, want string }{
		{"get svc triton-infer -n triton -o jsonpath={.spec.ports[*].name}/{.spec.ports[*].port}", "http grpc metrics/8000 8001 8002"},
		{"get svc prom-operator-kube-prometh-prometheus -n monitoring -o jsonpath={.spec.ports[*].port}/{.metadata.labels.app}/{.metadata.labels.self-monitor}", "9090/kube-prometheus-stack-prometheus/true"},
		{"get svc prometheus-operated -n monitoring -o jsonpath={.spec.clusterIP}/{.spec.ports[*].port}", "None/9090"},
		{"get svc prom-operator-grafana -n monitoring -o jsonpath={.spec.ports[*].port}", "80"},
		{"get secret -n monitoring -l app.kubernetes.io/component=admin-secret,app.kubernetes.io/name=grafana -o jsonpath={.items[*].metadata.name}", "prom-operator-grafana"},
		{"get ds dcgm-exporter -n monitoring -o jsonpath={.status.numberReady}", "2"},
		{"get runtimeclass nvidia -o jsonpath={.handler}", "nvidia"},
		{"get nodes -l nvidia.com/gpu.present=true -o jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}", "2 2"},
	}
	for _, tt := range tests {
		if got := s.kubectl(strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("kubectl %s: %q, want %q", tt.args, got, tt.want)
		}
	}
}

// forward runs kubectl port-forward until the test ends and returns its local address.
func (s *sandbox) forward(t *testing.T, variables []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t, "kubectl"), append([]string{"port-forward", "--address=127.0.0.1"}, args...)...)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+s.kubeconfig()), variables...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatalf("kubectl port-forward %v said nothing: %v", args, err)
	}
	match := regexp.MustCompile(`127\.0\.0\.1:\d+`).Find(buf[:n])
	if match == nil {
		t.Fatalf("kubectl port-forward %v: %s", args, buf[:n])
	}
	go io.Copy(io.Discard, out)
	return string(match)
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func (s *sandbox) testKubectl(t *testing.T) {
	if logs := s.kubectl("logs", "-n", "triton", "deploy/triton-infer", "--tail=-1"); !strings.Contains(logs, "Started HTTPService") {
		t.Errorf("Triton's log is %q", logs)
	}
	if logs := s.kubectl("logs", "-n", "monitoring", "prometheus-prom-operator-kube-prometh-prometheus-0", "--tail=1", "--timestamps"); strings.Count(logs, "\n") != 1 {
		t.Errorf("one line of the log is %q", logs)
	}
	for _, websocket := range []string{"true", "false"} {
		address := s.forward(t, []string{"KUBECTL_PORT_FORWARD_WEBSOCKETS=" + websocket}, "-n", "triton", "svc/triton-infer", ":8000")
		for range 3 {
			if status, body := get(t, "http://"+address+"/v2"); status != http.StatusOK || !strings.Contains(body, `"triton"`) {
				t.Errorf("WebSockets %s: Triton answers %d, %s", websocket, status, body)
			}
		}
	}
	// Nothing listens on this port: the connection ends, with the node's reason in kubectl's output.
	address := s.forward(t, nil, "-n", "triton", "deploy/triton-infer", ":9999")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a port that nothing listens on sent %d bytes", n)
	}
	o := execute(t, program(t, "kubectl"), []string{"KUBECONFIG=" + s.kubeconfig()}, "exec", "-n", "triton", "deploy/triton-infer", "--", "ls")
	if o.code == 0 {
		t.Errorf("exec, which is not supported, succeeded: %s", o.stdout)
	}
}

// testMetrics asks the real Prometheus for series with the labels that jobs of
// ServiceMonitors would have.
func (s *sandbox) testMetrics(t *testing.T) {
	address := s.forward(t, nil, "-n", "monitoring", "svc/prom-operator-kube-prometh-prometheus", ":9090")
	query := func(q string) []map[string]string {
		t.Helper()
		status, body := get(t, "http://"+address+"/api/v1/query?"+url.Values{"query": {q}}.Encode())
		var answer struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
			t.Fatalf("query %s: status %d, %v: %s", q, status, err, body)
		}
		var series []map[string]string
		for _, r := range answer.Data.Result {
			series = append(series, r.Metric)
		}
		return series
	}
	await := func(q string, count int) []map[string]string {
		t.Helper()
		deadline := time.Now().Add(patience)
		for {
			series := query(q)
			if len(series) == count {
				return series
			}
			if time.Now().After(deadline) {
				t.Fatalf("query %s: %d series, want %d: %v", q, len(series), count, series)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	pods := strings.Fields(s.kubectl("get", "pods", "-n", "triton", "-o", "jsonpath={.items[*].metadata.name}"))
	held := await(`DCGM_FI_DEV_GPU_UTIL{exported_pod!=""}`, len(pods))
	for _, series := range held {
		for label, want := range map[string]string{
			"job": "dcgm-exporter", "service": "dcgm-exporter", "namespace": "monitoring", "container": "exporter", "endpoint": "metrics",
			"exported_namespace": "triton", "exported_container": "triton", "modelName": "NVIDIA A100-SXM4-40GB",
		} {
			if series[label] != want {
				t.Errorf("DCGM series has %s=%q, want %q", label, series[label], want)
			}
		}
		if !strings.Contains(strings.Join(pods, " "), series["exported_pod"]) || !strings.HasPrefix(series["pod"], "dcgm-exporter-") || !strings.HasSuffix(series["instance"], ":9400") {
			t.Errorf("DCGM series has labels %v", series)
		}
		if gpu := await(fmt.Sprintf(`nv_gpu_utilization{gpu_uuid=%q}`, series["UUID"]), 1)[0]; gpu["pod"] != series["exported_pod"] {
			t.Errorf("Triton of pod %s shows the GPU that DCGM shows for pod %s", gpu["pod"], series["exported_pod"])
		}
	}
	await(`DCGM_FI_DEV_FB_USED`, 4)
	for _, series := range await(`nv_inference_count{model="simple"}`, len(pods)) {
		for label, want := range map[string]string{
			"job": "triton-infer", "service": "triton-infer", "namespace": "triton", "container": "triton", "endpoint": "metrics", "version": "1",
		} {
			if series[label] != want {
				t.Errorf("Triton series has %s=%q, want %q", label, series[label], want)
			}
		}
		if !strings.HasSuffix(series["instance"], ":8002") {
			t.Errorf("Triton series has instance %q, want port 8002", series["instance"])
		}
	}
}

// testReplacement deletes a pod: its Deployment makes another, which becomes ready.
func (s *sandbox) testReplacement(t *testing.T) {
	old := strings.Fields(s.kubectl("get", "pods", "-n", "triton", "-o", "jsonpath={.items[*].metadata.name}"))
	s.kubectl("delete", "pod", "-n", "triton", old[0])
	s.kubectl("rollout", "status", "-n", "triton", "deploy/triton-infer", "--timeout=60s")
	s.kubectl("wait", "-n", "triton", "--for=condition=Ready", "pod", "-l", "app=triton-infer", "--timeout=60s")
	if now := s.kubectl("get", "pods", "-n", "triton", "-o", "jsonpath={.items[*].metadata.name}"); strings.Contains(now, old[0]) || len(strings.Fields(now)) != len(old) {
		t.Errorf("after the deletion of %s the pods are %s", old[0], now)
	}
}

// TestDownAfterKill kills the daemon: the kernel ends its children, down removes the rest.
func TestDownAfterKill(t *testing.T) {
	s := newSandbox(t, "killed")
	s.must("up", "--name", s.name)
	processes := s.processes()
	if err := syscall.Kill(s.status().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, id := range processes {
		if !id.WaitGone(10 * time.Second) {
			t.Errorf("process %d outlived the daemon", id.PID)
		}
	}
	if state := s.status().State; state != "dead" {
		t.Errorf("the state of a killed instance is %q, want dead", state)
	}
	s.must("down", "--name", s.name)
	s.expectNothingLeft(processes)
}

// TestUpOverDeadInstance starts an instance whose name a killed one still holds.
func TestUpOverDeadInstance(t *testing.T) {
	s := newSandbox(t, "again")
	s.must("up", "--name", s.name, "--stack=false", "--triton-replicas", "0")
	if err := syscall.Kill(s.status().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for s.status().State != "dead" && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	s.must("up", "--name", s.name, "--stack=false", "--triton-replicas", "0")
	if state := s.status().State; state != "running" {
		t.Errorf("the state is %q, want running", state)
	}
	processes := s.processes()
	s.must("down", "--name", s.name)
	s.expectNothingLeft(processes)
}

// TestFailedBringUps checks that a bring-up that can't work says why and leaves nothing.
func TestFailedBringUps(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("max_batch_size: lots\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	endless := filepath.Join(t.TempDir(), "endless.yaml")
	if err := os.WriteFile(endless, []byte("name: endless\noutput: [{name: o, data_type: TYPE_FP32, dims: [1]}]\nsim: {load_error: no such file}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"model file is broken", []string{"--models", broken}, "broken"},
		{"model file is missing", []string{"--models", "/nowhere/x.yaml"}, "/nowhere/x.yaml"},
		{"too many replicas", []string{"--triton-replicas", "9"}, "9 Triton replicas need one GPU each"},
		{"no nodes", []string{"--nodes", "0", "--gpu-nodes", "0"}, "at least one node"},
		{"model does not load", []string{"--models", endless, "--stack=false", "--timeout", "15s"}, "triton/triton-infer-"},
		{"no time", []string{"--timeout", "1ms"}, "in time"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSandbox(t, fmt.Sprintf("fails-%d", i))
			o := s.run(append([]string{"up", "--name", s.name}, tt.args...)...)
			if o.code != 1 || !strings.Contains(o.stderr, tt.want) || o.stdout != "" {
				t.Errorf("exit code %d, output %q, message %q; want 1, nothing, a message that contains %q", o.code, o.stdout, o.stderr, tt.want)
			}
			s.expectNothingLeft(nil)
		})
	}
}

// TestInterruptedUp sends the signal of Ctrl-C in the middle of a bring-up.
func TestInterruptedUp(t *testing.T) {
	s := newSandbox(t, "interrupted")
	cmd := exec.Command(s.bin, "up", "--name", s.name)
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf, seen := make([]byte, 4096), ""
	for !strings.Contains(seen, "etcd is ready") {
		n, err := progress.Read(buf)
		if err != nil {
			t.Fatalf("up ended early: %v, %s", err, seen)
		}
		seen += string(buf[:n])
	}
	processes := s.processes()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(progress)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(string(rest), "interrupted") {
		t.Errorf("exit code %d, message %q; want 130 and an explanation", code, rest)
	}
	s.expectNothingLeft(processes)
}
