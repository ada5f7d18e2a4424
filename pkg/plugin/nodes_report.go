package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// nodesSchema names the layout of nodesReport. The number rises when a field
// changes its meaning or disappears; new fields do not change it.
const nodesSchema = "kubectl-triton/nodes/v1"

// nodesReport is all that "nodes" found out; every form of output is made of
// it. A GPU counts as often as it is offered: its MIG instances and the replicas
// of a shared one each count. What is absent or null is not known; where that is
// for lack of permission or of a source, an entry of Missing says so.
type nodesReport struct {
	Schema      string `json:"schema"`
	ToolVersion string `json:"tool_version"`
	Context     string `json:"context,omitempty"`
	Platform    string `json:"platform"`

	TotalNodes      int    `json:"total_nodes"`
	GPUNodes        int    `json:"gpu_nodes"`
	GPUsAllocatable int64  `json:"gpus_allocatable"`
	GPUsCapacity    int64  `json:"gpus_capacity"`
	GPUsHeld        *int64 `json:"gpus_held,omitempty"`

	Nodes              []nodeReport       `json:"nodes"`
	Waiting            []holderReport     `json:"waiting"`
	Exporters          []exporterReport   `json:"exporters"`
	RuntimeClassNVIDIA *bool              `json:"runtime_class_nvidia,omitempty"`
	Placement          placementReport    `json:"placement"`
	Utilization        *utilizationReport `json:"utilization,omitempty"`
	Problems           []problemReport    `json:"problems"`
	Missing            []report.Missing   `json:"missing"`
}

type nodeReport struct {
	Name          string           `json:"name"`
	Ready         bool             `json:"ready"`
	Unschedulable bool             `json:"unschedulable"`
	Evidence      []evidenceReport `json:"evidence"`

	GPUsAllocatable int64            `json:"gpus_allocatable"`
	GPUsCapacity    int64            `json:"gpus_capacity"`
	GPUsHeld        *int64           `json:"gpus_held,omitempty"`
	MIGStrategy     string           `json:"mig_strategy,omitempty"`
	MIGAllocatable  map[string]int64 `json:"mig_allocatable,omitempty"` // by profile
	MIGCapacity     map[string]int64 `json:"mig_capacity,omitempty"`    // by profile
	Sharing         string           `json:"sharing,omitempty"`
	ReplicasPerGPU  int              `json:"replicas_per_gpu"`

	Product       string   `json:"product,omitempty"`
	MemoryBytes   int64    `json:"memory_bytes,omitempty"`
	DriverVersion string   `json:"driver_version,omitempty"`
	CUDAVersion   string   `json:"cuda_version,omitempty"`
	Taints        []string `json:"taints"`

	Pods             []holderReport      `json:"pods"`
	Exporters        []exporterPodReport `json:"exporters"`
	UtilizationRatio *float64            `json:"utilization_average_ratio,omitempty"`
	Problems         []gpu.ProblemKind   `json:"problems"`
}

type evidenceReport struct {
	Kind   gpu.EvidenceKind `json:"kind"`
	Source string           `json:"source"`
	Value  string           `json:"value,omitempty"`
}

type holderReport struct {
	Namespace string           `json:"namespace"`
	Pod       string           `json:"pod"`
	GPUs      int64            `json:"gpus"`
	MIG       map[string]int64 `json:"mig,omitempty"` // by profile, part of gpus
}

type exporterPodReport struct {
	Exporter string `json:"exporter"`
	Pod      string `json:"pod"`
	Ready    bool   `json:"ready"`
	Reason   string `json:"reason,omitempty"`
}

type exporterReport struct {
	Kind            gpu.ExporterKind  `json:"kind"`
	Namespace       string            `json:"namespace"`
	Name            string            `json:"name"`
	Release         string            `json:"release,omitempty"`
	ManagedBy       string            `json:"managed_by,omitempty"`
	Image           string            `json:"image,omitempty"`
	Selector        map[string]string `json:"selector,omitempty"`
	Port            int32             `json:"port"`
	PodsWanted      int               `json:"pods_wanted"`
	PodsReady       int               `json:"pods_ready"`
	GPUNodesCovered *int              `json:"gpu_nodes_covered,omitempty"`

	owner string // what Kind and ManagedBy come to, in words
}

type placementReport struct {
	NodeSelector    map[string]string   `json:"node_selector,omitempty"`
	Affinity        *corev1.Affinity    `json:"affinity,omitempty"`
	Tolerations     []corev1.Toleration `json:"tolerations"`
	RuntimeClass    string              `json:"runtime_class,omitempty"`
	GPUNodesCovered int                 `json:"gpu_nodes_covered"`
	Why             string              `json:"why"`
}

type utilizationReport struct {
	Source        string   `json:"source"`
	WindowSeconds float64  `json:"window_seconds"`
	GPUs          int      `json:"gpus"`
	Gaps          []string `json:"gaps,omitempty"`
}

type problemReport struct {
	Kind     gpu.ProblemKind `json:"kind"`
	Severity gpu.Severity    `json:"severity"`
	Nodes    []string        `json:"nodes,omitempty"`
	What     string          `json:"what"`
	Cause    string          `json:"cause"`
	Next     string          `json:"next"`
}

// newNodesReport describes the nodes of the given names, or all of them, and
// the problems that concern them or the whole cluster.
func newNodesReport(c *gpu.Cluster, names []string, context string) *nodesReport {
	p := c.Placement()
	r := &nodesReport{
		Schema: nodesSchema, ToolVersion: Version(), Context: context, Platform: string(c.Platform()), TotalNodes: c.TotalNodes,
		Nodes: []nodeReport{}, Exporters: []exporterReport{}, Problems: []problemReport{}, Missing: []report.Missing{},
		Placement: placementReport{
			NodeSelector: p.NodeSelector, Affinity: p.Affinity, Tolerations: orEmpty(p.Tolerations),
			RuntimeClass: p.RuntimeClass, GPUNodesCovered: p.Covered, Why: p.Why,
		},
	}
	if c.Knows(gpu.KindRuntimeClass) {
		r.RuntimeClassNVIDIA = &c.RuntimeClassNVIDIA
	}
	wanted := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	for _, n := range c.Nodes {
		if wanted(n.Name) {
			r.addNode(c, &n)
		}
	}
	if c.Knows(gpu.KindPod) {
		r.Waiting = holderReports(c.Waiting)
	}
	r.addHeld()
	for _, e := range c.Exporters {
		r.addExporter(c, &e)
	}
	for _, p := range c.Problems() {
		if len(p.Nodes) == 0 || slices.ContainsFunc(p.Nodes, wanted) {
			r.Problems = append(r.Problems, problemReport(p))
		}
	}
	for _, d := range c.Denied {
		r.Missing = append(r.Missing, report.Missing{Part: missingFor(d.Kind), Why: d.Reason, Fix: askForRole})
	}
	return r
}

func (r *nodesReport) addNode(c *gpu.Cluster, n *gpu.Node) {
	allocatable, capacity := n.Offered()
	node := nodeReport{
		Name: n.Name, Ready: n.Ready, Unschedulable: n.Unschedulable,
		GPUsAllocatable: allocatable.Total(), GPUsCapacity: capacity.Total(),
		MIGStrategy: n.MIGStrategy, MIGAllocatable: allocatable.MIG, MIGCapacity: capacity.MIG, Sharing: n.Sharing, ReplicasPerGPU: n.Replicas,
		Product: n.Product, MemoryBytes: n.MemoryBytes, DriverVersion: n.DriverVersion, CUDAVersion: n.CUDAVersion,
		Taints: []string{}, Problems: orEmpty(n.Problems),
	}
	for _, e := range n.Evidence {
		node.Evidence = append(node.Evidence, evidenceReport(e))
	}
	for _, t := range n.Taints {
		node.Taints = append(node.Taints, gpu.TaintString(t))
	}
	if c.Knows(gpu.KindPod) {
		// What the DRA driver gave away, only claims tell.
		if c.Knows(gpu.KindResourceClaim) || n.DRA.Total() == 0 {
			held := n.Allocated.Total()
			node.GPUsHeld = &held
		}
		node.Pods, node.Exporters = holderReports(n.Holders), []exporterPodReport{}
		for _, e := range n.Exporters {
			node.Exporters = append(node.Exporters, exporterPodReport{e.Exporter, e.Namespace + "/" + e.Name, e.Ready, e.Reason})
		}
	}
	r.GPUNodes++
	r.GPUsAllocatable += node.GPUsAllocatable
	r.GPUsCapacity += node.GPUsCapacity
	r.Nodes = append(r.Nodes, node)
}

// addHeld sums up what is held, if that is known of every node.
func (r *nodesReport) addHeld() {
	held := int64(0)
	for i := range r.Nodes {
		if r.Nodes[i].GPUsHeld == nil {
			return
		}
		held += *r.Nodes[i].GPUsHeld
	}
	r.GPUsHeld = &held
}

func (r *nodesReport) addExporter(c *gpu.Cluster, e *gpu.Exporter) {
	x := exporterReport{
		Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, Release: e.Release, ManagedBy: e.ManagedBy, Image: e.Image,
		Selector: e.Selector, Port: e.Port, PodsWanted: e.Wanted, PodsReady: e.Ready,
		owner: e.Owner(),
	}
	if c.Knows(gpu.KindPod) {
		x.GPUNodesCovered = &e.Covered
	}
	r.Exporters = append(r.Exporters, x)
}

// missingFor says what can't be told without a kind.
func missingFor(kind string) string {
	switch kind {
	case gpu.KindPod:
		return "which pods hold the GPUs, and on which nodes exporters run"
	case gpu.KindDaemonSet:
		return "exporters' DaemonSets"
	case gpu.KindResourceSlice:
		return "GPUs of NVIDIA's DRA driver"
	case gpu.KindResourceClaim:
		return "which pods hold GPUs through DRA"
	case gpu.KindRuntimeClass:
		return "RuntimeClass nvidia"
	}
	return kind
}

func holderReports(holders []gpu.Holder) []holderReport {
	reports := []holderReport{}
	for _, h := range holders {
		reports = append(reports, holderReport{h.Namespace, h.Pod, h.GPUs.Total(), maps.Clone(h.GPUs.MIG)})
	}
	return reports
}

// orEmpty is never null in JSON.
func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func (r *nodesReport) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("could not write the nodes as JSON: %w", err)
	}
	return nil
}

func (r *nodesReport) writeYAML(w io.Writer) error {
	out, err := yaml.Marshal(r)
	if err != nil {
		return fmt.Errorf("could not write the nodes as YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}
