//go:build e2e

package check

import (
	"strings"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

// TestMIGLayout: as the MIG manager leaves a node whose layout it could not apply.
// The command shows its log; once a layout is applied all is well.
func TestMIGLayout(t *testing.T) {
	node := idleNode(t)
	defer well(t)
	defer patchNode(t, node, `{"metadata":{"labels":{"nvidia.com/mig.config.state":null,"nvidia.com/mig.config":null}}}`)
	patchNode(t, node, `{"metadata":{"labels":{"nvidia.com/mig.config.state":"failed","nvidia.com/mig.config":"all-1g.5gb"}}}`)
	k := becomes(t, "mig-layout", check.StateFailed, node)
	golden(t, named(k, node))
	obey(t, k)
	patchNode(t, node, `{"metadata":{"labels":{"nvidia.com/mig.config.state":"success"}}}`)
	becomes(t, "mig-layout", check.StateOK)
}

// TestExporterOnCPUNodes: the chart as it comes, with every taint tolerated, puts
// the exporter on all nodes; observe up takes it back to those with GPUs.
func TestExporterOnCPUNodes(t *testing.T) {
	defer well(t)
	// There it is not ready, which Helm would wait for in vain.
	sandbox.Must(t, "helm", "upgrade", "dcgm-exporter", "dcgm-exporter", "--repo", charts, "--version", "4.8.2", "--namespace", "monitoring",
		"--reset-values", "--set", "tolerations[0].operator=Exists")
	k := becomes(t, "exporter-only-there", check.StateWarning, "1 node without a GPU")
	golden(t, k)
	obey(t, k, "--chart-repo", charts)
	becomes(t, "exporter-only-there", check.StateOK)
}

// newerExporter has the names of dcgm-exporter 4.9, on one node.
const newerExporter = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: newer, namespace: default, labels: {app.kubernetes.io/name: dcgm-exporter}}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: dcgm-exporter, of: newer}}
  template:
    metadata: {labels: {app.kubernetes.io/name: dcgm-exporter, of: newer}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      tolerations: [{operator: Exists}]
      containers:
        - name: exporter
          image: nvcr.io/nvidia/k8s/dcgm-exporter:4.9.0-4.5.0-distroless
          args: [--collect-interval=1000]
          env: [{name: DCGM_EXPORTER_FIELD_NAMES, value: "4.9"}]
          ports: [{name: metrics, containerPort: 9400}]
`

// TestMixedNames: exporters of both generations of metric names. The command
// shows whose they are; removing one of them ends it.
func TestMixedNames(t *testing.T) {
	node := idleNode(t)
	file := t.TempDir() + "/newer.yaml"
	write(t, file, strings.ReplaceAll(newerExporter, "NODE", node))
	defer well(t)
	defer kubectl(t, "delete", "--ignore-not-found", "--wait", "--filename", file)
	kubectl(t, "apply", "--filename", file)
	k := becomes(t, "exporter-names", check.StateWarning, "newer-", "dcgm-exporter-")
	for i, f := range k.Findings { // one of two pods of the other exporter may be named
		k.Findings[i].What = changing.ReplaceAllString(f.What, "$1-POD")
		k.Findings[i].What = strings.ReplaceAll(k.Findings[i].What, "dcgm-exporter-POD, dcgm-exporter-POD", "dcgm-exporter-POD")
	}
	golden(t, k)
	obey(t, k)
	kubectl(t, "delete", "--wait", "--filename", file)
	becomes(t, "exporter-names", check.StateOK, "up to 4.8")
}
