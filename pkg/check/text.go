package check

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
)

// width is the column at which text wraps.
const width = 80

// Text writes results for a person: each category as soon as it is complete,
// and a closing line.
type Text struct {
	w     io.Writer
	short bool
	docs  string
	begun bool
	err   error

	heading, good, warn, bad, faint lipgloss.Style
}

// NewText writes to w, in colours if the renderer has them. With short, only
// what failed or warns is shown. docs is the page whose anchors are the IDs.
func NewText(w io.Writer, r *lipgloss.Renderer, short bool, docs string) *Text {
	colour := func(light, dark string) lipgloss.Style {
		return r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: light, Dark: dark})
	}
	return &Text{
		w: w, short: short, docs: docs,
		heading: r.NewStyle().Bold(true), good: colour("28", "42"), warn: colour("130", "214").Bold(true),
		bad: colour("160", "203").Bold(true), faint: colour("240", "245"),
	}
}

// Category writes one.
func (t *Text) Category(c CategoryResult) {
	var b strings.Builder
	for i := 0; i < len(c.Checks); i++ {
		k := c.Checks[i]
		if t.short && k.State != StateFailed && k.State != StateWarning {
			continue
		}
		// Many checks that are skipped for one reason need one line.
		if same := alike(c.Checks[i:]); same > 2 {
			k = Result{State: StateSkipped, Description: fmt.Sprintf("%d checks", same), SkipReason: k.SkipReason}
			i += same - 1
		}
		t.check(&b, k)
	}
	if b.Len() == 0 {
		return
	}
	if t.begun {
		t.print("\n")
	}
	t.begun = true
	t.print("%s\n%s\n%s", t.heading.Render(c.Name), t.faint.Render(strings.Repeat("-", utf8.RuneCountInString(c.Name))), b.String())
}

// alike counts the results at the beginning that are skipped for the same reason.
func alike(results []Result) int {
	for n, k := range results {
		if k.State != StateSkipped || k.SkipReason != results[0].SkipReason {
			return n
		}
	}
	return len(results)
}

func (t *Text) check(b *strings.Builder, k Result) {
	mark := map[State]string{
		StateOK: t.good.Render("✓"), StateWarning: t.warn.Render("!"), StateFailed: t.bad.Render("×"), StateSkipped: t.faint.Render("·"),
	}[k.State]
	text := k.Description
	switch {
	case k.State == StateSkipped:
		text += " (skipped: " + k.SkipReason + ")"
	case k.State == StateOK && k.Detail != "":
		text += ": " + k.Detail
	}
	lines := wrap(text, width-2)
	fmt.Fprintf(b, "%s %s\n", mark, lines[0])
	for _, l := range lines[1:] {
		fmt.Fprintf(b, "  %s\n", l)
	}
	for _, f := range k.Findings {
		indented(b, f.What)
		indented(b, f.Why)
		if f.Command != "" {
			// A command is one line, to be copied.
			fmt.Fprintf(b, "    %s %s\n", t.faint.Render("→"), f.Command)
		}
	}
	if len(k.Findings) > 0 {
		fmt.Fprintf(b, "    %s\n", t.faint.Render("see "+t.docs+"#"+k.ID))
	}
}

func indented(b *strings.Builder, text string) {
	if text == "" {
		return
	}
	for _, l := range wrap(text, width-4) {
		fmt.Fprintf(b, "    %s\n", l)
	}
}

// Close writes the closing line and returns the first error of writing.
func (t *Text) Close(r *Report) error {
	if t.begun {
		t.print("\n")
	}
	verdict := t.good.Render("✓ all is well")
	switch {
	case r.Interrupted:
		verdict = t.bad.Render("× interrupted")
	case r.Counts.Failed > 0:
		verdict = t.bad.Render("× something is wrong")
	case r.Counts.Warnings > 0:
		verdict = t.warn.Render("! it works, with warnings")
	}
	t.print("%s: %d ok, %d %s, %d failed, %d skipped\n", verdict, r.Counts.OK, r.Counts.Warnings, plural(r.Counts.Warnings, "warning"), r.Counts.Failed, r.Counts.Skipped)
	return t.err
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func (t *Text) print(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// wrap breaks text at spaces into lines of at most columns characters; a longer
// word has a line of its own. There is at least one line.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
