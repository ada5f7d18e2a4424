//go:build e2e

package observe

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// TestDryRun: a plan says what would be made, and writes nothing, on an empty
// cluster as on a drifted stack.
func TestDryRun(t *testing.T) {
	cleanUp(t)
	empty := sandbox.Snapshot(t)
	r := plan(t, "--profile", "lite")
	if r.Command != "plan" || !r.Changed {
		t.Errorf("command %s, changed %v", r.Command, r.Changed)
	}
	planned := map[string]bool{}
	for _, c := range r.Components {
		for _, o := range c.Objects {
			planned[keys([]report.StackObject{o})[0]] = o.Action == "create"
		}
	}
	o := up(t, "--profile", "lite", "--diff")
	says(t, o, 0, "+kind: Deployment", "+  name: prom-operator-grafana")
	empty.Untouched(t, sandbox.Snapshot(t))

	mustUp(t, "--profile", "lite")
	installed := sandbox.Snapshot(t)
	added := empty.Added(installed)
	for k, create := range planned {
		if create && !slices.Contains(added, k) {
			t.Errorf("%s was planned and is not there", k)
		}
	}
	// Nothing comes that wasn't announced, but for what Kubernetes, Helm and the
	// operator derive from the rest.
	for _, k := range added {
		o := installed[k]
		if planned[k] || len(o.GetOwnerReferences()) > 0 || k == "Namespace monitoring" || strings.HasPrefix(k, "Endpoints ") || strings.HasPrefix(k, "EndpointSlice ") ||
			o.GetLabels()["owner"] == "helm" || strings.HasSuffix(k, "/kube-root-ca.crt") || strings.HasSuffix(k, "/default") || strings.HasPrefix(k, "Service kube-system/") {
			continue
		}
		t.Errorf("%s was not planned", k)
	}

	sandbox.Must(t, "kubectl", "-n", "monitoring", "scale", "deployment", "prom-operator-grafana", "--replicas=0")
	sandbox.Must(t, "kubectl", "-n", "monitoring", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=grafana", "--timeout=60s")
	drifted := sandbox.Snapshot(t)
	o = up(t, "--profile", "lite", "--diff")
	says(t, o, 0, "- replicas: 0", "+ replicas: 1", "prom-operator-grafana")
	if strings.Contains(o.Stdout, "--- Secret") {
		t.Error("the difference shows a Secret that does not change")
	}
	drifted.Untouched(t, sandbox.Snapshot(t))
}

// TestRenderIsWhatUpMakes: the manifests, applied with the stock client, give
// the objects that "up" gives.
func TestRenderIsWhatUpMakes(t *testing.T) {
	cleanUp(t)
	before := sandbox.Snapshot(t)
	o := sandbox.Run(t, "kubectl-triton", "observe", "render", "--chart-repo", charts, "--profile", "lite")
	says(t, o, 0)
	if strings.Contains(o.Stdout, "admin-password:") || !strings.Contains(o.Stderr, "left out: Secret monitoring/prom-operator-grafana") {
		t.Errorf("Grafana's login: %s", o.Stderr)
	}
	values := sandbox.Must(t, "kubectl-triton", "observe", "render", "-o", "values", "--chart-repo", charts, "--profile", "lite")

	mustUp(t, "--profile", "lite")
	made := sandbox.Snapshot(t)
	for _, release := range []string{"prom-operator", "dcgm-exporter"} {
		var used, rendered map[string]any
		if err := yaml.Unmarshal([]byte(sandbox.Must(t, "helm", "get", "values", release, "--namespace", "monitoring", "-o", "yaml")), &used); err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(values, "---\n") {
			if strings.Contains(document, "release "+release+",") {
				if err := yaml.Unmarshal([]byte(document), &rendered); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d := difference(used, rendered); d != "" {
			t.Errorf("the values of %s differ: %s", release, d)
		}
	}
	down(t, "--purge", "--yes")

	apply(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: prom-operator-grafana, namespace: monitoring}\nstringData: {admin-user: admin, admin-password: chosen}\n")
	applyTwice(t, o.Stdout)
	applied := sandbox.Snapshot(t)
	compared := 0
	for _, k := range before.Added(applied) {
		a := applied[k]
		if len(a.GetOwnerReferences()) > 0 || !strings.Contains(o.Stdout, "\n  name: "+a.GetName()+"\n") || derived(a) {
			continue
		}
		compared++
		m := made[k]
		if m == nil {
			t.Errorf("up does not make %s", k)
			continue
		}
		if d := difference(spec(m), spec(a)); d != "" {
			t.Errorf("%s differs: %s", k, d)
		}
	}
	if compared < 25 {
		t.Errorf("only %d objects were compared", compared)
	}
	t.Logf("%d objects are the same", compared)
}

// derived are objects whose names Kubernetes takes from others, and the login,
// which render leaves out.
func derived(o *unstructured.Unstructured) bool {
	return slices.Contains([]string{"Endpoints", "EndpointSlice", "Namespace", "Secret"}, o.GetKind()) || o.GetName() == "kube-root-ca.crt" || o.GetName() == "default"
}

// spec is an object without what the API server chose and without the marks of
// the tool that made it.
func spec(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	for _, path := range [][]string{{"metadata", "annotations", "meta.helm.sh/release-name"}, {"metadata", "annotations", "meta.helm.sh/release-namespace"},
		{"metadata", "annotations", "deployment.kubernetes.io/revision"}, {"metadata", "annotations", "deprecated.daemonset.template.generation"},
		{"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "template", "metadata", "annotations", "checksum/secret"}, {"status"},
		{"metadata", "labels", "app.kubernetes.io/managed-by"}} {
		unstructured.RemoveNestedField(o.Object, path...)
	}
	metadata, _ := o.Object["metadata"].(map[string]any)
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
		delete(metadata, field)
	}
	for _, field := range []string{"annotations", "labels"} {
		if m, ok := metadata[field].(map[string]any); ok && len(m) == 0 {
			delete(metadata, field)
		}
	}
	return o.Object
}

// difference shows where two documents differ, one line each.
func difference(a, b map[string]any) string {
	x, err := yaml.Marshal(a)
	if err != nil {
		return err.Error()
	}
	y, err := yaml.Marshal(b)
	if err != nil {
		return err.Error()
	}
	if string(x) == string(y) {
		return ""
	}
	var only []string
	others := strings.Split(string(y), "\n")
	for _, line := range strings.Split(string(x), "\n") {
		if i := slices.Index(others, line); i >= 0 {
			others = slices.Delete(others, i, i+1)
			continue
		}
		only = append(only, "-"+line)
	}
	for _, line := range others {
		only = append(only, "+"+line)
	}
	return strings.Join(only[:min(len(only), 12)], "\n")
}

// TestPull: the charts' packages, fetched once, are enough without a network.
func TestPull(t *testing.T) {
	cleanUp(t)
	dir := filepath.Join(t.TempDir(), "charts")
	out := sandbox.Must(t, "kubectl-triton", "observe", "pull", "--chart-repo", charts, "--chart-dir", dir)
	for _, file := range strings.Fields(out) {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(sandbox.Bin, "charts", filepath.Base(file)))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the repository has (%v)", file, err)
		}
	}
	if len(strings.Fields(out)) != 2 {
		t.Errorf("it says %q", out)
	}
	sandbox.Must(t, "sandbox", "charts", "--name", sandbox.Name, "--fault", "unavailable")
	t.Cleanup(func() { chartsFault(t, "none") })
	cmd := sandbox.Command(t.Context(), "kubectl-triton", []string{"XDG_CACHE_HOME=" + t.TempDir()}, upArgs("--chart-dir", dir, "--profile", "lite")...)
	says(t, finish(t, cmd), 0, "healthy")
}
