package plugin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	nodesLabelWidth = 12
	// maxListed bounds the pods and nodes that are listed one by one.
	maxListed = 10
)

// nodesScreen collects the lines of the terminal form.
type nodesScreen struct {
	b                              strings.Builder
	heading, label, warn, bad, dim lipgloss.Style
}

// writeNodes prints the report for a person: the table, facts, problems. Only
// names and commands make a line longer than report.Width, and the wide table.
func writeNodes(w io.Writer, r *lipgloss.Renderer, n *nodesReport, wide bool) error {
	color := func(light, dark string) lipgloss.Style {
		return r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: light, Dark: dark})
	}
	s := &nodesScreen{
		heading: r.NewStyle().Bold(true), label: color("240", "245"), dim: color("245", "240"),
		warn: color("130", "214").Bold(true), bad: color("160", "203").Bold(true),
	}
	s.title(n)
	if len(n.Nodes) > 0 {
		table := newNodesTable(n.Nodes, wide)
		s.line("")
		for i, l := range table.lines() {
			if i == 0 {
				l = s.label.Render(l)
			}
			s.line("%s", l)
		}
		s.line("")
		for _, f := range table.facts {
			s.fact(f[0], f[1])
		}
		s.facts(n, wide)
	}
	for _, m := range n.Missing {
		text := m.Part + ": " + m.Why
		if m.Fix != "" {
			text += " (" + m.Fix + ")"
		}
		s.fact("not shown", text)
	}
	s.problems(n)
	_, err := io.WriteString(w, s.b.String())
	return err
}

func (s *nodesScreen) line(format string, args ...any) {
	s.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (s *nodesScreen) title(n *nodesReport) {
	text := fmt.Sprintf("%s of %d", amount(n.GPUNodes, "GPU node"), n.TotalNodes)
	if n.GPUNodes > 0 {
		unit := ""
		if slices.ContainsFunc(n.Nodes, func(n nodeReport) bool { return n.MIGStrategy != "" || n.Sharing != "" }) {
			unit = " or shares of them"
		}
		text += fmt.Sprintf(": %s of %s%s for pods", report.Count(uint64(n.GPUsAllocatable)), amount(int(n.GPUsCapacity), "GPU"), unit)
		if n.GPUsHeld != nil {
			text += fmt.Sprintf(", %s held", report.Count(uint64(*n.GPUsHeld)))
		}
	}
	s.line("%s", s.heading.Render(text))
}

// fact prints "label  text", folding text.
func (s *nodesScreen) fact(label, text string) {
	for i, l := range report.Fold(text, report.Width-2-nodesLabelWidth) {
		if i > 0 {
			label = ""
		}
		s.line("  %s%s", s.label.Render(fmt.Sprintf("%-*s", nodesLabelWidth, label)), l)
	}
}

func (s *nodesScreen) facts(n *nodesReport, wide bool) {
	for i, text := range taintFacts(n) {
		s.fact(labelOnce(i, "taints"), text)
	}
	if !wide {
		s.pods(n)
	}
	for i, p := range n.Waiting {
		if i == maxListed {
			s.fact("", fmt.Sprintf("and %d more", len(n.Waiting)-i))
			break
		}
		s.fact(labelOnce(i, "waiting"), fmt.Sprintf("%s/%s for %s", p.Namespace, p.Pod, amount(int(p.GPUs), "GPU")))
	}
	for i, e := range n.Exporters {
		text := fmt.Sprintf("%s/%s (%s)", e.Namespace, e.Name, e.owner)
		if e.GPUNodesCovered != nil {
			text += fmt.Sprintf(", ready on %s", amount(*e.GPUNodesCovered, "GPU node"))
		} else {
			text += fmt.Sprintf(", %d of %d pods ready", e.PodsReady, e.PodsWanted)
		}
		s.fact(labelOnce(i, "exporters"), text)
	}
	if u := n.Utilization; u != nil {
		s.fact("utilisation", fmt.Sprintf("mean of %s over %s, from %s", amount(u.GPUs, "GPU"), report.Seconds(u.WindowSeconds), u.Source))
		if len(u.Gaps) > 0 {
			s.fact("", fmt.Sprintf("not without gaps: %s", u.Gaps[0]))
		}
		if more := len(u.Gaps) - 1; more > 0 {
			s.fact("", fmt.Sprintf("and %d more, with -o json", more))
		}
	}
	s.fact("placement", placementFact(&n.Placement))
}

func labelOnce(i int, label string) string {
	if i > 0 {
		return ""
	}
	return label
}

// taintFacts counts the nodes of each taint.
func taintFacts(n *nodesReport) []string {
	counts := map[string]int{}
	for _, node := range n.Nodes {
		for _, t := range node.Taints {
			counts[t]++
		}
	}
	var facts []string
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		facts = append(facts, fmt.Sprintf("%s on %d of %d", t, counts[t], len(n.Nodes)))
	}
	return facts
}

func (s *nodesScreen) pods(n *nodesReport) {
	var texts []string
	for _, node := range n.Nodes {
		for _, p := range node.Pods {
			text := fmt.Sprintf("%s/%s has %d on %s", p.Namespace, p.Pod, p.GPUs, node.Name)
			if len(p.MIG) > 0 {
				text += " (" + strings.Join(slices.Sorted(maps.Keys(p.MIG)), ", ") + ")"
			}
			texts = append(texts, text)
		}
	}
	for i, text := range texts {
		if i == maxListed {
			s.fact("", fmt.Sprintf("and %d more; -o wide shows all", len(texts)-i))
			return
		}
		s.fact(labelOnce(i, "pods"), text)
	}
}

// placementFact is where dcgm-exporter would go.
func placementFact(p *placementReport) string {
	text := p.Why
	var keys []string
	for _, t := range p.Tolerations {
		text := t.Key
		if t.Value != "" {
			text += "=" + t.Value
		}
		keys = append(keys, text+":"+string(t.Effect))
	}
	if len(keys) > 0 {
		text += "; an exporter there must tolerate " + strings.Join(keys, ", ")
	}
	return text
}

func (s *nodesScreen) problems(n *nodesReport) {
	for _, p := range n.Problems {
		mark := s.label.Render("·")
		switch p.Severity {
		case gpu.SeverityError:
			mark = s.bad.Render("×")
		case gpu.SeverityWarning:
			mark = s.warn.Render("!")
		}
		s.line("")
		for i, l := range report.Fold(p.What, report.Width-2) {
			if i > 0 {
				mark = " "
			}
			s.line("%s %s", mark, l)
		}
		for _, l := range report.Fold(p.Cause, report.Width-2) {
			s.line("  %s", l)
		}
		// Whole, so that it can be copied.
		s.line("  %s %s", s.label.Render("→"), p.Next)
	}
}

func amount(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return report.Count(uint64(n)) + " " + noun + "s"
}
