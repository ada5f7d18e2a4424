package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// nodeColumn is one column of the nodes' table.
type nodeColumn struct {
	title string
	wide  bool // in the wide form only
	cell  func(*nodeReport) string
}

func nodeColumns() []nodeColumn {
	return []nodeColumn{
		{title: "NODE", cell: func(n *nodeReport) string { return n.Name }},
		{title: "STATUS", cell: nodeStatus},
		{title: "GPUS", cell: func(n *nodeReport) string { return fmt.Sprintf("%d/%d", n.GPUsAllocatable, n.GPUsCapacity) }},
		{title: "HELD", cell: func(n *nodeReport) string {
			if n.GPUsHeld == nil {
				return ""
			}
			return fmt.Sprint(*n.GPUsHeld)
		}},
		{title: "UTIL", cell: func(n *nodeReport) string {
			if n.UtilizationRatio == nil {
				return ""
			}
			return report.Percent(*n.UtilizationRatio)
		}},
		{title: "PRODUCT", cell: func(n *nodeReport) string { return n.Product }},
		{title: "MEMORY", cell: func(n *nodeReport) string {
			if n.MemoryBytes == 0 {
				return ""
			}
			return report.Bytes(float64(n.MemoryBytes))
		}},
		{title: "SHARING", cell: nodeSharing},
		{title: "EXPORTER", cell: nodeExporter},
		{title: "DRIVER", wide: true, cell: func(n *nodeReport) string { return n.DriverVersion }},
		{title: "CUDA", wide: true, cell: func(n *nodeReport) string { return n.CUDAVersion }},
		{title: "EVIDENCE", wide: true, cell: func(n *nodeReport) string { return string(n.Evidence[0].Kind) }},
		{title: "TAINTS", wide: true, cell: func(n *nodeReport) string { return strings.Join(n.Taints, ",") }},
		{title: "PODS", wide: true, cell: nodePods},
		{title: "PROBLEMS", wide: true, cell: func(n *nodeReport) string {
			var kinds []string
			for _, p := range n.Problems {
				kinds = append(kinds, string(p))
			}
			return strings.Join(kinds, ",")
		}},
	}
}

func nodeStatus(n *nodeReport) string {
	status := "Ready"
	if !n.Ready {
		status = "NotReady"
	}
	if n.Unschedulable {
		status += ",cordoned"
	}
	return status
}

// nodeSharing is how a GPU is divided: MIG instances, replicas, or not at all.
func nodeSharing(n *nodeReport) string {
	var parts []string
	switch {
	case len(n.MIGCapacity) > 0:
		for _, profile := range slices.Sorted(maps.Keys(n.MIGCapacity)) {
			parts = append(parts, fmt.Sprintf("%s×%d", profile, n.MIGCapacity[profile]))
		}
	case n.MIGStrategy != "":
		parts = append(parts, "MIG "+n.MIGStrategy)
	}
	if n.Sharing != "" {
		parts = append(parts, fmt.Sprintf("%s %d:1", n.Sharing, n.ReplicasPerGPU))
	}
	return strings.Join(parts, ",")
}

// nodeExporter is the state of the exporter on a node; two are one too many.
func nodeExporter(n *nodeReport) string {
	switch {
	case n.Exporters == nil:
		return ""
	case len(n.Exporters) == 0:
		return "none"
	}
	var states []string
	for _, e := range n.Exporters {
		switch {
		case e.Ready:
			states = append(states, "ready")
		case e.Reason != "":
			states = append(states, e.Reason)
		default:
			states = append(states, "not ready")
		}
	}
	return strings.Join(states, "+")
}

func nodePods(n *nodeReport) string {
	var pods []string
	for _, p := range n.Pods {
		pods = append(pods, fmt.Sprintf("%s/%s:%d", p.Namespace, p.Pod, p.GPUs))
	}
	return strings.Join(pods, ",")
}

// newNodesTable leaves out columns that tell nothing. While the rest is too wide
// for a terminal, the columns that can be summed up become facts below it.
func newNodesTable(nodes []nodeReport, wide bool) *textTable {
	t := &textTable{rows: make([][]string, len(nodes))}
	for _, column := range nodeColumns() {
		if column.wide && !wide {
			continue
		}
		cells := make([]string, len(nodes))
		for i := range nodes {
			cells[i] = column.cell(&nodes[i])
		}
		if !wide && (allEqual(cells, "") || column.title == "STATUS" && allEqual(cells, "Ready")) {
			continue
		}
		t.titles = append(t.titles, column.title)
		for i, cell := range cells {
			if cell == "" {
				cell = noValue
			}
			t.rows[i] = append(t.rows[i], cell)
		}
	}
	for _, title := range []string{"MEMORY", "SHARING", "PRODUCT"} {
		if column := slices.Index(t.titles, title); column > 0 && !wide && t.width() > report.Width {
			t.facts = append(t.facts, [2]string{strings.ToLower(title), t.sum(column)})
			t.drop(column)
		}
	}
	slices.Reverse(t.facts)
	return t
}
