//go:build e2e

package observe

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// TestLifecycle: the whole life of a stack, from nothing to nothing.
func TestLifecycle(t *testing.T) {
	cleanUp(t)
	withoutCRDs(t)
	if err := removeNamespace(t.Context(), "monitoring"); err != nil {
		t.Fatal(err)
	}
	before := sandbox.Snapshot(t)

	r := mustUp(t)
	if !r.Changed || r.Command != "up" {
		t.Errorf("changed %v by %s", r.Changed, r.Command)
	}
	for _, name := range []string{"namespace", "CRDs", "kube-prometheus-stack", "dcgm-exporter", "monitors", "rules and alerts", "dashboards"} {
		action(t, r, name, "create")
	}
	for _, c := range r.Checks {
		if c.State != report.CheckOK {
			t.Errorf("%s is %s: %s", c.Name, c.State, c.Detail)
		}
	}

	t.Run("bench", benchIsSeen)
	t.Run("again", nothingToDo)
	t.Run("drift", driftIsMended)

	installed := sandbox.Snapshot(t)
	removed := down(t)
	after := sandbox.Snapshot(t)
	kept := keys(component(t, removed, "what Helm leaves").Objects)
	allowed := slices.Clone(kept)
	for _, k := range before.Added(after) {
		// The addresses belong to the Service.
		if strings.HasPrefix(k, "Endpoints "+kubelets) || strings.HasPrefix(k, "EndpointSlice "+kubelets) {
			allowed = append(allowed, k)
		}
	}
	before.Same(t, after, allowed...)
	for _, k := range kept {
		if after[k] == nil {
			t.Errorf("%s is listed as staying and is gone", k)
		}
	}
	if len(kept) != 11 {
		t.Errorf("listed as staying are %v; want ten CRDs and the kubelets' Service", kept)
	}
	if before.Added(installed) == nil || !removed.Changed {
		t.Error("there was nothing to remove")
	}

	// Twice is once.
	removed = down(t)
	if removed.Changed || !slices.ContainsFunc(removed.Notes, func(n string) bool { return strings.Contains(n, "made nothing") }) {
		t.Errorf("the second down: changed %v, notes %v", removed.Changed, removed.Notes)
	}
	after.Untouched(t, sandbox.Snapshot(t))

	// Not without a yes.
	says(t, sandbox.Run(t, "kubectl-triton", "observe", "down", "--purge"), 2, "--purge needs a confirmation", "--yes")
	after.Untouched(t, sandbox.Snapshot(t))

	// CRDs that stayed are used again.
	r = mustUp(t)
	action(t, r, "CRDs", "unchanged")
	action(t, r, "kube-prometheus-stack", "create")

	removed = down(t, "--purge", "--yes")
	action(t, removed, "what Helm leaves", "delete")
	harness.Eventually(t, 30*time.Second, "the end of the kubelets' addresses", func() bool {
		left := before.Added(sandbox.Snapshot(t))
		return !slices.ContainsFunc(left, func(k string) bool { return strings.Contains(k, kubelets) })
	})
	before.Same(t, sandbox.Snapshot(t))
}

// kubelets is the Service that the operator makes for the kubelets' metrics.
const kubelets = "kube-system/prom-operator-kube-prometh-kubelet"

// benchIsSeen: a test shows in Prometheus, marked in Grafana, and in every panel
// of the three dashboards.
func benchIsSeen(t *testing.T) {
	// A fifth of the requests to "flaky" fails: errors have panels too.
	flaky := sandbox.Start(t, "kubectl-triton", "bench", "flaky", "--concurrency", "4", "--duration", "5m", "--warmup", "0", "--max-error-rate", "100%", "--no-grafana", "--no-prometheus")
	var r report.Bench
	out := sandbox.Must(t, "kubectl-triton", "bench", "queueing", "--concurrency", "6", "--duration", "10s", "--warmup", "0", "-o", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Missing) > 0 || r.Client.Succeeded == 0 || r.Client.Failed > 0 {
		t.Errorf("%d ok, %d failed, missing %+v", r.Client.Succeeded, r.Client.Failed, r.Missing)
	}
	if r.GPU == nil || r.GPU.Source != "Prometheus (DCGM)" || len(r.GPU.Devices) == 0 || r.GPU.Devices[0].Insufficient {
		t.Errorf("the GPUs: %+v", r.GPU)
	}
	if r.Grafana == nil {
		t.Fatal("Grafana has no annotation")
	}
	regions := annotations(t, r.Grafana.Tags)
	if len(regions) != 1 || regions[0].ID != r.Grafana.AnnotationID || regions[0].Time != r.StartTime.UnixMilli() || regions[0].TimeEnd != r.EndTime.UnixMilli() {
		t.Errorf("Grafana holds %+v; the test ran from %d to %d", regions, r.StartTime.UnixMilli(), r.EndTime.UnixMilli())
	}

	prometheus := sandbox.Prometheus(t, "monitoring", "prom-operator-kube-prometh-prometheus")
	for _, file := range assets.Dashboards() {
		d, err := dashboard.Parse(file.JSON)
		if err != nil {
			t.Fatal(err)
		}
		if empty := harness.NewViewer(t, prometheus, d, r.StartTime).Empty(d, map[string]float64{}); len(empty) > 0 {
			t.Errorf("without data in %s are %q", d.UID, empty)
		}
	}
	flaky.Signal(syscall.SIGINT)
	flaky.Wait(t, time.Minute)
}

type region struct{ ID, Time, TimeEnd int64 }

// annotations asks Grafana itself.
func annotations(t *testing.T, tags []string) []region {
	t.Helper()
	secret, err := sandbox.Client.CoreV1().Secrets("monitoring").Get(t.Context(), "prom-operator-grafana", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	login := url.UserPassword(string(secret.Data["admin-user"]), string(secret.Data["admin-password"]))
	query := url.Values{"tags": tags}
	text := harness.Fetch(t, sandbox.DialService(t, "monitoring", "prom-operator-grafana", "80"), http.MethodGet, "http://"+login.String()+"@grafana/api/annotations?"+query.Encode(), "")
	var found []region
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// nothingToDo: a second "up" writes nothing.
func nothingToDo(t *testing.T) {
	before := sandbox.Snapshot(t)
	o := up(t)
	says(t, o, 0, "nothing to change", "healthy")
	t.Logf("a second up took %s", o.Took)
	before.Untouched(t, sandbox.Snapshot(t))
	r := mustUp(t)
	if r.Changed {
		t.Errorf("it says that it changed something: %+v", r.Components)
	}
	for _, name := range []string{"CRDs", "kube-prometheus-stack", "dcgm-exporter", "monitors", "rules and alerts", "dashboards"} {
		c := action(t, r, name, "unchanged")
		if c.Release != nil && c.Release.Revision != 1 {
			t.Errorf("%s has revision %d", name, c.Release.Revision)
		}
	}
	before.Untouched(t, sandbox.Snapshot(t))
	s := status(t, 0)
	if !s.Healthy || check(t, s, "drift").State != report.CheckOK {
		t.Errorf("status: %+v", s.Checks)
	}
}

// driftIsMended: what somebody changed by hand is named by "status" and put
// back by "up", all else stays.
func driftIsMended(t *testing.T) {
	for _, args := range [][]string{
		{"scale", "deployment", "prom-operator-kube-state-metrics", "--replicas=0"},
		{"delete", "service", "prom-operator-grafana"},
		{"patch", "configmap", "triton-gpu-dashboard", "--type=merge", "-p", `{"data":{"gpu-dashboard.json":"{}"}}`},
		{"delete", "prometheusrule", "triton-rules-gpu"},
		{"patch", "servicemonitor", "prom-operator-kube-prometh-prometheus", "--type=merge", "-p", `{"spec":{"namespaceSelector":{"matchNames":["default"]}}}`},
	} {
		sandbox.Must(t, "kubectl", append([]string{"-n", "monitoring"}, args...)...)
	}
	drifted := []string{"Deployment monitoring/prom-operator-kube-state-metrics", "Service monitoring/prom-operator-grafana",
		"ConfigMap monitoring/triton-gpu-dashboard", "PrometheusRule monitoring/triton-rules-gpu",
		"ServiceMonitor monitoring/prom-operator-kube-prometh-prometheus"}
	s := status(t, 1)
	d := check(t, s, "drift")
	if d.State != report.CheckFailed || d.Fix == "" {
		t.Errorf("drift: %+v", d)
	}
	for _, name := range drifted {
		if !strings.Contains(d.Detail, name) {
			t.Errorf("the drift %q does not name %s", d.Detail, name)
		}
	}

	r := mustUp(t)
	var changed []string
	for _, c := range r.Components {
		for _, o := range c.Objects {
			if o.Action != "unchanged" {
				changed = append(changed, keys([]report.StackObject{o})...)
			}
		}
	}
	slices.Sort(changed)
	slices.Sort(drifted)
	if !slices.Equal(changed, drifted) {
		t.Errorf("up changed %v, want %v", changed, drifted)
	}
	action(t, r, "dcgm-exporter", "unchanged")
	status(t, 0)
}
