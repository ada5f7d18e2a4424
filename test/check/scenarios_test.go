//go:build e2e

package check

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

const prometheus = "prom-operator-kube-prometh-prometheus"

// background is for what has to be undone however a test ends.
func background() context.Context { return context.Background() }

// TestWell: a fresh stack passes, in every form.
func TestWell(t *testing.T) {
	well(t)
	r := look(t)
	if r.Counts.Failed != 0 || r.Counts.Skipped != 0 || r.Counts.OK < 50 {
		t.Errorf("%+v", r.Counts)
	}
	for _, id := range []string{"triton-scraped", "exporters-scraped", "gpu-series", "rules-loaded", "dashboards-loaded", "annotations-writable", "exporter-publishes", "triton-models-ready"} {
		if k := result(t, r, id); k.State != check.StateOK {
			t.Errorf("%+v", k)
		}
	}
	table := sandbox.Must(t, "kubectl-triton", "check")
	for _, want := range []string{"Kubernetes\n----------\n✓ the API server answers: v1.", "\nTriton\n------\n", "\n! it works, with warnings: "} {
		if !strings.Contains(table, want) || strings.Contains(table, "\x1b") {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	if short := sandbox.Must(t, "kubectl-triton", "check", "-o", "short"); strings.Contains(short, "✓") || !strings.Contains(short, "see docs/check.md#grafana-persistence") {
		t.Errorf("short:\n%s", short)
	}
	var fromYAML check.Report
	if err := yaml.UnmarshalStrict([]byte(sandbox.Must(t, "kubectl-triton", "check", "-o", "yaml")), &fromYAML); err != nil || fromYAML.Counts != r.Counts {
		t.Errorf("%v, %+v", err, fromYAML.Counts)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal([]byte(sandbox.Must(t, "kubectl-triton", "check", "-o", "junit")), &suites); err != nil || suites.Tests < 50 || suites.Failures != 0 {
		t.Errorf("%v, %+v", err, suites)
	}
	// Nothing is left of the annotation that it wrote.
	if leftover := sandbox.Must(t, "kubectl-triton", "check", "-o", "json"); strings.Contains(leftover, "could not be removed") {
		t.Error(leftover)
	}
}

// TestLabelMissing: the exporter leaves a node without the label.
func TestLabelMissing(t *testing.T) {
	node := idleNode(t)
	defer well(t)
	defer patchNode(t, node, `{"metadata":{"labels":{"nvidia.com/gpu.present":"true"}}}`)
	patchNode(t, node, `{"metadata":{"labels":{"nvidia.com/gpu.present":null}}}`)
	k := becomes(t, "exporter-selects", check.StateFailed, node)
	golden(t, named(k, node))
	obey(t, k, "--yes")
	becomes(t, "exporter-selects", check.StateOK)
}

// TestTaint: the exporter does not tolerate a taint; observe up makes it.
func TestTaint(t *testing.T) {
	node := idleNode(t)
	n, err := sandbox.Client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(n.Spec.Taints)
	if err != nil {
		t.Fatal(err)
	}
	defer well(t)
	defer patchNode(t, node, `{"spec":{"taints":`+string(before)+`}}`)
	patchNode(t, node, `{"spec":{"taints":[{"key":"nvidia.com/gpu","value":"present","effect":"NoSchedule"},{"key":"team","value":"ml","effect":"NoExecute"}]}}`)
	k := becomes(t, "exporter-tolerates", check.StateFailed, node)
	golden(t, named(k, node))
	obey(t, k, "--chart-repo", charts)
	becomes(t, "exporter-tolerates", check.StateOK)
}

// TestUnhealthyGPU: as the device plugin reports a GPU that fails its health check.
func TestUnhealthyGPU(t *testing.T) {
	node := idleNode(t)
	defer well(t)
	defer patchNode(t, node, `{"status":{"allocatable":{"nvidia.com/gpu":"2"}}}`, "status")
	patchNode(t, node, `{"status":{"allocatable":{"nvidia.com/gpu":"1"}}}`, "status")
	golden(t, named(becomes(t, "gpus-healthy", check.StateFailed, node), node))
}

// TestNotOffered: hardware by label, and no device plugin.
func TestNotOffered(t *testing.T) {
	const name = "hardware-only"
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"feature.node.kubernetes.io/pci-10de.present": "true"}}, Spec: corev1.NodeSpec{Unschedulable: true}}
	if _, err := sandbox.Client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer well(t)
	defer func() { _ = sandbox.Client.CoreV1().Nodes().Delete(background(), name, metav1.DeleteOptions{}) }()
	golden(t, becomes(t, "gpus-offered", check.StateFailed, name))
}

// TestMonitorNotSelected: the Prometheus asks for a label that the monitor lacks.
func TestMonitorNotSelected(t *testing.T) {
	defer well(t)
	defer kubectl(t, "--namespace", "monitoring", "patch", "prometheus", prometheus, "--type", "merge", "--patch", `{"spec":{"podMonitorSelector":{"matchLabels":null}}}`)
	kubectl(t, "--namespace", "monitoring", "patch", "prometheus", prometheus, "--type", "merge", "--patch", `{"spec":{"podMonitorSelector":{"matchLabels":{"team":"ml"}}}}`)
	k := becomes(t, "triton-scraped", check.StateFailed, "asks for team=ml")
	golden(t, k)
	obey(t, k)
	becomes(t, "triton-scraped", check.StateOK)
}

// tritonMonitor is the name of the PodMonitor that "observe up" made.
func tritonMonitor(t *testing.T) string {
	t.Helper()
	return kubectl(t, "--namespace", "monitoring", "get", "podmonitors", "--selector", "app.kubernetes.io/managed-by=kubectl-triton", "--output", "jsonpath={.items[0].metadata.name}")
}

// TestNoMonitor: nobody told Prometheus of Triton.
func TestNoMonitor(t *testing.T) {
	defer well(t)
	kubectl(t, "--namespace", "monitoring", "delete", "podmonitor", tritonMonitor(t))
	k := becomes(t, "triton-scraped", check.StateFailed, "no PodMonitor or ServiceMonitor selects")
	golden(t, k)
	obey(t, k, "--chart-repo", charts)
	becomes(t, "triton-scraped", check.StateOK)
}

// TestRelabelled: a relabelling drops the pod; Prometheus itself knows which.
func TestRelabelled(t *testing.T) {
	defer well(t)
	defer obey(t, check.Result{Findings: []check.Finding{{Command: "kubectl triton observe up"}}}, "--chart-repo", charts)
	kubectl(t, "--namespace", "monitoring", "patch", "podmonitor", tritonMonitor(t), "--type", "json", "--patch",
		`[{"op":"add","path":"/spec/podMetricsEndpoints/0/relabelings/-","value":{"action":"drop","sourceLabels":["__meta_kubernetes_pod_label_app"],"regex":"triton-.*"}}]`)
	golden(t, becomes(t, "triton-scraped", check.StateFailed, `drop of __meta_kubernetes_pod_label_app by "triton-.*"`))
}

// TestScaledToZero: a Service without a pod.
func TestScaledToZero(t *testing.T) {
	defer well(t)
	defer kubectl(t, "--namespace", "triton", "scale", "deployment", "triton-infer", "--replicas", "1")
	kubectl(t, "--namespace", "triton", "scale", "deployment", "triton-infer", "--replicas", "0")
	k := becomes(t, "triton-pods-ready", check.StateFailed, "has no pod")
	golden(t, k)
	benchSays(t, 1, k)
	if k := result(t, look(t, "--service", "triton-infer"), "triton-pods-ready"); k.State != check.StateFailed {
		t.Errorf("named by --service: %+v", k)
	}
	if k := result(t, look(t, "--namespace", "monitoring"), "triton-found"); k.State != check.StateFailed || k.Findings[0].What != "no Service in namespace monitoring leads to Triton" {
		t.Errorf("in a namespace without any: %+v", k)
	}
}

// TestServicePort: the Service lost its port for metrics; the command adds it.
func TestServicePort(t *testing.T) {
	defer well(t)
	kubectl(t, "--namespace", "triton", "patch", "service", "triton-infer", "--type", "json", "--patch", `[{"op":"remove","path":"/spec/ports/2"}]`)
	k := becomes(t, "triton-ports", check.StateWarning)
	golden(t, k)
	benchSays(t, 0, k)
	obey(t, k)
	becomes(t, "triton-ports", check.StateOK)
}

// emptyExporter is ready, is taken for an exporter and has no GPU to tell of: as
// one whose NVML did not start.
const emptyExporter = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: second, namespace: default, labels: {app.kubernetes.io/name: dcgm-exporter}}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: dcgm-exporter, of: second}}
  template:
    metadata: {labels: {app.kubernetes.io/name: dcgm-exporter, of: second}}
    spec:
      nodeSelector: {nvidia.com/gpu.present: "true"}
      tolerations: [{operator: Exists}]
      containers:
        - name: exporter
          image: nvcr.io/nvidia/tritonserver:26.06-py3
          args: [tritonserver, --model-repository=/models]
          ports: [{name: metrics, containerPort: 8002}]
          volumeMounts: [{name: models, mountPath: /models}]
      volumes: [{name: models, emptyDir: {}}]
`

// TestExporterTwiceAndEmpty: a second exporter on the nodes, which publishes
// nothing of GPUs.
func TestExporterTwiceAndEmpty(t *testing.T) {
	defer well(t)
	file := t.TempDir() + "/second.yaml"
	write(t, file, emptyExporter)
	defer kubectl(t, "delete", "--wait", "--filename", file)
	kubectl(t, "apply", "--filename", file)
	golden(t, becomes(t, "exporter-once", check.StateFailed, "2 GPU nodes"))
	becomes(t, "exporter-publishes", check.StateFailed, "is ready and publishes no GPU metric", "it found no driver to ask")
}

// TestDriverVersions: an upgrade that stopped half-way.
func TestDriverVersions(t *testing.T) {
	node := idleNode(t)
	n, err := sandbox.Client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const key = "nvidia.com/cuda.driver-version.full"
	defer well(t)
	defer patchNode(t, node, `{"metadata":{"labels":{"`+key+`":"`+n.Labels[key]+`"}}}`)
	patchNode(t, node, `{"metadata":{"labels":{"`+key+`":"570.12.34"}}}`)
	k := becomes(t, "gpu-drivers", check.StateWarning, node, "570.12.34 on 1 GPU node")
	if k.Findings[0].Why == "" || k.Findings[0].Command == "" {
		t.Errorf("%+v", k)
	}
}

// TestRuntimeClass: the exporter asks for one that does not exist any more.
func TestRuntimeClass(t *testing.T) {
	file := t.TempDir() + "/class.yaml"
	write(t, file, "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: nvidia}\nhandler: nvidia\n")
	defer well(t)
	defer kubectl(t, "apply", "--filename", file)
	kubectl(t, "delete", "runtimeclass", "nvidia")
	golden(t, becomes(t, "exporter-runtime-class", check.StateFailed))
}

// TestIntervals: GPUs are read, and everything is scraped, too seldom for load
// tests; one command mends the one, and its default the other.
func TestIntervals(t *testing.T) {
	defer well(t)
	sandbox.Must(t, "kubectl-triton", "observe", "up", "--chart-repo", charts, "--scrape-interval", "30s", "--collect-interval", "30s", "--timeout", "2m")
	k := becomes(t, "scrape-interval", check.StateWarning, "every 30.0 s")
	golden(t, becomes(t, "exporter-interval", check.StateWarning))
	obey(t, k, "--chart-repo", charts)
	becomes(t, "scrape-interval", check.StateOK)
	becomes(t, "exporter-interval", check.StateOK)
}

// TestRulesMissing: somebody deleted the rules.
func TestRulesMissing(t *testing.T) {
	defer well(t)
	kubectl(t, "--namespace", "monitoring", "delete", "prometheusrules", "--selector", "app.kubernetes.io/managed-by=kubectl-triton")
	k := becomes(t, "rules-loaded", check.StateWarning)
	golden(t, k)
	obey(t, k, "--chart-repo", charts)
	becomes(t, "rules-loaded", check.StateOK)
}

// TestRetention: the Prometheus keeps two hours only.
func TestRetention(t *testing.T) {
	defer well(t)
	sandbox.Must(t, "kubectl-triton", "observe", "up", "--chart-repo", charts, "--set", "prometheus.prometheusSpec.retention=2h", "--timeout", "2m")
	k := becomes(t, "retention", check.StateWarning)
	golden(t, k)
	obey(t, k, "--chart-repo", charts)
	becomes(t, "retention", check.StateOK)
}

// TestPersistence: the commands give Prometheus and Grafana volumes that last.
func TestPersistence(t *testing.T) {
	defer well(t)
	for _, id := range []string{"prometheus-persistence", "grafana-persistence"} {
		k := becomes(t, id, check.StateWarning)
		obey(t, k, "--chart-repo", charts)
		becomes(t, id, check.StateOK)
	}
}

// TestGrafanaAway: no Grafana pod; what needs it is skipped, the rest is not.
func TestGrafanaAway(t *testing.T) {
	defer well(t)
	defer kubectl(t, "--namespace", "monitoring", "scale", "deployment", "prom-operator-grafana", "--replicas", "1")
	kubectl(t, "--namespace", "monitoring", "scale", "deployment", "prom-operator-grafana", "--replicas", "0")
	golden(t, becomes(t, "grafana-reachable", check.StateFailed, "has no ready pod"))
	r := look(t)
	for id, want := range map[string]check.State{"dashboards-loaded": check.StateSkipped, "annotations-writable": check.StateSkipped, "triton-scraped": check.StateOK} {
		if k := result(t, r, id); k.State != want {
			t.Errorf("%s is %s, want %s", id, k.State, want)
		}
	}
}
