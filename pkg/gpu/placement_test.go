package gpu

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// describe writes a placement in one line: selector or affinity, tolerations,
// runtime class, coverage.
func describe(p Placement) string {
	var parts []string
	if len(p.NodeSelector) > 0 {
		parts = append(parts, selectorText(p.NodeSelector))
	}
	if p.Affinity != nil {
		var terms []string
		for _, term := range p.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, e := range term.MatchExpressions {
				terms = append(terms, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Key, e.Operator, strings.Join(e.Values, ","))))
			}
		}
		parts = append(parts, strings.Join(terms, " | "))
	}
	for _, o := range p.Tolerations {
		text := fmt.Sprintf("tolerate %s %s", o.Key, o.Operator)
		if o.Value != "" {
			text += " " + o.Value
		}
		parts = append(parts, text+" "+string(o.Effect))
	}
	if p.RuntimeClass != "" {
		parts = append(parts, "runtime "+p.RuntimeClass)
	}
	return strings.Join(append(parts, fmt.Sprintf("%d of %d", p.Covered, p.Total)), "; ")
}

// TestPlacement: node sets as real clusters show them.
func TestPlacement(t *testing.T) {
	cpu := node("cpu-1", label("node.kubernetes.io/instance-type=m5.large"))
	for _, c := range []struct {
		name     string
		objects  []runtime.Object
		platform Platform
		want     string
	}{
		{"GPU Operator", []runtime.Object{cpu, runtimeClass(),
			node("a", gpus(8), discovered("NVIDIA-H100-80GB-HBM3", "81559", "580.95.05")),
			node("b", gpus(8), discovered("NVIDIA-L40S", "46068", "580.95.05"))}, PlatformGeneric,
			"nvidia.com/gpu.present=true; runtime nvidia; 2 of 2"},
		{"GKE, two products", []runtime.Object{node("cpu-1", gke),
			node("a", gke, gpus(1), label("cloud.google.com/gke-accelerator=nvidia-l4", "cloud.google.com/gke-gpu=true"), taint("nvidia.com/gpu=present:NoSchedule")),
			node("b", gke, gpus(4), label("cloud.google.com/gke-accelerator=nvidia-tesla-a100", "cloud.google.com/gke-gpu=true"), taint("nvidia.com/gpu=present:NoSchedule"))}, PlatformGKE,
			"cloud.google.com/gke-gpu=true; tolerate nvidia.com/gpu Exists NoSchedule; 2 of 2"},
		{"GKE without gke-gpu", []runtime.Object{node("cpu-1", gke),
			node("a", gke, gpus(1), label("cloud.google.com/gke-accelerator=nvidia-l4")),
			node("b", gke, gpus(4), label("cloud.google.com/gke-accelerator=nvidia-tesla-a100"))}, PlatformGKE,
			"cloud.google.com/gke-accelerator Exists; 2 of 2"},
		{"EKS with the device plugin alone", []runtime.Object{node("cpu-1", eks, label("node.kubernetes.io/instance-type=m5.large")),
			node("a", eks, gpus(1), label("node.kubernetes.io/instance-type=g5.xlarge")),
			node("b", eks, gpus(4), label("node.kubernetes.io/instance-type=g5.12xlarge"))}, PlatformEKS,
			"node.kubernetes.io/instance-type In g5.12xlarge,g5.xlarge; 2 of 2"},
		{"EKS auto mode", []runtime.Object{node("cpu-1", eks),
			node("a", eks, gpus(1), label("eks.amazonaws.com/instance-gpu-manufacturer=nvidia", "eks.amazonaws.com/instance-gpu-name=l4"))}, PlatformEKS,
			"eks.amazonaws.com/instance-gpu-manufacturer=nvidia; 1 of 1"},
		{"AKS", []runtime.Object{node("cpu-1", aks),
			node("a", aks, gpus(1), label("kubernetes.azure.com/accelerator=nvidia", "accelerator=nvidia"), taint("sku=gpu:NoSchedule"))}, PlatformAKS,
			"kubernetes.azure.com/accelerator=nvidia; tolerate sku Equal gpu NoSchedule; 1 of 1"},
		{"Karpenter, an AMD node beside", []runtime.Object{
			node("amd", eks, label("karpenter.k8s.aws/instance-gpu-name=radeon-pro-v520", "karpenter.k8s.aws/instance-gpu-manufacturer=amd")),
			node("a", eks, gpus(1), label("karpenter.k8s.aws/instance-gpu-name=t4", "karpenter.k8s.aws/instance-gpu-manufacturer=nvidia"), taint("nvidia.com/gpu=true:NoSchedule", "karpenter.sh/disrupted:NoSchedule"))}, PlatformEKS,
			"karpenter.k8s.aws/instance-gpu-manufacturer=nvidia; tolerate nvidia.com/gpu Exists NoSchedule; 1 of 1"},
		{"Karpenter, names only, an AMD node beside", []runtime.Object{
			node("amd", label("karpenter.k8s.aws/instance-gpu-name=radeon-pro-v520")),
			node("a", gpus(1), label("karpenter.k8s.aws/instance-gpu-name=t4")), node("b", gpus(1), label("karpenter.k8s.aws/instance-gpu-name=a10g"))}, PlatformGeneric,
			"karpenter.k8s.aws/instance-gpu-name In a10g,t4; 2 of 2"},
		{"hardware labels only", []runtime.Object{cpu, node("a", label("feature.node.kubernetes.io/pci-0302_10de.present=true"))}, PlatformGeneric,
			"feature.node.kubernetes.io/pci-0302_10de.present=true; 1 of 1"},
		{"feature discovery on some nodes only", []runtime.Object{cpu,
			node("a", gpus(8), discovered("NVIDIA-L40S", "46068", "580.95.05")),
			node("b", gpus(8), label("cloud.google.com/gke-accelerator=nvidia-l4"))}, PlatformGKE,
			"nvidia.com/gpu.present In true | cloud.google.com/gke-accelerator Exists; 2 of 2"},
		{"no label at all", []runtime.Object{cpu, node("a", gpus(2)), node("b", gpus(2))}, PlatformGeneric,
			"kubernetes.io/hostname In a,b; 2 of 2"},
		{"an instance type that CPU nodes have too", []runtime.Object{cpu, node("a", gpus(2), label("node.kubernetes.io/instance-type=m5.large"))}, PlatformGeneric,
			"kubernetes.io/hostname In a; 1 of 1"},
		{"a label that says no", []runtime.Object{node("cpu-1", label("nvidia.com/gpu.present=false")), node("a", gpus(1), label("nvidia.com/gpu.present=true"))}, PlatformGeneric,
			"nvidia.com/gpu.present=true; 1 of 1"},
		{"several taints, transient ones left out", []runtime.Object{
			node("a", gpus(1), discovered("X", "1", "1"), taint("nvidia.com/gpu=present:NoSchedule", "team=ml:NoExecute", "spot:PreferNoSchedule"), notReady),
			node("b", gpus(1), discovered("X", "1", "1"), taint("nvidia.com/gpu:NoSchedule", "dedicated:NoSchedule"), cordoned)}, PlatformGeneric,
			"nvidia.com/gpu.present=true; tolerate dedicated Exists NoSchedule; tolerate nvidia.com/gpu Exists NoSchedule; tolerate team Equal ml NoExecute; 2 of 2"},
		{"taints of nodes that come and go", []runtime.Object{
			node("a", gpus(1), discovered("X", "1", "1"), taint("node.cilium.io/agent-not-ready:NoSchedule", "ToBeDeletedByClusterAutoscaler=17:NoSchedule", "startup-taint.cluster-autoscaler.kubernetes.io/gpu:NoSchedule", "karpenter.sh/unregistered:NoExecute", "cloud.google.com/gke-spot=true:NoSchedule", "node-role.kubernetes.io/control-plane:NoSchedule"))}, PlatformGeneric,
			"nvidia.com/gpu.present=true; tolerate cloud.google.com/gke-spot Equal true NoSchedule; tolerate node-role.kubernetes.io/control-plane Exists NoSchedule; 1 of 1"},
		{"DRA only", []runtime.Object{cpu, node("a", label("feature.node.kubernetes.io/pci-10de.present=true")), slice("a", 1, "gpu-0", "gpu-1")}, PlatformGeneric,
			"feature.node.kubernetes.io/pci-10de.present=true; 1 of 1"},
		{"none, generic", []runtime.Object{cpu}, PlatformGeneric, "nvidia.com/gpu.present=true; tolerate nvidia.com/gpu Exists NoSchedule; 0 of 0"},
		{"none, GKE", []runtime.Object{node("cpu-1", gke)}, PlatformGKE, "cloud.google.com/gke-gpu=true; tolerate nvidia.com/gpu Exists NoSchedule; 0 of 0"},
		{"none, AKS", []runtime.Object{node("cpu-1", aks)}, PlatformAKS, "kubernetes.azure.com/accelerator=nvidia; tolerate nvidia.com/gpu Exists NoSchedule; 0 of 0"},
		{"a machine of Google's in a cluster that is not", []runtime.Object{node("a", provider("gce://p/z/a", "v1.34.1"), gpus(1), label("nvidia.com/gpu.present=true"))}, PlatformGeneric,
			"nvidia.com/gpu.present=true; 1 of 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := surveyOf(t, c.objects...)
			p := cluster.Placement()
			if got := describe(p); got != c.want {
				t.Errorf("placement\n got %s\nwant %s", got, c.want)
			}
			if p.Why == "" || strings.Contains(p.Why, "%!") {
				t.Errorf("why: %q", p.Why)
			}
			if cluster.Platform() != c.platform {
				t.Errorf("platform %s, want %s", cluster.Platform(), c.platform)
			}
		})
	}
}

// TestPlacementWithoutLabelsOnManyNodes: hundreds of names make no placement.
func TestPlacementWithoutLabelsOnManyNodes(t *testing.T) {
	objects := []runtime.Object{node("marked", gpus(1), label("nvidia.com/gpu.present=true"))}
	for i := range maxHostnames + 1 {
		objects = append(objects, node(fmt.Sprintf("n%03d", i), gpus(1)))
	}
	p := surveyOf(t, objects...).Placement()
	if got, want := describe(p), "nvidia.com/gpu.present In true; 1 of 66"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !strings.Contains(p.Why, "only 1 of 66 GPU nodes") || !strings.Contains(p.Why, "nodes label") {
		t.Errorf("why: %s", p.Why)
	}
}
