package gpu

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func changed(d *appsv1.DaemonSet, change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	change(d)
	return d
}

// TestExporterKinds: whose exporter it is, and what a monitor needs of it.
func TestExporterKinds(t *testing.T) {
	plain := func(namespace string) *appsv1.DaemonSet {
		return changed(chartExporter(nil), func(d *appsv1.DaemonSet) { d.Namespace, d.Annotations = namespace, nil })
	}
	for _, c := range []struct {
		name      string
		object    *appsv1.DaemonSet
		kind      ExporterKind
		managedBy string
		portName  string
		port      int32
	}{
		{"the chart's", chartExporter(nil), ExporterHelm, "Helm", "metrics", 9400},
		{"the GPU Operator's", operatorExporter(), ExporterGPUOperator, "GPU Operator", "gpu-metrics", 9400},
		{"GKE's", plain("gke-managed-system"), ExporterGKE, "GKE", "metrics", 9400},
		{"EKS' add-on", plain("amazon-cloudwatch"), ExporterEKS, "EKS", "metrics", 9400},
		{"AKS'", changed(plain("kube-system"), func(d *appsv1.DaemonSet) {
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 19400}}
		}), ExporterAKS, "AKS", "", 19400},
		{"a hand-made one", plain("default"), ExporterOther, "", "metrics", 9400},
		{"one without ports or known labels", changed(plain("default"), func(d *appsv1.DaemonSet) {
			d.Labels, d.Spec.Template.Labels = nil, map[string]string{"k8s-app": "gpu-metrics"}
			d.Spec.Template.Spec.Containers[0].Ports = nil
		}), ExporterOther, "", "", 9400},
		{"the chart's, by Argo CD", changed(chartExporter(nil), func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x"}
		}), ExporterOther, "Argo CD", "metrics", 9400},
		{"the chart's, by Flux", changed(chartExporter(nil), func(d *appsv1.DaemonSet) { d.Labels["helm.toolkit.fluxcd.io/name"] = "dcgm" }), ExporterHelm, "Flux", "metrics", 9400},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := surveyOf(t, c.object, exporterOn(c.object, "a", ""), node("a", gpus(1)))
			if len(cluster.Exporters) != 1 {
				t.Fatalf("%d exporters", len(cluster.Exporters))
			}
			e := cluster.Exporters[0]
			if e.Kind != c.kind || e.ManagedBy != c.managedBy || e.PortName != c.portName || e.Port != c.port || e.Covered != 1 {
				t.Errorf("%+v", e)
			}
			if want := c.name == "the chart's"; want && !e.IsRelease("monitoring", "dcgm-exporter") || e.IsRelease("other", "dcgm-exporter") {
				t.Error("IsRelease is wrong")
			}
		})
	}
}

// TestExporterSelector: an empty one would be every pod of the namespace.
func TestExporterSelector(t *testing.T) {
	d := changed(chartExporter(nil), func(d *appsv1.DaemonSet) {
		d.Spec.Template.Labels = map[string]string{"gpu": "metrics"}
		d.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "gpu", Operator: metav1.LabelSelectorOpExists}}}
	})
	p := exporterOn(d, "a", "")
	p.Labels = map[string]string{"gpu": "metrics", "controller-revision-hash": "x", "pod-template-generation": "3"}
	for _, object := range []runtime.Object{d, p} {
		e := surveyOf(t, object, node("a", gpus(1))).Exporters
		if len(e) != 1 || selectorText(e[0].Selector) != "gpu=metrics" {
			t.Errorf("%+v", e)
		}
	}
}

// TestExporterOwner: whose it is, in words, and no more than was seen.
func TestExporterOwner(t *testing.T) {
	byHand := changed(chartExporter(nil), func(d *appsv1.DaemonSet) { d.Annotations = nil })
	argo := changed(byHand.DeepCopy(), func(d *appsv1.DaemonSet) {
		d.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x"}
	})
	for want, objects := range map[string][]runtime.Object{
		"Helm release":      {chartExporter(nil)},
		"GPU Operator":      {operatorExporter()},
		"Argo CD":           {argo},
		"installed by hand": {byHand},
		"of unknown owner":  {exporterOn(byHand, "a", "")},
	} {
		if e := surveyOf(t, append(objects, node("a", gpus(1)))...).Exporters; len(e) != 1 || e[0].Owner() != want {
			t.Errorf("the owner of %+v is not %s", e, want)
		}
	}
}

// TestExporterPodsOnly: without DaemonSets the pods tell of their exporter.
func TestExporterPodsOnly(t *testing.T) {
	d := operatorExporter()
	bare := pod("default", "dcgm-exporter-by-hand", "b", "", 0)
	bare.Spec.Containers[0].Image = "nvidia/dcgm-exporter:3.3.5"
	cluster := surveyOf(t, exporterOn(d, "a", ""), exporterOn(d, "b", "CrashLoopBackOff"), bare, node("a", gpus(1)), node("b", gpus(1)))
	if len(cluster.Exporters) != 2 {
		t.Fatalf("%+v", cluster.Exporters)
	}
	if e := cluster.Exporters[1]; e.String() != "gpu-operator/nvidia-dcgm-exporter" || e.Kind != ExporterGPUOperator || len(e.Pods) != 2 || e.Covered != 1 {
		t.Errorf("%+v", e)
	}
	if p := cluster.Nodes[1].Exporters; len(p) != 2 || p[1].Ready || p[1].Reason != "CrashLoopBackOff" {
		t.Errorf("%+v", p)
	}
}

func TestExporterPodState(t *testing.T) {
	d := chartExporter(nil)
	terminating := exporterOn(d, "a", "")
	now := terminating.CreationTimestamp
	terminating.DeletionTimestamp = &now
	pending := exporterOn(d, "", "")
	pending.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable"}}
	for _, c := range []struct {
		pod    runtime.Object
		ready  bool
		reason string
	}{
		{exporterOn(d, "a", ""), true, ""},
		{exporterOn(d, "a", "ImagePullBackOff"), false, "ImagePullBackOff"},
		{exporterOn(d, "a", "ContainerCreating"), false, "ContainersNotReady"},
		{terminating, false, "terminating"},
		{pending, false, "Unschedulable"},
	} {
		got := exporterPodOf(c.pod.(*corev1.Pod), d.Name)
		if got.Ready != c.ready || got.Reason != c.reason {
			t.Errorf("%+v, want ready %t, %q", got, c.ready, c.reason)
		}
	}
}

func TestTolerates(t *testing.T) {
	gpu := corev1.Taint{Key: "nvidia.com/gpu", Value: "present", Effect: corev1.TaintEffectNoSchedule}
	for _, c := range []struct {
		toleration corev1.Toleration
		want       bool
	}{
		{corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: "nvidia.com/gpu", Value: "present"}, true},
		{corev1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpEqual, Value: "true"}, false},
		{corev1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		{corev1.Toleration{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists}, false},
		{corev1.Toleration{Key: "nvidia.com/gpu", Operator: "Gt", Value: "1"}, false},
	} {
		if got := tolerates(c.toleration, gpu); got != c.want {
			t.Errorf("%+v: %t", c.toleration, got)
		}
	}
}
