package gpu

import (
	"fmt"
	"slices"
	"strings"
)

// ProblemKind names a kind of problem for programs.
type ProblemKind string

const (
	ProblemNoGPUNodes         ProblemKind = "no-gpu-nodes"
	ProblemNotOffered         ProblemKind = "not-offered"
	ProblemUnhealthy          ProblemKind = "unhealthy-gpu"
	ProblemMIGConfig          ProblemKind = "mig-config"
	ProblemNotReady           ProblemKind = "node-not-ready"
	ProblemNoLabel            ProblemKind = "no-label"
	ProblemDriverVersions     ProblemKind = "driver-versions"
	ProblemRuntimeClass       ProblemKind = "runtime-class"
	ProblemNoExporter         ProblemKind = "no-exporter"
	ProblemExporterTaint      ProblemKind = "exporter-taint"
	ProblemExporterSelector   ProblemKind = "exporter-selector"
	ProblemExporterMissing    ProblemKind = "exporter-missing"
	ProblemExporterNotReady   ProblemKind = "exporter-not-ready"
	ProblemExporterTwice      ProblemKind = "exporter-twice"
	ProblemExporterOnCPUNodes ProblemKind = "exporter-on-cpu-nodes"
	ProblemExporterNoRuntime  ProblemKind = "exporter-runtime-class"
)

// Severity says how bad a problem is.
type Severity string

const (
	SeverityError   Severity = "error"   // GPUs or their metrics are missing
	SeverityWarning Severity = "warning" // they may be
	SeverityNote    Severity = "note"    // fine in many clusters, but worth knowing
)

// Problem is something that is wrong with GPU nodes or exporters: What is a
// sentence's worth of finding, Cause the likely reason, Next the command that
// mends it or shows more.
type Problem struct {
	Kind     ProblemKind
	Severity Severity
	Nodes    []string // those concerned, ordered; none when it isn't about nodes
	What     string
	Cause    string
	Next     string
}

// Problems lists what is wrong, the gravest first, each kind and cause once
// with all its nodes.
func (c *Cluster) Problems() []Problem {
	var found []Problem
	if c.Knows(KindNode) {
		found = append(found, c.nodeProblems()...)
	}
	found = append(found, c.exporterProblems()...)
	slices.SortStableFunc(found, func(a, b Problem) int { return a.Severity.rank() - b.Severity.rank() })
	return found
}

func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityNote}, s)
}

// diagnose notes at each node which problems concern it.
func (c *Cluster) diagnose() {
	byNode := map[string][]ProblemKind{}
	for _, p := range c.Problems() {
		for _, n := range p.Nodes {
			byNode[n] = append(byNode[n], p.Kind)
		}
	}
	for i := range c.Nodes {
		c.Nodes[i].Problems = byNode[c.Nodes[i].Name]
	}
}

// named lists the nodes that a condition holds for.
func (c *Cluster) named(holds func(*Node) bool) []string {
	var names []string
	for i := range c.Nodes {
		if holds(&c.Nodes[i]) {
			names = append(names, c.Nodes[i].Name)
		}
	}
	return names
}

// exampleNodes is how many nodes a sentence names.
const exampleNodes = 3

// on counts nodes and names the first few.
func on(names []string) string {
	switch {
	case len(names) == 0:
		return "no GPU node"
	case len(names) <= exampleNodes:
		return fmt.Sprintf("%s (%s)", gpuNodes(len(names)), strings.Join(names, ", "))
	}
	return fmt.Sprintf("%s (%s and %d more)", gpuNodes(len(names)), strings.Join(names[:exampleNodes-1], ", "), len(names)-exampleNodes+1)
}

func gpuNodes(n int) string { return plural(n, "GPU node") }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func allGPUNodes(n int) string {
	if n == 1 {
		return "the only GPU node"
	}
	return fmt.Sprintf("all %d GPU nodes", n)
}

// verb agrees with the number of nodes.
func verb(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}
