//go:build e2e

package observe

import (
	"strings"
	"testing"
)

// TestNamespaceDeletedByHand: Helm's records went with the namespace; what the
// charts put elsewhere is found all the same, and removed by --purge.
func TestNamespaceDeletedByHand(t *testing.T) {
	cleanUp(t)
	withoutCRDs(t)
	if err := removeNamespace(t.Context(), "monitoring"); err != nil {
		t.Fatal(err)
	}
	before := sandbox.Snapshot(t)
	mustUp(t)
	if err := removeNamespace(t.Context(), "monitoring"); err != nil {
		t.Fatal(err)
	}
	kept := keys(component(t, down(t), "what Helm leaves").Objects)
	for _, want := range []string{"ClusterRole prom-operator-kube-prometh-operator", "ClusterRoleBinding prom-operator-kube-prometh-prometheus"} {
		found := false
		for _, k := range kept {
			found = found || strings.HasPrefix(k, want)
		}
		if !found {
			t.Errorf("%s is not listed as staying: %v", want, kept)
		}
	}
	down(t, "--purge", "--yes")
	before.Same(t, sandbox.Snapshot(t))
}
