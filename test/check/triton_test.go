//go:build e2e

package check

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

// tritonRuns gives Triton's Deployment other arguments and waits for the rollout
// if its pods are to become ready.
func tritonRuns(t *testing.T, ready bool, args string) {
	t.Helper()
	kubectl(t, "--namespace", "triton", "patch", "deployment", "triton-infer", "--type", "json", "--patch",
		`[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["`+strings.Join(strings.Fields(args), `","`)+`"]}]`)
	if ready {
		kubectl(t, "--namespace", "triton", "rollout", "status", "deployment", "triton-infer", "--timeout", "90s")
		alone(t)
	}
}

// alone waits until the pods of the last rollout are gone.
func alone(t *testing.T) {
	t.Helper()
	becomes(t, "triton-pods-ready", check.StateOK, "1 of 1")
}

const usual = "tritonserver --model-repository=/models"

// TestTritonFlags: metrics off is a failure, averages only a warning that the
// flag it names ends.
func TestTritonFlags(t *testing.T) {
	defer well(t)
	defer tritonRuns(t, true, usual)
	k := becomes(t, "triton-percentiles", check.StateWarning)
	golden(t, k)
	tritonRuns(t, true, usual+" --metrics-config summary_latencies=true")
	becomes(t, "triton-percentiles", check.StateOK)
	tritonRuns(t, true, usual+" --allow-metrics=false")
	k = becomes(t, "triton-metrics", check.StateFailed)
	if !strings.Contains(k.Findings[0].What, "it runs with --allow-metrics=false") {
		t.Errorf("%+v", k)
	}
	benchSays(t, 0, k)
}

// TestModelFails: a model that can't be loaded, with Triton's own reason.
func TestModelFails(t *testing.T) {
	defer well(t)
	models := sandbox.Client.CoreV1().ConfigMaps("triton")
	change := func(what func(*corev1.ConfigMap)) {
		t.Helper()
		config, err := models.Get(background(), "triton-models", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		what(config)
		if _, err := models.Update(background(), config, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	defer tritonRuns(t, true, usual)
	defer change(func(c *corev1.ConfigMap) { delete(c.Data, "broken.yaml") })
	change(func(c *corev1.ConfigMap) {
		c.Data["broken.yaml"] = "name: broken\nbackend: nosuchbackend\nmax_batch_size: 0\nsim:\n  behaviour: identity\n  load_error: \"unable to find backend library for backend 'nosuchbackend'\"\n" +
			"input:\n  - {name: IN, data_type: TYPE_FP32, dims: [1]}\noutput:\n  - {name: OUT, data_type: TYPE_FP32, dims: [1]}\n"
	})
	tritonRuns(t, false, usual+" --exit-on-error=false --strict-readiness=true")
	k := becomes(t, "triton-models-ready", check.StateFailed, "model broken version", "nosuchbackend")
	golden(t, k)
	becomes(t, "triton-server-ready", check.StateFailed)
	// Where the readiness probe lets such a server pass, the model itself is what
	// keeps it from being tested.
	tritonRuns(t, true, usual+" --exit-on-error=false --strict-readiness=false")
	o := sandbox.Run(t, "kubectl-triton", "bench", "broken", "--requests", "5")
	k = becomes(t, "triton-models-ready", check.StateFailed, "nosuchbackend")
	for _, want := range []string{k.Findings[0].What, k.Findings[0].Why, k.Findings[0].Command} {
		if o.Code != 1 || !strings.Contains(o.Stderr, want) {
			t.Errorf("exit code %d, %q is not in %s", o.Code, want, o.Stderr)
		}
	}
}

// benchSays runs a load test: its preflight says the words of check once, as the
// error that ends it or as a note.
func benchSays(t *testing.T, code int, k check.Result, flags ...string) {
	t.Helper()
	o := sandbox.Run(t, "kubectl-triton", append([]string{"bench", "resnet50", "--requests", "20", "--warmup", "0"}, flags...)...)
	if o.Code != code {
		t.Errorf("bench: exit code %d, want %d: %s", o.Code, code, o.Stderr)
	}
	for _, f := range k.Findings {
		for _, want := range []string{f.What, f.Why, f.Command} {
			if strings.Count(o.Stderr, want) != 1 && want != "" {
				t.Errorf("bench says %d times %q: %s", strings.Count(o.Stderr, want), want, o.Stderr)
			}
		}
	}
}
