//go:build e2e

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// helmInstall makes a release of kube-prometheus-stack with the stock client.
func helmInstall(t *testing.T, release, namespace string, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// What a test took over is gone already.
		_ = sandbox.Command(ctx, "helm", nil, "uninstall", release, "--namespace", namespace, "--ignore-not-found", "--wait").Run()
		_ = sandbox.Client.CoreV1().Services("kube-system").Delete(ctx, kubeletService(release), metav1.DeleteOptions{})
		if namespace == "monitoring" {
			return
		}
		if err := removeNamespace(ctx, namespace); err != nil {
			t.Error(err)
		}
	})
	sandbox.Must(t, "helm", append([]string{"install", release, "kube-prometheus-stack", "--repo", charts, "--namespace", namespace, "--create-namespace",
		"--set", "prometheusOperator.admissionWebhooks.enabled=false,prometheusOperator.tls.enabled=false"}, args...)...)
}

func kubeletService(release string) string {
	name := release + "-kube-prometheus-stack"
	return strings.TrimSuffix(name[:min(len(name), 26)], "-") + "-kubelet"
}

// helmRelease is a release as the stock client lists it.
func helmRelease(t *testing.T, release, namespace string) (found struct {
	Name, Revision, Status, Chart string
	Updated                       string
}) {
	t.Helper()
	list := []struct{ Name, Revision, Status, Chart, Updated string }{}
	if err := json.Unmarshal([]byte(sandbox.Must(t, "helm", "list", "--all", "--namespace", namespace, "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Name == release {
			found.Name, found.Revision, found.Status, found.Chart, found.Updated = r.Name, r.Revision, r.Status, r.Chart, r.Updated
		}
	}
	return found
}

func get(t *testing.T, group, version, resource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o, err := sandbox.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func crd(t *testing.T, plural string) *unstructured.Unstructured {
	t.Helper()
	return get(t, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "", plural+".monitoring.coreos.com")
}

// settled waits until the objects of a release have come to rest: the operator
// writes its Prometheus's status and Services.
func settled(t *testing.T, namespace string) {
	t.Helper()
	sandbox.Must(t, "kubectl", "-n", namespace, "wait", "--for=condition=Available", "--timeout=60s", "prometheuses", "--all")
	sandbox.Must(t, "kubectl", "-n", namespace, "wait", "--for=condition=Available", "--timeout=60s", "deployments", "--all")
}

// TestForeignPrometheus: a kube-prometheus-stack under another name with the
// chart's own selectors is used: monitors and rules get its label, dashboards
// go to its Grafana, and no second Prometheus comes.
func TestForeignPrometheus(t *testing.T) {
	cleanUp(t)
	helmInstall(t, "kps", "observability")
	settled(t, "observability")
	before := sandbox.Snapshot(t)

	r := mustUp(t)
	if c := action(t, r, "kube-prometheus-stack", "reuse"); !strings.Contains(c.Note, "observability/kps") || !strings.Contains(c.Note, "Helm release") {
		t.Errorf("the note %q does not say which and whose", c.Note)
	}
	for _, name := range []string{"dcgm-exporter", "monitors", "rules and alerts", "dashboards"} {
		action(t, r, name, "create")
	}
	if c := check(t, r, "Triton targets"); c.Detail != "1 of 1 up" {
		t.Errorf("Triton's targets: %+v", c)
	}
	if c := check(t, r, "GPU targets"); c.Detail != "2 of 2 up" {
		t.Errorf("the GPUs' targets: %+v", c)
	}
	for _, c := range r.Checks {
		if c.State != report.CheckOK {
			t.Errorf("%s is %s: %s", c.Name, c.State, c.Detail)
		}
	}
	for _, kind := range []string{"podmonitors", "prometheusrules", "servicemonitors"} {
		list, err := sandbox.Dynamic.Resource(schema.GroupVersionResource{Group: "monitoring.coreos.com", Version: "v1", Resource: kind}).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			if o.GetLabels()["release"] != "kps" && (o.GetNamespace() == "monitoring" || o.GetLabels()["app.kubernetes.io/managed-by"] == "kubectl-triton") {
				t.Errorf("%s %s/%s has no label that the Prometheus asks for: %v", kind, o.GetNamespace(), o.GetName(), o.GetLabels())
			}
		}
	}
	if again := mustUp(t); again.Changed {
		t.Errorf("a second up changed something: %+v", again.Components)
	}
	status(t, 0)

	down(t)
	leavesAsBefore(t, before)
}

// leavesAsBefore waits until an operator that stays has written the
// configuration of before, and compares everything.
func leavesAsBefore(t *testing.T, before harness.Snapshot) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		now := sandbox.Snapshot(t)
		if len(before.Altered(now))+len(before.Added(now))+len(now.Added(before)) == 0 {
			return
		}
	}
	before.Same(t, sandbox.Snapshot(t))
}

// gpuOperator is what the GPU Operator leaves of an exporter in a cluster.
const gpuOperator = `
apiVersion: v1
kind: Namespace
metadata: {name: gpu-operator}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nvidia-dcgm-exporter, namespace: gpu-operator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: nvidia-dcgm-exporter}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nvidia-dcgm-exporter}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nvidia-dcgm-exporter}
subjects:
  - {kind: ServiceAccount, name: nvidia-dcgm-exporter, namespace: gpu-operator}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: nvidia-dcgm-exporter
  namespace: gpu-operator
  labels: {app: nvidia-dcgm-exporter}
spec:
  selector: {matchLabels: {app: nvidia-dcgm-exporter}}
  template:
    metadata: {labels: {app: nvidia-dcgm-exporter}}
    spec:
      serviceAccountName: nvidia-dcgm-exporter
      nodeSelector: {nvidia.com/gpu.present: "true"}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      containers:
        - name: nvidia-dcgm-exporter
          image: nvcr.io/nvidia/k8s/dcgm-exporter:4.5.2-4.8.1-ubuntu22.04
          env:
            - {name: DCGM_EXPORTER_LISTEN, value: ":9400"}
            - {name: DCGM_EXPORTER_KUBERNETES, value: "true"}
            - {name: DCGM_EXPORTER_INTERVAL, value: "1000"}
            - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          ports: [{name: gpu-metrics, containerPort: 9400}]
          readinessProbe: {httpGet: {path: /health, port: 9400}, periodSeconds: 1}
`

// TestGPUOperatorsExporter: the GPU Operator's exporter gets a monitor and no
// second one beside it.
func TestGPUOperatorsExporter(t *testing.T) {
	cleanUp(t)
	apply(t, gpuOperator)
	sandbox.Must(t, "kubectl", "-n", "gpu-operator", "rollout", "status", "daemonset/nvidia-dcgm-exporter", "--timeout=60s")

	r := mustUp(t, "--profile", "lite")
	if c := action(t, r, "dcgm-exporter", "reuse"); !strings.Contains(c.Note, "GPU Operator") || !strings.Contains(c.Note, "gpu-operator/nvidia-dcgm-exporter") {
		t.Errorf("the note is %q", c.Note)
	}
	if objects := keys(component(t, r, "monitors").Objects); !slices.Contains(objects, "PodMonitor monitoring/gpu.gpu-operator.nvidia-dcgm-exporter") || len(objects) != 2 {
		t.Errorf("the monitors are %v", objects)
	}
	if c := check(t, r, "GPU metrics"); c.Detail != "series of 4 GPUs from 2 of 2 exporters" {
		t.Errorf("GPU metrics: %+v", c)
	}
	list, err := sandbox.Client.AppsV1().DaemonSets("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Items {
		if strings.Contains(d.Name, "dcgm") && d.Namespace != "gpu-operator" {
			t.Errorf("there is a second exporter, %s/%s", d.Namespace, d.Name)
		}
	}
	if found := helmRelease(t, "dcgm-exporter", "monitoring"); found.Name != "" {
		t.Errorf("there is a release: %+v", found)
	}
	status(t, 0)
}

// TestReleaseOfPlainHelm: a release with the stack's own name that somebody
// made by hand is used as it is; with --adopt it is managed and keeps its values.
func TestReleaseOfPlainHelm(t *testing.T) {
	cleanUp(t)
	helmInstall(t, "prom-operator", "monitoring", "--set", "prometheus.prometheusSpec.retention=3d,grafana.adminPassword=chosen-by-hand,alertmanager.enabled=false")
	settled(t, "monitoring")
	made := helmRelease(t, "prom-operator", "monitoring")

	r := mustUp(t)
	action(t, r, "kube-prometheus-stack", "reuse")
	if now := helmRelease(t, "prom-operator", "monitoring"); now != made || made.Revision != "1" {
		t.Errorf("the release was %+v and is %+v", made, now)
	}
	// What "down" removes is not theirs.
	removed := down(t)
	if len(removed.Components) == 0 || helmRelease(t, "prom-operator", "monitoring") != made {
		t.Errorf("down left the release as %+v: %+v", helmRelease(t, "prom-operator", "monitoring"), removed.Components)
	}

	r = mustUp(t, "--adopt")
	action(t, r, "kube-prometheus-stack", "change")
	if now := helmRelease(t, "prom-operator", "monitoring"); now.Revision != "2" || now.Status != "deployed" {
		t.Errorf("the adopted release is %+v", now)
	}
	spec := get(t, "monitoring.coreos.com", "v1", "prometheuses", "monitoring", "prom-operator-kube-prometh-prometheus")
	if retention, _, _ := unstructured.NestedString(spec.Object, "spec", "retention"); retention != "3d" {
		t.Errorf("the retention became %s", retention)
	}
	values := sandbox.Must(t, "helm", "get", "values", "prom-operator", "--namespace", "monitoring")
	for _, kept := range []string{"retention: 3d", "adminPassword: chosen-by-hand", "serviceMonitorSelectorNilUsesHelmValues: false"} {
		if !strings.Contains(values, kept) {
			t.Errorf("the values lack %q:\n%s", kept, values)
		}
	}
	// From now on it is managed without the flag.
	if r = mustUp(t); r.Changed {
		t.Errorf("a second up changed something: %+v", r.Components)
	}
	status(t, 0)
}

// TestGitOps: what Argo CD or Flux keeps is never written, with --adopt neither.
func TestGitOps(t *testing.T) {
	t.Run("Argo CD", func(t *testing.T) {
		cleanUp(t)
		// Argo CD renders with helm and applies the result: there is no release.
		manifests := sandbox.Must(t, "helm", "template", "prom-operator", "kube-prometheus-stack", "--repo", charts, "--namespace", "monitoring", "--include-crds",
			"--set", "prometheusOperator.admissionWebhooks.enabled=false,prometheusOperator.tls.enabled=false", "--skip-tests")
		applyTwice(t, manifests)
		settled(t, "monitoring")
		sandbox.Must(t, "kubectl", "-n", "monitoring", "annotate", "prometheus", "--all", "argocd.argoproj.io/tracking-id=stack:monitoring.coreos.com/Prometheus:monitoring/x")
		before := sandbox.Snapshot(t)
		for _, args := range [][]string{nil, {"--adopt"}} {
			r := mustUp(t, args...)
			if c := action(t, r, "kube-prometheus-stack", "reuse"); !strings.Contains(c.Note, "Argo CD") {
				t.Errorf("the note is %q", c.Note)
			}
		}
		// The operator writes what the new monitors and rules ask for.
		for _, kind := range []string{"Secret", "ConfigMap", "StatefulSet"} {
			for k := range before {
				if strings.HasPrefix(k, kind+" monitoring/prometheus-prom-operator") {
					delete(before, k)
				}
			}
		}
		for _, text := range before.Altered(sandbox.Snapshot(t)) {
			t.Error(text)
		}
		down(t)
		after := sandbox.Snapshot(t)
		for _, text := range before.Altered(after) {
			t.Error(text)
		}
		for _, k := range after.Added(before) {
			t.Errorf("%s is gone", k)
		}
	})
	t.Run("Flux", func(t *testing.T) {
		cleanUp(t)
		helmInstall(t, "prom-operator", "monitoring", "--set", `commonLabels.helm\.toolkit\.fluxcd\.io/name=stack,commonLabels.helm\.toolkit\.fluxcd\.io/namespace=flux-system`)
		settled(t, "monitoring")
		made := helmRelease(t, "prom-operator", "monitoring")
		for _, args := range [][]string{nil, {"--adopt"}} {
			r := mustUp(t, args...)
			if c := action(t, r, "kube-prometheus-stack", "reuse"); !strings.Contains(c.Note, "Flux") {
				t.Errorf("the note is %q", c.Note)
			}
		}
		if now := helmRelease(t, "prom-operator", "monitoring"); now != made {
			t.Errorf("the release was %+v and is %+v", made, now)
		}
	})
}

// applyTwice applies manifests that hold CRDs and objects of them.
func applyTwice(t *testing.T, manifests string) {
	t.Helper()
	var kinds, objects []string
	for _, document := range strings.Split(manifests, "\n---\n") {
		if strings.Contains(document, "kind: CustomResourceDefinition") {
			kinds = append(kinds, document)
		} else {
			objects = append(objects, document)
		}
	}
	apply(t, strings.Join(kinds, "\n---\n"))
	sandbox.Must(t, "kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	apply(t, strings.Join(objects, "\n---\n"))
}

// TestCRDs: older ones are brought up to date, newer ones and those of Argo CD
// stay.
func TestCRDs(t *testing.T) {
	cleanUp(t)
	mustUp(t, "--profile", "lite")
	const version = "operator.prometheus.io/version"
	chart := crd(t, "probes").GetAnnotations()[version]
	if chart == "" {
		t.Fatal("the CRDs tell no version")
	}
	down(t)
	for plural, annotation := range map[string]string{"probes": version + "=0.80.0", "thanosrulers": version + "=99.0.0", "scrapeconfigs": version + "=0.80.0"} {
		sandbox.Must(t, "kubectl", "annotate", "--overwrite", "crd", plural+".monitoring.coreos.com", annotation)
	}
	sandbox.Must(t, "kubectl", "annotate", "crd", "scrapeconfigs.monitoring.coreos.com", "argocd.argoproj.io/tracking-id=crds:apiextensions.k8s.io/CustomResourceDefinition:/scrapeconfigs")
	untouched := []*unstructured.Unstructured{crd(t, "thanosrulers"), crd(t, "scrapeconfigs")}

	r := mustUp(t, "--profile", "lite")
	c := action(t, r, "CRDs", "change")
	for _, o := range c.Objects {
		want, note := "unchanged", ""
		switch strings.Split(o.Name, ".")[0] {
		case "probes":
			want, note = "change", "0.80.0 becomes "+chart
		case "thanosrulers":
			want, note = "reuse", "is newer (99.0.0)"
		case "scrapeconfigs":
			want, note = "reuse", "Argo CD"
		}
		if o.Action != want || !strings.Contains(o.Note, note) {
			t.Errorf("%s: %s (%s), want %s (%s)", o.Name, o.Action, o.Note, want, note)
		}
	}
	if now := crd(t, "probes").GetAnnotations()[version]; now != chart {
		t.Errorf("the old CRD is of version %s, want %s", now, chart)
	}
	for _, o := range untouched {
		plural, _, _ := strings.Cut(o.GetName(), ".")
		if now := crd(t, plural); now.GetResourceVersion() != o.GetResourceVersion() {
			t.Errorf("%s was written: %v", o.GetName(), now.GetAnnotations())
		}
	}
}

// TestCRDsAreGoing: CRDs that are being deleted are waited for and made anew.
func TestCRDsAreGoing(t *testing.T) {
	cleanUp(t)
	mustUp(t, "--profile", "lite")
	down(t)
	file := filepath.Join(t.TempDir(), "held.yaml")
	if err := os.WriteFile(file, []byte(`
apiVersion: monitoring.coreos.com/v1
kind: Probe
metadata: {name: held, namespace: triton, finalizers: [example.com/held]}
spec: {}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	sandbox.Must(t, "kubectl", "apply", "-f", file)
	old := crd(t, "probes").GetUID()
	sandbox.Must(t, "kubectl", "delete", "crd", "probes.monitoring.coreos.com", "--wait=false")
	says(t, up(t, "--profile", "lite", "--timeout", "4s"), 124, "CustomResourceDefinition probes.monitoring.coreos.com is being deleted and has not ended", "run it again")

	run := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite")...)
	run.AwaitLine(t, time.Minute, "… CRDs:")
	sandbox.Must(t, "kubectl", "-n", "triton", "patch", "probe", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	says(t, run.Wait(t, 2*time.Minute), 0, "healthy")
	if crd(t, "probes").GetUID() == old {
		t.Error("the CRD is the old one")
	}
}

// TestMonitorIsThere: a Triton that somebody's own ServiceMonitor covers is
// scraped once, not twice.
func TestMonitorIsThere(t *testing.T) {
	cleanUp(t)
	mustUp(t, "--profile", "lite")
	down(t)
	service, err := sandbox.Client.CoreV1().Services("triton").Get(t.Context(), "triton-infer", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selector, err := json.Marshal(service.Labels)
	if err != nil || len(service.Labels) == 0 {
		t.Fatalf("the Service's labels are %v, %v", service.Labels, err)
	}
	port := ""
	for _, p := range service.Spec.Ports {
		if p.Port == 8002 {
			port = p.Name
		}
	}
	apply(t, fmt.Sprintf(`
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: by-hand, namespace: triton}
spec:
  selector: {matchLabels: %s}
  endpoints: [{port: %s, interval: 5s}]
`, selector, port))
	r := mustUp(t, "--profile", "lite")
	if c := component(t, r, "monitors"); len(c.Objects) != 0 {
		t.Errorf("the monitors are %v", keys(c.Objects))
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool {
		return strings.Contains(n, "scraped already") && strings.Contains(n, "every 5s") && strings.Contains(n, "triton/by-hand")
	}) {
		t.Errorf("the notes are %q", r.Notes)
	}
	if c := check(t, r, "Triton targets"); c.Detail != "1 of 1 up" {
		t.Errorf("Triton's targets: %+v", c)
	}
	targets, err := sandbox.Prometheus(t, "monitoring", "prom-operator-kube-prometh-prometheus").Targets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scraped := 0
	for _, target := range targets.Active {
		if target.Labels["namespace"] == "triton" {
			scraped++
		}
	}
	if scraped != 1 {
		t.Errorf("Triton is scraped %d times", scraped)
	}
	status(t, 0)
}
