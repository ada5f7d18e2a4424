package gpu

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

type nodeOption func(*corev1.Node)

func node(name string, options ...nodeOption) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux"}},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{}, Allocatable: corev1.ResourceList{},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.37.2"},
		},
	}
	for _, o := range options {
		o(n)
	}
	return n
}

func offers(name string, allocatable, capacity int64) nodeOption {
	return func(n *corev1.Node) {
		n.Status.Allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(allocatable, resource.DecimalSI)
		n.Status.Capacity[corev1.ResourceName(name)] = *resource.NewQuantity(capacity, resource.DecimalSI)
	}
}

func gpus(n int64) nodeOption { return offers("nvidia.com/gpu", n, n) }

func label(pairs ...string) nodeOption {
	return func(n *corev1.Node) {
		for _, p := range pairs {
			key, value, _ := strings.Cut(p, "=")
			n.Labels[key] = value
		}
	}
}

func taint(texts ...string) nodeOption {
	return func(n *corev1.Node) {
		for _, text := range texts {
			i := strings.LastIndex(text, ":")
			key, value, _ := strings.Cut(text[:i], "=")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(text[i+1:])})
		}
	}
}

func cordoned(n *corev1.Node) {
	n.Spec.Unschedulable = true
	taint("node.kubernetes.io/unschedulable:NoSchedule")(n)
}

func notReady(n *corev1.Node) {
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	taint("node.kubernetes.io/unreachable:NoExecute")(n)
}

func provider(id, kubelet string) nodeOption {
	return func(n *corev1.Node) { n.Spec.ProviderID, n.Status.NodeInfo.KubeletVersion = id, kubelet }
}

// discovered is what GPU Feature Discovery, GPU Operator and Node Feature
// Discovery put on a node with GPUs of one product.
func discovered(product, memoryMiB, driver string, more ...string) nodeOption {
	return label(append([]string{
		"nvidia.com/gpu.present=true", "nvidia.com/gpu.count=8", "nvidia.com/gpu.product=" + product, "nvidia.com/gpu.memory=" + memoryMiB,
		"nvidia.com/gpu.replicas=1", "nvidia.com/gpu.sharing-strategy=none", "nvidia.com/cuda.driver-version.full=" + driver,
		"nvidia.com/cuda.runtime-version.full=13.0", "feature.node.kubernetes.io/pci-10de.present=true",
	}, more...)...)
}

func gke(n *corev1.Node) {
	provider("gce://p/z/"+n.Name, "v1.34.1-gke.1000")(n)
	label("cloud.google.com/gke-nodepool=pool")(n)
}

func eks(n *corev1.Node) {
	provider("aws:///eu-west-1a/i-0"+n.Name, "v1.34.1-eks-abcdef0")(n)
	label("eks.amazonaws.com/nodegroup=workers")(n)
}

func aks(n *corev1.Node) {
	provider("azure:///subscriptions/s/virtualMachines/"+n.Name, "v1.34.1")(n)
	label("kubernetes.azure.com/agentpool=pool")(n)
}

func runtimeClass() *nodev1.RuntimeClass {
	return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "nvidia"}, Handler: "nvidia"}
}

// pod runs on a node and asks for some of a resource.
func pod(namespace, name, node, resourceName string, n int64) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "nvcr.io/nvidia/tritonserver:26.06-py3"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if n > 0 {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceName(resourceName): *resource.NewQuantity(n, resource.DecimalSI)}
	}
	return p
}

// chartExporter is the DaemonSet of the dcgm-exporter chart.
func chartExporter(selector map[string]string, tolerations ...corev1.Toleration) *appsv1.DaemonSet {
	labels := map[string]string{"app.kubernetes.io/name": "dcgm-exporter", "app.kubernetes.io/instance": "dcgm-exporter"}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "dcgm-exporter", Labels: labels,
			Annotations: map[string]string{"meta.helm.sh/release-name": "dcgm-exporter", "meta.helm.sh/release-namespace": "monitoring"}},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{NodeSelector: selector, Tolerations: tolerations, Containers: []corev1.Container{{
					Name: "exporter", Image: "nvcr.io/nvidia/k8s/dcgm-exporter:4.5.2-4.8.2-distroless",
					Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9400}},
				}}},
			},
		},
	}
}

// operatorExporter is the DaemonSet of the GPU Operator.
func operatorExporter() *appsv1.DaemonSet {
	labels := map[string]string{"app": "nvidia-dcgm-exporter"}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gpu-operator", Name: "nvidia-dcgm-exporter", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "nvidia.com/v1", Kind: "ClusterPolicy", Name: "cluster-policy"}}},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{NodeSelector: map[string]string{"nvidia.com/gpu.deploy.dcgm-exporter": "true"}, Containers: []corev1.Container{{
					Name: "nvidia-dcgm-exporter", Image: "nvcr.io/nvidia/k8s/dcgm-exporter:4.5.2-4.8.2-distroless",
					Ports: []corev1.ContainerPort{{Name: "gpu-metrics", ContainerPort: 9400}},
				}}},
			},
		},
	}
}

// exporterOn is a pod of a DaemonSet on a node, ready or waiting for a reason.
func exporterOn(d *appsv1.DaemonSet, node, waiting string) *corev1.Pod {
	controller := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name + "-" + node, Labels: d.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: d.Name, Controller: &controller}}},
		Spec:   d.Spec.Template.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	p.Spec.NodeName = node
	if waiting != "" {
		p.Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady"}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}}}}
	}
	return p
}

// slice is what NVIDIA's DRA driver publishes of a node, one device per name;
// names with a colon are MIG instances, name:profile.
func slice(node string, generation int64, devices ...string) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: node + "-gpu-" + string(rune('a'+generation))},
		Spec: resourcev1.ResourceSliceSpec{Driver: "gpu.nvidia.com", NodeName: &node,
			Pool: resourcev1.ResourcePool{Name: node, Generation: generation, ResourceSliceCount: 1}},
	}
	str := func(v string) resourcev1.DeviceAttribute { return resourcev1.DeviceAttribute{StringValue: &v} }
	version := func(v string) resourcev1.DeviceAttribute { return resourcev1.DeviceAttribute{VersionValue: &v} }
	for _, d := range devices {
		name, profile, mig := strings.Cut(d, ":")
		device := resourcev1.Device{Name: name, Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"type": str("gpu"), "productName": str("NVIDIA H100 80GB HBM3"), "driverVersion": version("580.95.5"), "cudaDriverVersion": version("13.0.0"),
		}, Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"memory": {Value: resource.MustParse("81559Mi")}}}
		if mig {
			device.Attributes["type"], device.Attributes["profile"] = str("mig"), str(profile)
		}
		s.Spec.Devices = append(s.Spec.Devices, device)
	}
	return s
}

func resourceClaim(namespace, name, node string, devices, pods []string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	c.Status.Allocation = &resourcev1.AllocationResult{}
	for _, d := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, resourcev1.DeviceRequestAllocationResult{Driver: "gpu.nvidia.com", Pool: node, Device: d})
	}
	for _, p := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: p})
	}
	return c
}

func surveyOf(t *testing.T, objects ...runtime.Object) *Cluster {
	t.Helper()
	c, err := Survey(t.Context(), fake.NewClientset(objects...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
