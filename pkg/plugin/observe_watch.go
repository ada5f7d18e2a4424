package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// watch looks again and again until ctx ends. A pipe gets one result after the
// other; on a terminal each takes the place of the last. A look that fails after
// one that did not, as while the API server is away, is shown and repeated.
func (o *ObserveStatusOptions) watch(ctx context.Context, c *cluster) error {
	s := newScreen(o.Out)
	if s != nil {
		defer fmt.Fprintln(o.Out) // the shell goes on below
	}
	seen := false
	for {
		r, err := o.look(ctx, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !seen:
			return err
		case err != nil:
			fmt.Fprintf(o.ErrOut, "%serror: %v\n", s.home(), err)
		case s == nil || o.Output != "table" && o.Output != "wide":
			err = printStack(&o.StackOptions, o.Output, r)
		default:
			var text strings.Builder
			if err = report.StackText(&text, s.renderer, r, o.Output == "wide"); err == nil {
				err = s.show(text.String(), fmt.Sprintf("Looked at %s, again every %s; Ctrl-C ends.", r.Time.Local().Format(time.TimeOnly), watchPause))
			}
		}
		if err != nil && !seen {
			return err
		}
		seen = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

// screen is a terminal whose contents are replaced; nil for anything else.
type screen struct {
	w        io.Writer
	size     func() (columns, rows int)
	renderer *lipgloss.Renderer
	faint    lipgloss.Style
}

func newScreen(w io.Writer) *screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	// One renderer: each would ask the terminal for its background.
	r := lipgloss.NewRenderer(w)
	return &screen{w: w, renderer: r, faint: r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "240", Dark: "245"}),
		size: func() (int, int) {
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 0, 0
			}
			return columns, rows
		}}
}

// The sequences of ECMA-48 that move to the first line, and clear to the end of
// the line and of the screen.
const (
	toHome      = "\x1b[H"
	clearLine   = "\x1b[K"
	clearScreen = "\x1b[J"
)

// home begins the screen anew.
func (s *screen) home() string {
	if s == nil {
		return ""
	}
	return toHome + clearScreen
}

// show replaces what the terminal shows without clearing it first, which would
// flicker. What has no place is left out at the end, so that the verdict stays.
func (s *screen) show(text, footer string) error {
	columns, rows := s.size()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	const below = 2 // an empty line and the footer; the cursor stays behind it
	if room := rows - below; rows > 0 && len(lines) > room {
		left := len(lines) - max(room, 0)
		lines = lines[:max(room, 0)]
		footer = fmt.Sprintf("%d more lines have no place. %s", left, footer)
	}
	if columns > 0 {
		footer = shorten(footer, columns-1)
	}
	var b strings.Builder
	b.WriteString(toHome)
	for _, line := range append(lines, "") {
		b.WriteString(line + clearLine + "\r\n")
	}
	b.WriteString(s.faint.Render(footer) + clearLine + clearScreen)
	_, err := io.WriteString(s.w, b.String())
	return err
}
