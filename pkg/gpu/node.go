package gpu

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Node is one node for whose GPUs there is evidence.
type Node struct {
	Name     string
	Evidence []Evidence // strongest first, never empty

	// What the device plugin offers: now, and when all is well.
	Allocatable, Capacity Resources
	// What NVIDIA's DRA driver offers.
	DRA Resources

	Product       string // as the node's labels or slices name it; "" when they don't
	MemoryBytes   int64  // of one GPU, or one instance under MIG strategy single; 0 when unknown
	Sharing       string // time-slicing or mps; "" when a GPU has one user
	Replicas      int    // how many can share a GPU; 1 without sharing
	MIGStrategy   string // single or mixed; "" without MIG instances
	DriverVersion string // "" when unknown
	CUDAVersion   string // the newest CUDA that the driver runs; "" when unknown

	// Taints that keep away pods which don't tolerate them, without those of the
	// node's life cycle, which come and go by themselves.
	Taints        []corev1.Taint
	Ready         bool
	NotReadyWhy   string // in the words of its Ready condition; "" when it is ready or says nothing
	Unschedulable bool   // cordoned

	Allocated Resources // held by Holders, a device that several pods share counted once
	Holders   []Holder  // ordered by namespace and name
	Exporters []ExporterPod
	Problems  []ProblemKind // those of Cluster.Problems that concern this node

	labels map[string]string
}

// Offered is what the node has for pods, now and when all is well, from the
// device plugin or, without one, from the DRA driver.
func (n *Node) Offered() (allocatable, capacity Resources) {
	if n.Capacity.Total() == 0 && n.Allocatable.Total() == 0 {
		return n.DRA, n.DRA
	}
	return n.Allocatable, n.Capacity
}

// Has tells whether there is evidence of a kind.
func (n *Node) Has(kinds ...EvidenceKind) bool {
	return slices.ContainsFunc(n.Evidence, func(e Evidence) bool { return slices.Contains(kinds, e.Kind) })
}

// Holder is a pod that holds GPUs, or waits for them.
type Holder struct {
	Namespace, Pod string
	GPUs           Resources
}

// newNode returns nil for a node without any evidence.
func newNode(n *corev1.Node, signs []sign, slice *nodeSlices) *Node {
	node := &Node{
		Name:          n.Name,
		Allocatable:   resourcesOf(n.Status.Allocatable),
		Capacity:      resourcesOf(n.Status.Capacity),
		Unschedulable: n.Spec.Unschedulable,
		labels:        n.Labels,
	}
	dra := 0
	if slice != nil {
		dra = int(slice.resources.Total())
		node.DRA = slice.resources
	}
	node.Evidence = evidenceOf(n, node.Allocatable, node.Capacity, dra, signs)
	if len(node.Evidence) == 0 {
		return nil
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if node.Ready = c.Status == corev1.ConditionTrue; !node.Ready {
				node.NotReadyWhy = firstOf(c.Message, c.Reason)
			}
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !transient(t.Key) {
			t.TimeAdded = nil
			node.Taints = append(node.Taints, t)
		}
	}
	node.describe(slice)
	return node
}

// transient tells the taints that the control plane, an autoscaler or a cloud
// sets and lifts: DaemonSets tolerate some of them anyway, and a permanent
// toleration of the others would keep an exporter on a node that goes away.
func transient(key string) bool {
	hasAny := func(matches func(s, part string) bool, parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return matches(key, p) })
	}
	return hasAny(strings.HasPrefix, "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "karpenter.sh/",
		"startup-taint.cluster-autoscaler.kubernetes.io/", "ignore-taint.cluster-autoscaler.kubernetes.io/",
		"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", "cloud.google.com/impending-node-termination") ||
		// Cilium's and the AWS storage drivers', until their agent is up.
		hasAny(strings.HasSuffix, "/agent-not-ready")
}

// describe reads product, memory, sharing and versions from what names them.
func (n *Node) describe(slice *nodeSlices) {
	label := func(keys ...string) string {
		for _, key := range keys {
			if v := n.labels[key]; v != "" {
				return v
			}
		}
		return ""
	}
	number := func(keys ...string) int64 {
		v, err := strconv.ParseInt(label(keys...), 10, 32)
		if err != nil || v < 0 {
			return 0
		}
		return v
	}
	n.Product = label(labelProduct)
	n.MemoryBytes = number("nvidia.com/gpu.memory", "karpenter.k8s.aws/instance-gpu-memory", "eks.amazonaws.com/instance-gpu-memory") << 20
	n.DriverVersion = label("nvidia.com/cuda.driver-version.full")
	if n.DriverVersion == "" {
		n.DriverVersion = dotted(label("nvidia.com/cuda.driver.major"), label("nvidia.com/cuda.driver.minor"), label("nvidia.com/cuda.driver.rev"))
	}
	n.CUDAVersion = label("nvidia.com/cuda.runtime-version.full")
	if n.CUDAVersion == "" {
		n.CUDAVersion = dotted(label("nvidia.com/cuda.runtime.major"), label("nvidia.com/cuda.runtime.minor"))
	}
	if slice != nil {
		n.Product = firstOf(n.Product, slice.product)
		n.DriverVersion = firstOf(n.DriverVersion, slice.driverVersion)
		n.CUDAVersion = firstOf(n.CUDAVersion, slice.cudaVersion)
		if n.MemoryBytes == 0 {
			n.MemoryBytes = slice.memoryBytes
		}
	}
	n.Product = firstOf(n.Product, label("cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name", "k8s.amazonaws.com/accelerator"))

	n.Replicas = max(1, int(number("nvidia.com/gpu.replicas", "cloud.google.com/gke-max-shared-clients-per-gpu")))
	switch label("nvidia.com/gpu.sharing-strategy", "cloud.google.com/gke-gpu-sharing-strategy") {
	case "mps":
		n.Sharing = "mps"
	case "time-slicing", "time-sharing":
		n.Sharing = "time-slicing"
	}
	// Older feature discovery tells the replicas only.
	if n.Sharing == "" && (n.Replicas > 1 || n.Capacity.Shared > 0) {
		n.Sharing = "time-slicing"
	}
	allocatable, capacity := n.Offered()
	switch {
	case len(allocatable.MIG) > 0 || len(capacity.MIG) > 0:
		n.MIGStrategy = "mixed"
	case strings.Contains(n.Product, "-MIG-") || label("cloud.google.com/gke-gpu-partition-size") != "":
		n.MIGStrategy = "single"
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func dotted(parts ...string) string {
	if parts[0] == "" {
		return ""
	}
	for len(parts) > 1 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, ".")
}
