package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// Width is the number of columns that the terminal form is laid out for.
const Width = 80

// palette binds the few styles to one renderer, so that a pipe and NO_COLOR get
// plain text.
type palette struct {
	heading, label, good, warn, bad, faint lipgloss.Style
}

func newPalette(r *lipgloss.Renderer) palette {
	return palette{
		heading: r.NewStyle().Bold(true),
		label:   r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "240", Dark: "245"}),
		good:    r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "28", Dark: "78"}).Bold(true),
		warn:    r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "130", Dark: "214"}).Bold(true),
		bad:     r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "160", Dark: "203"}).Bold(true),
		faint:   r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "245", Dark: "240"}),
	}
}

// screen collects the lines of the terminal form.
type screen struct {
	palette
	b strings.Builder
}

// Text writes the one-screen form of b, at most Width columns wide except where
// a name or an address is longer. The renderer decides on colour.
func Text(w io.Writer, r *lipgloss.Renderer, b *Bench) error {
	s := &screen{palette: newPalette(r)}
	s.title(b)
	s.setup(b)
	s.verdict(b)
	s.client(b)
	s.server(b)
	s.gpu(b)
	s.closing(b)
	_, err := io.WriteString(w, s.b.String())
	return err
}

func (s *screen) line(format string, args ...any) {
	s.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " "))
	s.b.WriteByte('\n')
}

func (s *screen) section(name, note string) {
	s.line("")
	if note == "" {
		s.line("%s", s.heading.Render(name))
		return
	}
	s.line("%s  %s", s.heading.Render(name), s.label.Render(note))
}

const labelWidth = 12

// fact prints "label  text", folding text at Width.
func (s *screen) fact(label, text string) {
	for i, l := range Fold(text, Width-2-labelWidth) {
		if i > 0 {
			label = ""
		}
		s.line("  %s%s", s.label.Render(fmt.Sprintf("%-*s", labelWidth, label)), l)
	}
}

func (s *screen) title(b *Bench) {
	model := b.Target.Model
	if b.Target.ModelVersion != "" {
		model += " v" + b.Target.ModelVersion
	}
	where := b.Target.Namespace
	if b.Target.Service != "" {
		where += "/" + b.Target.Service
	}
	if b.Target.URL != "" {
		where = b.Target.URL
	}
	line := s.heading.Render("Triton load test: " + model + " at " + where)
	if b.Interrupted {
		line += "  " + s.warn.Render("interrupted")
	}
	s.line("%s", line)
}

func (s *screen) setup(b *Bench) {
	path := fmt.Sprintf("%s (%s)", b.Path.Kind, b.Path.Transport)
	if b.Path.Kind != PathDirect {
		path += fmt.Sprintf(", %d of %d ready pods", b.Path.PodsLoaded, b.Path.PodsReady)
	} else if b.Path.RoundTripP50US > 0 {
		path += fmt.Sprintf(", round trip p50 %s, p99 %s", Microseconds(b.Path.RoundTripP50US), Microseconds(b.Path.RoundTripP99US))
	}
	for _, p := range b.Target.Pods {
		if p.Loaded {
			path += ", " + p.Name
			if p.Node != "" {
				path += " on " + p.Node
			}
		}
	}
	if b.Target.TritonVersion != "" {
		path += ", Triton " + b.Target.TritonVersion
	}
	s.fact("path", path)
	if t := b.Tunnel; t != nil {
		text := fmt.Sprintf("round trip p50 %s, p99 %s; ceiling %s req/s at %d in flight, %s used",
			Microseconds(t.RoundTripP50US), Microseconds(t.RoundTripP99US),
			Significant(t.CeilingPerSecond), t.CeilingConcurrency, Percent(t.CeilingUsedRatio))
		s.fact("tunnel", text)
	}
	s.fact("request", describeRequest(b.Request))
	s.fact("load", describeLoad(b))
}

func describeRequest(r Request) string {
	var tensors []string
	for _, t := range r.Inputs {
		dims := make([]string, len(t.Shape))
		for i, d := range t.Shape {
			dims[i] = fmt.Sprint(d)
		}
		tensors = append(tensors, fmt.Sprintf("%s %s[%s]", t.Name, t.Datatype, strings.Join(dims, ",")))
	}
	protocol := r.Protocol
	if r.Endpoint != "" {
		protocol += " " + r.Endpoint
	}
	text := fmt.Sprintf("%s %s, batch %d, %s, %s data: %s", protocol, r.Encoding, r.BatchSize, Bytes(float64(r.SizeBytes)), r.Data, strings.Join(tensors, ", "))
	if r.SequenceLength > 0 {
		text += fmt.Sprintf(", sequences of %d requests", r.SequenceLength)
		if r.SequenceLengthVariationRatio > 0 {
			text += " ± " + Percent(r.SequenceLengthVariationRatio)
		}
	}
	if r.Validated {
		text += ", answers compared"
	}
	if len(r.Assumed) > 0 {
		text += " (" + strings.Join(r.Assumed, "; ") + ")"
	}
	return text
}

func describeLoad(b *Bench) string {
	l := b.Load
	var text string
	if l.Mode == "closed" {
		text = fmt.Sprintf("closed loop, %s in flight", Count(uint64(l.Concurrency)))
	} else {
		text = fmt.Sprintf("open loop, %s req/s, %s arrivals, at most %s in flight", Significant(l.RequestRatePerSecond), l.Arrival, Count(uint64(l.MaxInFlight)))
	}
	if l.Requests > 0 {
		text += fmt.Sprintf(", %s requests", Count(l.Requests))
	}
	if l.DurationSeconds > 0 {
		text += ", " + Seconds(l.DurationSeconds)
	}
	switch {
	case l.WarmupRequests > 0:
		text += " after " + Count(l.WarmupRequests) + " warm-up requests"
	case l.WarmupSeconds > 0:
		text += " after " + Seconds(l.WarmupSeconds) + " warm-up"
	}
	return text
}

func (s *screen) verdict(b *Bench) {
	v := b.Verdict
	style, mark := s.warn, "!"
	switch v.Kind {
	case "healthy":
		style, mark = s.good, "✓"
	case "failed":
		style, mark = s.bad, "×"
	}
	s.line("")
	for i, l := range Fold(v.Kind+": "+v.Summary, Width-2) {
		if i == 0 {
			kind, rest, _ := strings.Cut(l, ":")
			s.line("%s %s:%s", style.Render(mark), style.Render(kind), rest)
			continue
		}
		s.line("  %s", l)
	}
	for _, e := range v.Evidence {
		s.bullet("·", e)
	}
	if v.Next != "" {
		s.bullet("→", v.Next)
	}
}

func (s *screen) bullet(mark, text string) {
	for i, l := range Fold(text, Width-4) {
		if i > 0 {
			mark = " "
		}
		s.line("  %s %s", s.label.Render(mark), l)
	}
}

// hold is a space at which Fold does not break.
const hold = "\u00a0"

// Fold breaks text at spaces into lines of at most width columns; a longer
// word, such as an address, stays whole.
func Fold(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		word = strings.ReplaceAll(word, hold, " ")
		switch {
		case line == "":
			line = word
		case lipgloss.Width(line)+1+lipgloss.Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
