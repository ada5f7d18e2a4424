package plugin

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// writeModels prints the report for a person: the table, reasons and, if full,
// each model's whole description. Only names make a line longer than
// report.Width, and the wide table.
func writeModels(w io.Writer, r *lipgloss.Renderer, m *modelsReport, wide, full bool) error {
	color := func(light, dark string) lipgloss.Style {
		return r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: light, Dark: dark})
	}
	s := &modelsScreen{nodesScreen: nodesScreen{
		heading: r.NewStyle().Bold(true), label: color("240", "245"), dim: color("245", "240"),
		warn: color("130", "214").Bold(true), bad: color("160", "203").Bold(true),
	}}
	names := m.names()
	s.line("%s", s.heading.Render(fmt.Sprintf("%s of %s/%s on %s", amount(len(names), "model"), m.Namespace, m.Service, amount(len(m.Pods), "pod"))))
	if len(m.Models) > 0 {
		s.table(m, wide)
	}
	s.reasons(m)
	s.podProblems(m)
	if full {
		for i := range m.Models {
			s.model(m, &m.Models[i])
		}
	}
	_, err := io.WriteString(w, s.b.String())
	return err
}

// modelsScreen collects the lines of the terminal form.
type modelsScreen struct {
	nodesScreen
	problems int // written so far
}

func (s *modelsScreen) table(m *modelsReport, wide bool) {
	table, dropped := newModelsTable(m, wide)
	s.line("")
	for i, l := range table.lines() {
		if i == 0 {
			l = s.label.Render(l)
		}
		s.line("%s", l)
	}
	if len(dropped) > 0 {
		s.line("")
		s.fact("no room for", strings.ToLower(strings.Join(dropped, ", "))+"; -o wide has everything")
	}
}

// reasons say why models are not ready, and which pods have what differs.
func (s *modelsScreen) reasons(m *modelsReport) {
	answered := 0
	for _, p := range m.Pods {
		if p.Problem == "" {
			answered++
		}
	}
	for _, line := range m.Models {
		where := ""
		if len(line.Pods) < answered {
			where = " on " + strings.Join(line.Pods, ", ")
		}
		name := line.Name
		if line.Version != "" {
			name += " version " + line.Version
		}
		switch {
		case line.State == stateNotLoaded && where == "":
		case line.Reason != "":
			s.problem(line.State == "UNAVAILABLE" && line.Reason != "unloaded", fmt.Sprintf("%s is %s%s: %s", name, line.State, where, line.Reason))
		case line.ConfigProblem != "":
			s.problem(true, fmt.Sprintf("%s is %s%s, but its configuration can't be read: %s", name, line.State, where, line.ConfigProblem))
		case where != "" && !m.explained(&line):
			s.problem(false, fmt.Sprintf("%s is %s%s only", name, line.State, where))
		}
	}
}

// explained tells whether the reason on other pods says why line is on some only.
func (m *modelsReport) explained(line *modelReport) bool {
	return line.State == "READY" && slices.ContainsFunc(m.Models, func(other modelReport) bool {
		return other.Name == line.Name && other.Version == line.Version && other.Reason != ""
	})
}

func (s *modelsScreen) podProblems(m *modelsReport) {
	versions := map[string]bool{}
	for _, p := range m.Pods {
		switch {
		case p.Problem != "":
			s.problem(true, fmt.Sprintf("pod %s: %s", p.Name, p.Problem))
		case !p.Ready:
			s.problem(false, fmt.Sprintf("pod %s gets no requests of the Service, it is not ready: %s", p.Name, p.NotReadyReason))
		}
		if p.TritonVersion != "" {
			versions[p.TritonVersion] = true
		}
	}
	if len(versions) > 1 {
		var parts []string
		for _, p := range m.Pods {
			if p.TritonVersion != "" {
				parts = append(parts, p.Name+" "+p.TritonVersion)
			}
		}
		s.problem(false, "the pods run different Tritons: "+strings.Join(parts, ", "))
	}
}

// problem prints one mark and a folded sentence.
func (s *modelsScreen) problem(isError bool, text string) {
	mark := s.warn.Render("!")
	if isError {
		mark = s.bad.Render("×")
	}
	if s.problems == 0 {
		s.line("")
	}
	s.problems++
	for _, l := range report.Fold(text, report.Width-2) {
		s.line("%s %s", mark, l)
		mark = " "
	}
}

// model prints everything that is known of one line of the table.
func (s *modelsScreen) model(m *modelsReport, r *modelReport) {
	title := r.Name
	if r.Version != "" {
		title += " version " + r.Version
	}
	if len(m.Pods) > 1 {
		title += " on " + strings.Join(r.Pods, ", ")
	}
	s.line("")
	s.line("%s", s.heading.Render(title))
	s.fact("state", r.State)
	if r.Configured {
		s.fact("backend", cmp.Or(r.Backend, r.Platform))
		s.optional("instances", instancesText(r.Instances))
		s.fact("batching", batchingText(r))
		s.fact("queue", queueText(r))
		s.list("inputs", tensorTexts(r.Inputs))
		s.list("outputs", tensorTexts(r.Outputs))
		s.list("steps", stepTexts(r.Steps))
		s.fact("responses", responsesText(r))
	}
	if r.Served != nil {
		s.fact("served", servedText(r.Served, m.Time))
	}
	if r.LoadSeconds != nil {
		s.fact("load time", report.Seconds(*r.LoadSeconds))
	}
}

func (s *modelsScreen) optional(label, text string) {
	if text != "" {
		s.fact(label, text)
	}
}

func (s *modelsScreen) list(label string, texts []string) {
	for i, text := range texts {
		s.fact(labelOnce(i, label), text)
	}
}

func batchingText(r *modelReport) string {
	switch {
	case r.MaxBatchSize == 0 && r.Batching == nil && !r.Sequence:
		return "none: requests have no batch dimension"
	case r.Sequence:
		return fmt.Sprintf("requests of a sequence go to one instance, batches up to %d", max(1, r.MaxBatchSize))
	case r.Batching == nil:
		return fmt.Sprintf("up to %d in a request, requests are not joined", r.MaxBatchSize)
	}
	text := fmt.Sprintf("requests are joined to batches up to %d", max(1, r.MaxBatchSize))
	if len(r.Batching.PreferredBatchSizes) > 0 {
		text += ", preferred " + joined(r.Batching.PreferredBatchSizes, ", ")
	}
	if r.Batching.MaxQueueDelayUS > 0 {
		return text + ", waiting up to " + report.Microseconds(float64(r.Batching.MaxQueueDelayUS)) + " for more"
	}
	return text + ", without waiting for more"
}

func queueText(r *modelReport) string {
	b := r.Batching
	if b == nil {
		return "unbounded"
	}
	text := "unbounded"
	if b.MaxQueueSize > 0 {
		text = fmt.Sprintf("up to %s", amount(int(b.MaxQueueSize), "request"))
	}
	if b.DefaultTimeoutUS > 0 {
		what := "refused"
		if b.TimeoutAction == "DELAY" {
			what = "put last"
		}
		text += fmt.Sprintf(", %s after %s", what, report.Microseconds(float64(b.DefaultTimeoutUS)))
	}
	if b.PriorityLevels > 0 {
		text += fmt.Sprintf(", %s", amount(int(b.PriorityLevels), "priority level"))
	}
	return text
}

func stepTexts(steps []modelStepReport) []string {
	var texts []string
	for _, s := range steps {
		text := s.Model
		if s.Version > 0 {
			text += fmt.Sprintf(" version %d", s.Version)
		}
		texts = append(texts, text)
	}
	return slices.Compact(texts)
}

func responsesText(r *modelReport) string {
	text := "one to a request"
	if r.Decoupled {
		text = "any number to a request (decoupled), over a gRPC stream"
	}
	if r.ResponseCache {
		text += ", from the response cache where it has them"
	}
	return text
}

func servedText(s *modelServed, now time.Time) string {
	text := fmt.Sprintf("%s ok, %s failed since it was loaded", amount(int(s.Succeeded), "request"), report.Count(s.Failed))
	if s.LastInference != nil {
		text += fmt.Sprintf(", the last %s ago", age(now.Sub(*s.LastInference)))
	}
	return text
}

// age is a duration that a person needs to no more than seconds.
func age(d time.Duration) string {
	return report.Seconds(max(time.Second, d.Round(time.Second)).Seconds())
}
