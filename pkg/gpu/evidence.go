package gpu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// EvidenceKind says where a sign of GPUs comes from.
type EvidenceKind string

// The kinds of evidence, strongest first.
const (
	EvidenceAllocatable EvidenceKind = "allocatable"       // pods can be given GPUs
	EvidenceDRA         EvidenceKind = "resource slice"    // of NVIDIA's DRA driver
	EvidenceCapacity    EvidenceKind = "capacity"          // offered once, but not now
	EvidenceGFD         EvidenceKind = "feature discovery" // GPU Feature Discovery and GPU Operator
	EvidenceNFD         EvidenceKind = "hardware"          // Node Feature Discovery: the PCI device
	EvidenceCloud       EvidenceKind = "cloud"             // the provider's or Karpenter's labels
)

// Evidence is one sign that a node has GPUs: a label, resource or driver with
// its value or amount.
type Evidence struct {
	Kind   EvidenceKind
	Source string
	Value  string
}

func (e Evidence) String() string {
	if e.Value == "" {
		return e.Source
	}
	return e.Source + "=" + e.Value
}

// Labels that are read or written by name.
const (
	// LabelPresent marks a GPU node for NVIDIA's own tools.
	LabelPresent = "nvidia.com/gpu.present"

	labelProduct      = "nvidia.com/gpu.product"
	labelInstanceType = corev1.LabelInstanceTypeStable
)

// selectable says how a label can choose GPU nodes.
type selectable int

const (
	never  selectable = iota
	byFlag            // one value marks all GPU nodes
	byName            // the value names the GPU
)

// sign is a label that shows a GPU when its value is right.
type sign struct {
	key   string
	kind  EvidenceKind
	use   selectable
	shows func(value string) bool
}

// signs are the labels that show GPUs, strongest first.
func signs() []sign {
	is := func(want string) func(string) bool { return func(v string) bool { return v == want } }
	positive := func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n > 0 }
	filled := func(v string) bool { return v != "" }
	return []sign{
		{LabelPresent, EvidenceGFD, byFlag, is("true")},
		{labelProduct, EvidenceGFD, byName, filled},
		{"nvidia.com/gpu.count", EvidenceGFD, never, positive},
		{"feature.node.kubernetes.io/pci-10de.present", EvidenceNFD, byFlag, is("true")},
		{"feature.node.kubernetes.io/pci-0302_10de.present", EvidenceNFD, byFlag, is("true")},
		{"feature.node.kubernetes.io/pci-0300_10de.present", EvidenceNFD, byFlag, is("true")},
		{"cloud.google.com/gke-gpu", EvidenceCloud, byFlag, is("true")},
		{"cloud.google.com/gke-accelerator", EvidenceCloud, byName, ofNVIDIA},
		{"kubernetes.azure.com/accelerator", EvidenceCloud, byFlag, is("nvidia")},
		{"karpenter.k8s.aws/instance-gpu-manufacturer", EvidenceCloud, byFlag, is("nvidia")},
		{"karpenter.k8s.aws/instance-gpu-name", EvidenceCloud, byName, ofNVIDIA},
		{"eks.amazonaws.com/instance-gpu-manufacturer", EvidenceCloud, byFlag, is("nvidia")},
		{"eks.amazonaws.com/instance-gpu-name", EvidenceCloud, byName, ofNVIDIA},
		{"k8s.amazonaws.com/accelerator", EvidenceCloud, byName, ofNVIDIA},
	}
}

// ofNVIDIA refuses the other makers of accelerators: AWS names NVIDIA's GPUs
// without their maker (t4, a10g).
func ofNVIDIA(name string) bool {
	name = strings.ToLower(name)
	return name != "" && !slices.ContainsFunc([]string{"radeon", "amd", "gaudi", "habana", "inferentia", "trainium", "neuron", "tpu"},
		func(other string) bool { return strings.Contains(name, other) })
}

// evidenceOf collects all signs of GPUs on a node, strongest first.
func evidenceOf(n *corev1.Node, allocatable, capacity Resources, dra int, signs []sign) []Evidence {
	var found []Evidence
	found = append(found, amounts(EvidenceAllocatable, allocatable)...)
	if dra > 0 {
		found = append(found, Evidence{EvidenceDRA, "ResourceSlice " + driverDRA, fmt.Sprint(dra)})
	}
	if allocatable.Total() == 0 {
		found = append(found, amounts(EvidenceCapacity, capacity)...)
	}
	for _, s := range signs {
		if v, ok := n.Labels[s.key]; ok && s.shows(v) {
			found = append(found, Evidence{s.kind, s.key, v})
		}
	}
	return found
}

func amounts(kind EvidenceKind, r Resources) []Evidence {
	var found []Evidence
	add := func(source string, n int64) {
		if n > 0 {
			found = append(found, Evidence{kind, source, fmt.Sprint(n)})
		}
	}
	add(resourceGPU, r.GPUs)
	add(resourceGPUShared, r.Shared)
	for _, profile := range r.Profiles() {
		add(resourceMIGPrefix+profile, r.MIG[profile])
	}
	return found
}
