package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

const stackLabelWidth = 22

// StackText writes the one-screen form of s. wide adds each object.
func StackText(w io.Writer, r *lipgloss.Renderer, s *Stack, wide bool) error {
	t := &screen{palette: newPalette(r)}
	t.stackTitle(s)
	for _, c := range s.Components {
		t.stackComponent(c, wide || s.Command == "plan" || s.Command == "down", wide)
	}
	if len(s.Checks) > 0 {
		t.section("Checks", "")
		for _, c := range s.Checks {
			t.stackCheck(c)
		}
	}
	if len(s.Notes) > 0 {
		t.section("Notes", "")
		for _, n := range s.Notes {
			t.bullet("·", n)
		}
	}
	if len(s.Next) > 0 {
		t.section("Next", "")
		for _, n := range s.Next {
			t.line("  %s", n)
		}
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (t *screen) stackTitle(s *Stack) {
	verdict, style := "healthy", t.good
	switch {
	case s.Command == "plan" && s.onlyRemoves() && s.Changed:
		verdict, style = "would be removed", t.warn
	case s.Command == "plan" && s.onlyRemoves():
		verdict, style = "nothing to remove", t.good
	case s.Command == "plan" && s.Changed:
		verdict, style = "would change", t.warn
	case s.Command == "plan":
		verdict, style = "nothing to change", t.good
	case s.Command == "down" && !s.Changed:
		verdict, style = "nothing to remove", t.good
	case s.Command == "down":
		verdict, style = "removed", t.good
	case !s.Healthy:
		verdict, style = "not healthy", t.bad
	}
	where := "namespace " + s.Namespace
	if s.Context != "" {
		where += ", context " + s.Context
	}
	t.line("%s %s", t.heading.Render("Observability stack:"), style.Render(verdict))
	t.line("  %s", t.label.Render(where))
	t.line("")
}

// onlyRemoves says whether a plan is one of "observe down": one of "observe up"
// has parts that it makes or finds.
func (s *Stack) onlyRemoves() bool {
	return !slices.ContainsFunc(s.Components, func(c StackComponent) bool { return c.Action != "delete" && c.Action != "keep" })
}

// mark is the sign of an action or a state.
func (t *screen) mark(word string) string {
	switch word {
	case CheckOK, "unchanged", "reuse", "done":
		return t.good.Render("✓")
	case "create":
		return t.good.Render("+")
	case "change", "installing":
		return t.warn.Render("~")
	case "delete", "deleted":
		return t.warn.Render("-")
	case CheckFailed:
		return t.bad.Render("×")
	case CheckPending:
		return t.warn.Render("…")
	case "keep", CheckSkipped:
		return t.label.Render("·")
	}
	return t.warn.Render("?")
}

func (t *screen) marked(mark, label, text string) {
	for i, l := range Fold(text, Width-4-stackLabelWidth) {
		if i > 0 {
			mark, label = " ", ""
		}
		t.line("%s %-*s %s", mark, stackLabelWidth, label, l)
	}
}

func (t *screen) stackComponent(c StackComponent, objects, wide bool) {
	text := c.Action
	if c.Note != "" {
		text += ", " + c.Note
	}
	t.marked(t.mark(c.Action), c.Name, text)
	for _, w := range c.Workloads {
		if w.Done && !wide && w.Reason == "" {
			continue
		}
		state := fmt.Sprintf("%s %s %d of %d ready", w.Kind, w.Name, w.Ready, w.Desired)
		if w.Reason != "" {
			state += ": " + w.Reason
		}
		t.indented(state)
	}
	for _, o := range c.Objects {
		if !objects || !wide && (o.Action == "unchanged" || o.Action == "reuse") {
			continue
		}
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + name
		}
		t.line("    %s %s %s", t.mark(o.Action), o.Kind, name)
		if o.Note != "" {
			for _, l := range Fold(o.Note, Width-8) {
				t.line("        %s", t.label.Render(l))
			}
		}
	}
	for _, o := range c.Objects {
		if o.Diff != "" {
			t.diff(o.Diff)
		}
	}
}

func (t *screen) indented(text string) {
	for i, l := range Fold(text, Width-6) {
		if i > 0 {
			l = "  " + l
		}
		t.line("    %s", l)
	}
}

func (t *screen) diff(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "+"):
			line = t.good.Bold(false).Render(line)
		case strings.HasPrefix(line, "-"):
			line = t.bad.Bold(false).Render(line)
		case strings.HasPrefix(line, "@@"):
			line = t.label.Render(line)
		}
		t.line("    %s", line)
	}
}

func (t *screen) stackCheck(c StackCheck) {
	t.marked(t.mark(c.State), c.Name, c.Detail)
	if c.Fix != "" && c.State != CheckOK {
		// Whole, so that a command in it can be copied.
		t.line("    %s %s", t.label.Render("→"), c.Fix)
	}
}
