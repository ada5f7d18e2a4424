//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// modelsJSON is what the tests read of "models -o json".
type modelsJSON struct {
	Schema string
	Pods   []struct {
		Name    string
		Ready   bool
		Reason  string `json:"not_ready_reason"`
		Version string `json:"triton_version"`
		Problem string
	}
	Models []modelJSON
}

type modelJSON struct {
	Name, Version, State, Reason, Backend string
	Configured                            bool
	Pods                                  []string
	MaxBatchSize                          int  `json:"max_batch_size"`
	ResponseCache                         bool `json:"response_cache"`
	Instances                             []struct {
		Kind  string
		Count int
		GPUs  []int
	}
	Batching *struct {
		MaxQueueDelayUS int `json:"max_queue_delay_us"`
	} `json:"dynamic_batching"`
	Inputs []struct {
		Name, Datatype string
		Dims           []int64
		Optional       bool
	}
	Served *struct {
		Succeeded uint64     `json:"requests_succeeded"`
		Last      *time.Time `json:"last_inference"`
	}
	LoadSeconds *float64 `json:"load_seconds"`
}

func models(t *testing.T, args ...string) *modelsJSON {
	t.Helper()
	o := plugin(t, append([]string{"models", "-o", "json"}, args...)...)
	if o.code != 0 || o.stderr != "" {
		t.Fatalf("models %v: exit code %d: %s", args, o.code, o.stderr)
	}
	var r modelsJSON
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	return &r
}

func (r *modelsJSON) model(t *testing.T, name string) *modelJSON {
	t.Helper()
	i := slices.IndexFunc(r.Models, func(m modelJSON) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("there is no model %s in %+v", name, r.Models)
	}
	return &r.Models[i]
}

// modelService makes a Service for pods with a label.
func modelService(t *testing.T, name, app string, ports ...corev1.ServicePort) {
	t.Helper()
	must(t, func() error {
		_, err := client.CoreV1().Services("triton").Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: ports},
		}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		_ = client.CoreV1().Services("triton").Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

func httpPort() corev1.ServicePort {
	return corev1.ServicePort{Name: "http", Port: 8000, TargetPort: intstr.FromInt32(8000)}
}

// TestModels: what the sandbox's models are is what is shown, in every form, and
// what was served is counted.
func TestModels(t *testing.T) {
	pod := readyPod(t, "triton", "app=triton-infer")
	before := models(t).model(t, "mixed")
	benchJSON(t, 0, "mixed", "--requests", "20", "--warmup", "0s", "--shape", "TEXT:2", "--no-grafana", "--no-prometheus")
	r := models(t)
	if r.Schema != "kubectl-triton/models/v1" || len(r.Pods) != 1 || r.Pods[0].Name != pod.Name || !r.Pods[0].Ready || r.Pods[0].Version == "" {
		t.Errorf("the pods are %+v", r.Pods)
	}
	m := r.model(t, "mixed")
	if m.State != "READY" || m.Version != "1" || m.Backend != "identity" || m.MaxBatchSize != 0 || len(m.Inputs) != 3 || !m.Inputs[2].Optional ||
		m.Inputs[0].Datatype != "BYTES" || m.Inputs[0].Dims[0] != -1 || m.Instances[0].Kind != "cpu" || m.LoadSeconds == nil {
		t.Errorf("mixed is %+v", m)
	}
	if got := m.Served.Succeeded - before.Served.Succeeded; got != 20 || m.Served.Last == nil || time.Since(*m.Served.Last) > time.Minute {
		t.Errorf("20 requests were sent, %d counted, the last at %v", got, m.Served.Last)
	}
	if q := r.model(t, "queueing"); q.MaxBatchSize != 4 || q.Batching == nil || q.Batching.MaxQueueDelayUS != 1000 || q.Instances[0].Kind != "gpu" || q.Instances[0].Count != 1 || q.Instances[0].GPUs[0] != 0 {
		t.Errorf("queueing is %+v", q)
	}
	if o := plugin(t, "models", "-o", "name"); o.stdout != "flaky\nlapsing\nmixed\nqueueing\nsteady\ntally\nwords\n" {
		t.Errorf("the names are %q", o.stdout)
	}
	o := plugin(t, "models", "queueing")
	for _, want := range []string{"queueing  1        READY  identity  1×GPU 0    ≤4 dynamic", "batches up to 4, preferred 4, waiting up to", "INPUT0 FP32 [4]"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not in\n%s", want, o.stdout)
		}
	}
	if strings.Contains(o.stdout, "mixed") {
		t.Errorf("the description is\n%s", o.stdout)
	}
	if o := plugin(t, "models", "list", "-o", "wide"); !strings.Contains(o.stdout, "TEXT BYTES [-1]; HALF FP16 [2,3]; EXTRA INT64 [1] optional") {
		t.Errorf("the wide table is\n%s", o.stdout)
	}
	if o := plugin(t, "models", "nope"); o.code != 1 || !strings.Contains(o.stderr, "has a model nope; list them") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// TestModelsPods: pods that differ have a line each, one that gives no answer is
// listed with the reason, and neither hides the others.
func TestModelsPods(t *testing.T) {
	readyPod(t, "triton", "app=triton-infer")
	explicitTriton(t)
	// An image that no simulator stands for: the pod is ready and nothing listens.
	mute := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-mute", Labels: map[string]string{"app": "e2e-explicit"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/none", Ports: []corev1.ContainerPort{{ContainerPort: 8000}}}}},
	}
	must(t, func() error {
		_, err := client.CoreV1().Pods("triton").Create(t.Context(), mute, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		now := int64(0)
		_ = client.CoreV1().Pods("triton").Delete(context.Background(), "e2e-mute", metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	modelService(t, "e2e-models", "e2e-explicit", httpPort())
	var r *modelsJSON
	eventually(t, 30*time.Second, "both pods to run", func() bool {
		r = models(t, "--service", "e2e-models")
		return len(r.Pods) == 2 && r.Pods[1].Ready
	})
	if r.Pods[0].Problem != "" || !strings.Contains(r.Pods[1].Problem, "refused") {
		t.Errorf("the pods are %+v", r.Pods)
	}
	if m := r.model(t, "mixed"); m.State != "READY" || !slices.Equal(m.Pods, []string{"e2e-explicit"}) {
		t.Errorf("mixed is %+v", m)
	}
	if m := r.model(t, "steady"); m.State != "NOT_LOADED" || m.Configured {
		t.Errorf("steady is %+v", m)
	}
	if o := plugin(t, "models", "--service", "e2e-models"); o.code != 0 || !strings.Contains(o.stdout, "× pod e2e-mute: ") || !strings.Contains(o.stdout, "1/2") {
		t.Errorf("exit code %d:\n%s", o.code, o.stdout)
	}
	if o := plugin(t, "models", "--service", "e2e-models", "--pod", "e2e-mute"); o.code != 1 || !strings.Contains(o.stdout, "× pod e2e-mute: ") || !strings.Contains(o.stderr, "no pod told its models") {
		t.Errorf("exit code %d:\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// TestModelsControl: a model is loaded, serves, and is unloaded, where the server
// lets itself be told; a question is asked before it goes.
func TestModelsControl(t *testing.T) {
	explicitTriton(t)
	modelService(t, "e2e-control", "e2e-explicit", httpPort())
	run := func(args ...string) outcome {
		return plugin(t, append([]string{"models"}, append(args, "--service", "e2e-control")...)...)
	}
	state := func() string { return models(t, "--service", "e2e-control").model(t, "mixed").State }
	if o := run("load", "mixed"); o.code != 0 || !strings.HasPrefix(o.stdout, "model/mixed loaded on pod/e2e-explicit in ") || state() != "READY" {
		t.Fatalf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	readyPod(t, "triton", "app=e2e-explicit")
	benchJSON(t, 0, "mixed", "--service", "e2e-control", "--requests", "7", "--warmup", "0s", "--shape", "TEXT:2", "--no-grafana", "--no-prometheus")
	if o := run("unload", "mixed"); o.code != 2 || !strings.Contains(o.stderr, "no terminal to ask on") || state() != "READY" {
		t.Errorf("without a terminal: exit code %d: %s", o.code, o.stderr)
	}
	answer := func(keys string) (int, string) {
		cmd := command(t.Context(), "kubectl-triton", nil, "models", "unload", "mixed", "--service", "e2e-control")
		keyboard, seen := terminal(t, cmd, 80, "rgb:0000/0000/0000")
		eventually(t, 30*time.Second, "the question", func() bool { return strings.Contains(seen.String(), "Type yes: ") })
		must(t, func() error { _, err := keyboard.WriteString(keys); return err })
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode(), seen.String()
	}
	if code, screen := answer("no\n"); code != 2 || state() != "READY" || !strings.Contains(screen, "has served 7 requests ok, 0 failed") || !strings.Contains(strings.Join(strings.Fields(screen), " "), "no pod is left to it") {
		t.Errorf("no: exit code %d:\n%s", code, screen)
	}
	if code, screen := answer("yes\n"); code != 0 || state() != "UNAVAILABLE" {
		t.Errorf("yes: exit code %d:\n%s", code, screen)
	}
	if o := run("unload", "mixed", "--yes"); o.code != 0 || !strings.Contains(o.stderr, "does not have model mixed loaded") {
		t.Errorf("again: exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"unload", "nope", "--yes"}, "there is no model nope"},
		{[]string{"load", "nope"}, "failed to load 'nope', failed to poll from model repository"},
	} {
		if o := run(c.args...); o.code != 1 || !strings.Contains(o.stderr, c.want) || o.stdout != "" {
			t.Errorf("%v: exit code %d: %s%s", c.args, o.code, o.stdout, o.stderr)
		}
	}
	for _, args := range [][]string{{"models", "load", "steady"}, {"models", "unload", "steady", "--yes"}} {
		if o := plugin(t, args...); o.code != 1 || !strings.Contains(o.stderr, "--model-control-mode=explicit") {
			t.Errorf("%v without explicit control: exit code %d: %s%s", args, o.code, o.stdout, o.stderr)
		}
	}
}

// TestModelsFailedLoad: a model that can't be loaded gives Triton's reason; the
// pod is not ready then, and its models are shown all the same.
func TestModelsFailedLoad(t *testing.T) {
	config, err := client.CoreV1().ConfigMaps("triton").Get(t.Context(), "triton-models", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config.ObjectMeta = metav1.ObjectMeta{Name: "e2e-broken"}
	config.Data["broken.yaml"] = "name: broken\nbackend: nosuchbackend\nmax_batch_size: 0\nsim:\n  behaviour: identity\n  load_error: \"unable to find backend library for backend 'nosuchbackend'\"\n" +
		"input:\n  - {name: IN, data_type: TYPE_FP32, dims: [1]}\noutput:\n  - {name: OUT, data_type: TYPE_FP32, dims: [1]}\n"
	must(t, func() error {
		_, err := client.CoreV1().ConfigMaps("triton").Create(t.Context(), config, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		_ = client.CoreV1().ConfigMaps("triton").Delete(context.Background(), "e2e-broken", metav1.DeleteOptions{})
	})
	explicitTriton(t, func(p *corev1.Pod) {
		for i := range p.Spec.Volumes {
			if c := p.Spec.Volumes[i].ConfigMap; c != nil && c.Name == "triton-models" {
				c.Name = "e2e-broken"
			}
		}
	})
	modelService(t, "e2e-failed", "e2e-explicit", httpPort())
	if o := plugin(t, "models", "load", "broken", "--service", "e2e-failed"); o.code != 1 || !strings.Contains(o.stderr, "was not loaded on 1 of 1 pod: pod e2e-explicit: could not load model broken") || !strings.Contains(o.stderr, "nosuchbackend") {
		t.Fatalf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	var r *modelsJSON
	eventually(t, 30*time.Second, "the pod not to be ready", func() bool {
		r = models(t, "--service", "e2e-failed")
		return !r.Pods[0].Ready
	})
	if m := r.model(t, "broken"); m.State != "UNAVAILABLE" || m.Reason == "" || r.Pods[0].Problem != "" || r.model(t, "mixed").State != "READY" {
		t.Errorf("%+v, %+v", m, r.Pods)
	}
	if o := plugin(t, "models", "unload", "broken", "--service", "e2e-failed", "--yes"); o.code != 0 {
		t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
}

// TestModelsWrong: each wrong case gets one sentence with the next step.
func TestModelsWrong(t *testing.T) {
	createServices(t)
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"no pods", nil, []string{"--service", "nopods"}, 1, []string{"no pod is behind Service nopods", "app=nobody"}},
		{"no such pod", nil, []string{"--pod", "nope"}, 1, []string{"no pod nope behind Service triton-infer"}},
		{"no such Service", nil, []string{"--service", "nope"}, 1, []string{"no Service nope in namespace triton"}},
		{"output", nil, []string{"-o", "xml"}, 2, []string{`--output is "xml"`}},
		{"timeout", nil, []string{"--timeout", "0s"}, 2, []string{"--timeout is 0s"}},
		{"no model", nil, []string{"load"}, 2, []string{"needs MODEL", "--help"}},
		{"unreachable API server", []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+deadAddress(t), "")}, nil, 1, []string{"can't be reached"}},
		{"RBAC: no port-forward", []string{"KUBECONFIG=" + limitedUser(t, "modelsforward", rule("services", "get", "list"), rule("pods", "get", "list", "watch"))}, nil, 1, []string{"not allowed", "pods/portforward"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := finish(t, command(t.Context(), "kubectl-triton", c.env, append([]string{"models"}, c.args...)...))
			if o.code != c.code || o.took > 10*time.Second || strings.Count(o.stderr, "\n") != 1 {
				t.Errorf("exit code %d after %s", o.code, o.took)
			}
			for _, w := range c.want {
				if !strings.Contains(o.stderr, w) {
					t.Errorf("%q is not in %q", w, o.stderr)
				}
			}
		})
	}
}

// TestDiscoverCustomImage: a Triton behind an image that tells nothing is found by
// its ports and its answer; a Service with the same ports in front of something
// else is not taken.
func TestDiscoverCustomImage(t *testing.T) {
	explicitTriton(t)
	// What runs stays what it is; only the name of its image changes.
	must(t, func() error {
		_, err := client.CoreV1().Pods("triton").Patch(t.Context(), "e2e-explicit", types.StrategicMergePatchType,
			[]byte(`{"spec":{"containers":[{"name":"triton","image":"registry.example/team/serving:7"}]}}`), metav1.PatchOptions{})
		return err
	})
	ports := []corev1.ServicePort{
		{Name: "web", Port: 80, TargetPort: intstr.FromInt32(8000)}, {Name: "rpc", Port: 81, TargetPort: intstr.FromInt32(8001)},
	}
	modelService(t, "e2e-custom", "e2e-explicit", ports...)
	o := plugin(t, "models", "-n", "triton", "-o", "name")
	if o.code != 0 { // the default Service is there and is taken
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	complete := finish(t, command(t.Context(), "kubectl-triton", nil, "__complete", "bench", "-n", "triton", "--service", "e2e-c"))
	if !strings.HasPrefix(complete.stdout, "e2e-custom\n") {
		t.Errorf("the Services that lead to Triton are %q", complete.stdout)
	}
	if r := models(t, "--service", "e2e-custom"); r.model(t, "mixed").State != "READY" {
		t.Errorf("its models are %+v", r.Models)
	}
}
