package gpu

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// write puts problems into lines: severity kind: what / cause / next.
func write(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(string(p.Severity) + " " + string(p.Kind) + ": " + p.What + " / " + p.Cause + " / " + p.Next + "\n")
	}
	return strings.TrimSpace(b.String())
}

// TestProblems: the exact sentences.
func TestProblems(t *testing.T) {
	present := map[string]string{LabelPresent: "true"}
	gpuNode := func(name string, more ...nodeOption) *corev1.Node {
		return node(name, append([]nodeOption{gpus(8), discovered("NVIDIA-L40S", "46068", "580.95.05")}, more...)...)
	}
	chart := chartExporter(present)
	operator := operatorExporter()
	everywhere := chartExporter(nil)
	third := changed(chartExporter(present), func(d *appsv1.DaemonSet) { d.Namespace = "third" })
	needsRuntime := changed(chartExporter(present), func(d *appsv1.DaemonSet) {
		name := "nvidia"
		d.Spec.Template.Spec.RuntimeClassName = &name
	})
	for _, c := range []struct {
		name    string
		objects []runtime.Object
		want    string
	}{
		{"all well", []runtime.Object{gpuNode("a"), chart, exporterOn(chart, "a", ""), runtimeClass()}, ``},
		{"no GPU node", []runtime.Object{node("x"), node("y")},
			`warning no-gpu-nodes: none of the 2 nodes shows a GPU, by resource or label / a GPU node pool may be scaled to zero; else drivers, device plugin and feature discovery are all missing / kubectl get nodes --label-columns node.kubernetes.io/instance-type`},
		{"hardware without allocatable", []runtime.Object{node("a", label("feature.node.kubernetes.io/pci-10de.present=true")), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error not-offered: 1 GPU node (a) has NVIDIA hardware by label, but offers no GPU to pods / the device plugin is missing or not running, or the driver is not ready / kubectl get pods --all-namespaces --output wide --field-selector spec.nodeName=a`},
		{"the same on GKE, five nodes", []runtime.Object{node("a", gke, label("cloud.google.com/gke-gpu=true")), node("b", gke, label("cloud.google.com/gke-gpu=true")), node("c", gke, label("cloud.google.com/gke-gpu=true")), node("d", gke, label("cloud.google.com/gke-gpu=true")),
			chart, exporterOn(chart, "a", ""), exporterOn(chart, "b", ""), exporterOn(chart, "c", ""), exporterOn(chart, "d", "")},
			`error not-offered: 4 GPU nodes (a, b and 2 more) have NVIDIA hardware by label, but offer no GPU to pods / the device plugin is not running, or the driver is not installed: GKE installs it only on node pools made with a gpu-driver-version / kubectl get pods --all-namespaces --output wide --field-selector spec.nodeName=a`},
		{"a GPU lost", []runtime.Object{gpuNode("a", offers("nvidia.com/gpu", 7, 8)), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error unhealthy-gpu: 1 GPU node (a) offers fewer GPUs than there are (allocatable below capacity) / the device plugin found a GPU unhealthy: look for an XID error in the node's kernel log or in DCGM_FI_DEV_XID_ERRORS / kubectl describe node a`},
		{"all GPUs lost", []runtime.Object{gpuNode("a", offers("nvidia.com/gpu", 0, 8)), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error unhealthy-gpu: 1 GPU node (a) once offered GPUs, but offers none now / the device plugin has stopped, or no GPU passes its health check any more / kubectl describe node a`},
		{"MIG layout failed", []runtime.Object{gpuNode("a", label("nvidia.com/mig.config.state=failed")), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error mig-config: 1 GPU node (a) has a failed MIG configuration / the MIG manager could not apply the layout that label nvidia.com/mig.config asks for, for instance because a pod holds the GPU / kubectl logs --namespace gpu-operator --selector app=nvidia-mig-manager --tail 50`},
		{"not ready", []runtime.Object{gpuNode("a", notReady), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`warning node-not-ready: 1 GPU node (a) is not ready / the kubelet doesn't report, or reports trouble / kubectl describe node a`},
		{"no label, no exporter", []runtime.Object{node("a", gpus(1)), runtimeClass()},
			`warning no-exporter: no dcgm-exporter runs in the cluster / neither the chart nor the GPU Operator nor the cloud's own exporter is installed, so there are no GPU metrics / kubectl triton observe up
note no-label: 1 GPU node (a) offers GPUs, but has no label that says so / GPU Feature Discovery is absent, so no selector can choose GPU nodes / kubectl triton nodes label`},
		{"drivers differ", []runtime.Object{gpuNode("a"), gpuNode("b"), gpuNode("c", label("nvidia.com/cuda.driver-version.full=570.10.1")), chart, exporterOn(chart, "a", ""), exporterOn(chart, "b", ""), exporterOn(chart, "c", ""), runtimeClass()},
			`warning driver-versions: the GPU driver's version differs between nodes: 570.10.1 on 1 GPU node (c), 580.95.05 on 2 GPU nodes (a, b) / an upgrade is under way or stopped half-way; a model may then perform, or fail, differently from node to node / kubectl get nodes --label-columns nvidia.com/cuda.driver-version.full,nvidia.com/gpu.product`},
		{"no runtime class", []runtime.Object{gpuNode("a"), chart, exporterOn(chart, "a", "")},
			`note runtime-class: there is no RuntimeClass nvidia / that is fine where nvidia is the default runtime of the GPU nodes; elsewhere the exporter finds no GPU / kubectl get runtimeclass`},
		{"the exporter wants it", []runtime.Object{gpuNode("a"), needsRuntime, exporterOn(needsRuntime, "a", "")},
			`error exporter-runtime-class: the exporter monitoring/dcgm-exporter asks for RuntimeClass nvidia, which does not exist / the container toolkit that makes it is not installed, so the API server refuses the exporter's pods / kubectl get runtimeclass`},
		{"a taint", []runtime.Object{gpuNode("a"), gpuNode("b", taint("nvidia.com/gpu=present:NoSchedule", "team=ml:NoExecute")), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error exporter-taint: 1 GPU node (b) can't run the exporter monitoring/dcgm-exporter / the exporter does not tolerate taint nvidia.com/gpu=present:NoSchedule and team=ml:NoExecute / kubectl triton observe up`},
		{"a selector that nodes label satisfies", []runtime.Object{gpuNode("a"), node("b", gpus(1), label("nvidia.com/gpu.product=X")), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error exporter-selector: 1 GPU node (b) is left out by the exporter monitoring/dcgm-exporter / its node selector asks for nvidia.com/gpu.present=true / kubectl triton nodes label`},
		{"a label that was set against the selector", []runtime.Object{gpuNode("a"), node("b", gpus(1), label("nvidia.com/gpu.present=false", "nvidia.com/gpu.product=X")), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error exporter-selector: 1 GPU node (b) is left out by the exporter monitoring/dcgm-exporter / its node selector asks for nvidia.com/gpu.present=true / kubectl label node b nvidia.com/gpu.present=true --overwrite`},
		{"a selector of somebody else's", []runtime.Object{gpuNode("a", label("nvidia.com/gpu.deploy.dcgm-exporter=true")), gpuNode("b"), operator, exporterOn(operator, "a", ""), runtimeClass()},
			`error exporter-selector: 1 GPU node (b) is left out by the exporter gpu-operator/nvidia-dcgm-exporter / its node selector asks for nvidia.com/gpu.deploy.dcgm-exporter=true / kubectl describe daemonset --namespace gpu-operator nvidia-dcgm-exporter`},
		{"no pod for no reason to be seen", []runtime.Object{gpuNode("a"), gpuNode("b"), chart, exporterOn(chart, "a", ""), runtimeClass()},
			`error exporter-missing: 1 GPU node (b) has no pod of the exporter monitoring/dcgm-exporter / its affinity excludes the node, or its pod could not be created / kubectl describe daemonset --namespace monitoring dcgm-exporter`},
		{"a crash", []runtime.Object{gpuNode("a"), chart, exporterOn(chart, "a", "CrashLoopBackOff"), runtimeClass()},
			`error exporter-not-ready: the exporter monitoring/dcgm-exporter is not ready on 1 GPU node (a) / its pod says: CrashLoopBackOff: without the NVIDIA runtime or driver the exporter exits; with little memory it is killed / kubectl logs --namespace monitoring dcgm-exporter-a --previous`},
		{"an image that never pulls", []runtime.Object{gpuNode("a"), chart, exporterOn(chart, "a", "ImagePullBackOff"), runtimeClass()},
			`error exporter-not-ready: the exporter monitoring/dcgm-exporter is not ready on 1 GPU node (a) / its pod says: ImagePullBackOff / kubectl describe pod --namespace monitoring dcgm-exporter-a`},
		{"two exporters", []runtime.Object{gpuNode("a"), chart, operator, exporterOn(chart, "a", ""), exporterOn(operator, "a", ""), runtimeClass()},
			`error exporter-twice: two exporters run on 1 GPU node (a): gpu-operator/nvidia-dcgm-exporter and monitoring/dcgm-exporter / a second one was installed beside the first: every GPU is counted twice, and both compete for the profiling counters / kubectl get daemonset --namespace monitoring dcgm-exporter --show-labels`},
		{"three exporters", []runtime.Object{gpuNode("a"), chart, operator, third, exporterOn(chart, "a", ""), exporterOn(operator, "a", ""), exporterOn(third, "a", ""), runtimeClass()},
			`error exporter-twice: 3 exporters run on 1 GPU node (a): gpu-operator/nvidia-dcgm-exporter and monitoring/dcgm-exporter and third/dcgm-exporter / a second one was installed beside the first: every GPU is counted 3 times, and they compete for the profiling counters / kubectl get daemonset --namespace third dcgm-exporter --show-labels`},
		{"CPU nodes too", []runtime.Object{gpuNode("a"), node("x"), node("y"), everywhere, exporterOn(everywhere, "a", ""), exporterOn(everywhere, "x", "CrashLoopBackOff"), exporterOn(everywhere, "y", ""), runtimeClass()},
			`warning exporter-on-cpu-nodes: the exporter monitoring/dcgm-exporter also runs on 2 nodes without a GPU / it has no node selector that leaves them out; there it crashes or reports nothing / kubectl triton observe up`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := surveyOf(t, c.objects...)
			problems := cluster.Problems()
			if got := write(problems); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			for _, p := range problems {
				for _, name := range p.Nodes {
					n := cluster.named(func(n *Node) bool { return n.Name == name && len(n.Problems) > 0 })
					if len(n) != 1 {
						t.Errorf("node %s does not know of %s", name, p.Kind)
					}
				}
			}
		})
	}
}

// TestMissingLabels: proposed where GPUs are offered, never over a decision.
func TestMissingLabels(t *testing.T) {
	cluster := surveyOf(t,
		node("marked", gpus(1), label("nvidia.com/gpu.present=true")), node("plain", gpus(2)), node("refused", gpus(1), label("nvidia.com/gpu.present=false")),
		node("hardware", label("feature.node.kubernetes.io/pci-10de.present=true")), node("dra"), slice("dra", 1, "gpu-0"), node("cpu"))
	var got []string
	for _, l := range cluster.MissingLabels() {
		got = append(got, l.Node+" "+l.Key+"="+l.Value+" over "+l.Present+": "+l.Why)
	}
	want := []string{
		"dra nvidia.com/gpu.present=true over : it offers ResourceSlice gpu.nvidia.com=1",
		"plain nvidia.com/gpu.present=true over : it offers nvidia.com/gpu=2",
		"refused nvidia.com/gpu.present=true over false: it offers nvidia.com/gpu=1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
