package node

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

// kubeletVersion is what the nodes report; it is the control plane's version.
const kubeletVersion = "v1.37.2"

const (
	gpuName        = "NVIDIA A100-SXM4-40GB"
	gpuMemoryBytes = 40960 << 20
	gpuIdlePowerW  = 55
	gpuLimitPowerW = 400
	driverVersion  = "580.95.05"
)

// newGPUs invents the GPUs of a node, each with a UUID of its own.
func newGPUs(count int) ([]gpu.Device, error) {
	devices := make([]gpu.Device, count)
	for i := range devices {
		var id [16]byte
		if _, err := rand.Read(id[:]); err != nil {
			return nil, fmt.Errorf("cannot draw a GPU UUID: %w", err)
		}
		devices[i] = gpu.Device{
			Index:            i,
			UUID:             fmt.Sprintf("GPU-%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
			Name:             gpuName,
			PCIBusID:         fmt.Sprintf("00000000:%02X:00.0", 4+i),
			MemoryTotalBytes: gpuMemoryBytes,
			IdlePowerW:       gpuIdlePowerW,
			LimitPowerW:      gpuLimitPowerW,
		}
	}
	return devices, nil
}

// gpuLabels are those that GPU Feature Discovery and Node Feature Discovery
// give to a node with count GPUs of this model.
func gpuLabels(count int) map[string]string {
	return map[string]string{
		"nvidia.com/gpu.present":                                 "true",
		"nvidia.com/gpu.product":                                 "NVIDIA-A100-SXM4-40GB",
		"nvidia.com/gpu.count":                                   strconv.Itoa(count),
		"nvidia.com/gpu.memory":                                  strconv.Itoa(gpuMemoryBytes >> 20),
		"nvidia.com/gpu.replicas":                                "1",
		"nvidia.com/gpu.sharing-strategy":                        "none",
		"nvidia.com/gpu.family":                                  "ampere",
		"nvidia.com/gpu.compute.major":                           "8",
		"nvidia.com/gpu.compute.minor":                           "0",
		"nvidia.com/gpu.machine":                                 "Google-Compute-Engine",
		"nvidia.com/gpu.mode":                                    "compute",
		"nvidia.com/mig.capable":                                 "true",
		"nvidia.com/mig.strategy":                                "single",
		"nvidia.com/cuda.driver-version.full":                    driverVersion,
		"nvidia.com/cuda.driver-version.major":                   "580",
		"nvidia.com/cuda.driver-version.minor":                   "95",
		"nvidia.com/cuda.driver-version.revision":                "05",
		"nvidia.com/cuda.runtime-version.full":                   "13.0",
		"nvidia.com/cuda.runtime-version.major":                  "13",
		"nvidia.com/cuda.runtime-version.minor":                  "0",
		"feature.node.kubernetes.io/pci-10de.present":            "true",
		"feature.node.kubernetes.io/pci-0302_10de.present":       "true",
		"feature.node.kubernetes.io/kernel-version.major":        "6",
		"feature.node.kubernetes.io/system-os_release.ID":        "ubuntu",
		"feature.node.kubernetes.io/cpu-hardware_multithreading": "true",
	}
}

// newNode describes a node as its kubelet registers it: with its status, so
// that it is schedulable as soon as the taint of new nodes is lifted.
func newNode(cfg Config, internalIP netip.Addr, podCIDR netip.Prefix, kubeletPort int32) *corev1.Node {
	name, gpuCount := cfg.Name, cfg.GPUs
	instanceType, cpus, memory := "e2-standard-16", "16", "64Gi"
	labels := map[string]string{
		corev1.LabelHostname:       name,
		corev1.LabelOSStable:       "linux",
		corev1.LabelArchStable:     "amd64",
		corev1.LabelTopologyRegion: "sandbox",
		corev1.LabelTopologyZone:   "sandbox-a",
	}
	capacity := corev1.ResourceList{
		corev1.ResourcePods:             resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	var taints []corev1.Taint
	if gpuCount > 0 {
		instanceType, cpus, memory = fmt.Sprintf("a2-highgpu-%dg", gpuCount), strconv.Itoa(12*gpuCount), fmt.Sprintf("%dGi", 85*gpuCount)
		for key, value := range gpuLabels(gpuCount) {
			labels[key] = value
		}
		capacity[gpuResource] = *resource.NewQuantity(int64(gpuCount), resource.DecimalSI)
		taints = []corev1.Taint{{Key: string(gpuResource), Value: "present", Effect: corev1.TaintEffectNoSchedule}}
	}
	labels[corev1.LabelInstanceTypeStable] = instanceType
	maps.Copy(labels, cfg.Labels)
	if cfg.Taints != nil {
		taints = cfg.Taints
	}
	capacity[corev1.ResourceCPU] = resource.MustParse(cpus)
	capacity[corev1.ResourceMemory] = resource.MustParse(memory)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{PodCIDR: podCIDR.String(), PodCIDRs: []string{podCIDR.String()}, Taints: taints},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity.DeepCopy(),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: internalIP.String()},
				{Type: corev1.NodeHostName, Address: "127.0.0.1"},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion: kubeletVersion, OperatingSystem: "linux", Architecture: "amd64",
				ContainerRuntimeVersion: "process://1", OSImage: "kubectl-triton sandbox", KernelVersion: "6.8.0",
			},
			Conditions: nodeConditions(metav1.Now(), metav1.Now()),
		},
	}
}

func nodeConditions(heartbeat, transition metav1.Time) []corev1.NodeCondition {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: heartbeat, LastTransitionTime: transition}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}
