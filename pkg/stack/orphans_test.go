package stack

import (
	"slices"
	"testing"

	"helm.sh/helm/v3/pkg/release"
)

// TestOrphans: what is left outside a namespace that somebody deleted, and
// nothing of releases that are recorded, elsewhere, or somebody's with other names.
func TestOrphans(t *testing.T) {
	of := func(kind, name, namespace, release, releaseNamespace string) string {
		version := map[string]string{"ClusterRole": "rbac.authorization.k8s.io/v1", "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1", "Service": "v1"}[kind]
		return "{apiVersion: " + version + ", kind: " + kind + ", metadata: {name: " + name + ", namespace: '" + namespace + "', labels: {app.kubernetes.io/managed-by: Helm}, annotations: {meta.helm.sh/release-name: " + release + ", meta.helm.sh/release-namespace: " + releaseNamespace + "}}}"
	}
	for name, c := range map[string]struct {
		recorded string
		want     []string
	}{
		"no record": {"", []string{
			"keep ClusterRole dcgm: left of release dcgm-exporter, of which Helm has no record any more",
			"keep ClusterRole operator: left of release prom-operator, of which Helm has no record any more",
			"keep Service kube-system/coredns: left of release prom-operator, of which Helm has no record any more",
			"keep ValidatingWebhookConfiguration admission: left of release prom-operator, of which Helm has no record any more",
		}},
		"one is recorded": {"prom-operator", []string{"keep ClusterRole dcgm: left of release dcgm-exporter, of which Helm has no record any more"}},
	} {
		w := newWorld(t, nil,
			fromYAML(t, of("ClusterRole", "operator", "", "prom-operator", "monitoring")), fromYAML(t, of("ClusterRole", "dcgm", "", "dcgm-exporter", "monitoring")),
			fromYAML(t, of("ClusterRole", "elsewhere", "", "prom-operator", "other")), fromYAML(t, of("ClusterRole", "theirs", "", "theirs", "monitoring")),
			fromYAML(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: by-hand}}"),
			fromYAML(t, of("ValidatingWebhookConfiguration", "admission", "", "prom-operator", "monitoring")),
			fromYAML(t, of("Service", "coredns", "kube-system", "prom-operator", "monitoring")), fromYAML(t, of("Service", "grafana", "monitoring", "prom-operator", "monitoring")))
		if c.recorded != "" {
			w.record(t, true, c.recorded, "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil, "")
		}
		r, err := w.PlanRemoval(t.Context(), "monitoring")
		if err != nil {
			t.Fatal(err)
		}
		if got := told(r.Kept); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}
