package plugin

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// repeatAfter is when a connection's failure that was told is told again.
const repeatAfter = 10 * time.Second

// openEvents tells what happens while a forward runs, on a terminal and on a
// pipe alike. Safe for use by several goroutines.
type openEvents struct {
	mu      sync.Mutex
	w       io.Writer
	faint   lipgloss.Style
	columns int  // of the terminal; 0 on a pipe, where an event is one line
	gone    bool // it was said that the target does not answer
	last    string
	lastAt  time.Time
}

func newOpenEvents(w io.Writer) *openEvents {
	e := &openEvents{w: w, faint: lipgloss.NewRenderer(w).NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "240", Dark: "245"})}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		e.columns = report.Width
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			e.columns = columns
		}
	}
	return e
}

const openLabelWidth = 9

// fact says "label    text".
func (e *openEvents) fact(label, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.write(openLabelWidth, label, fmt.Sprintf(format, args...))
}

// command says what can be copied: on a line of its own, never folded.
func (e *openEvents) command(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintln(e.w, e.faint.Render(text))
}

func (e *openEvents) printf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.line(fmt.Sprintf(format, args...))
}

func (e *openEvents) line(text string) { e.write(0, "", text) }

func (e *openEvents) write(indent int, label, text string) {
	lines := []string{text}
	if e.columns > 0 {
		lines = report.Fold(text, max(20, e.columns-indent))
	}
	for _, l := range lines {
		fmt.Fprintln(e.w, e.faint.Render(fmt.Sprintf("%-*s%s", indent, label, l)))
		label = ""
	}
}

// end leaves the line on which a terminal has echoed Ctrl-C.
func (e *openEvents) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.columns > 0 {
		fmt.Fprintln(e.w)
	}
}

// waiting says once per reason what the first answer is being waited for.
func (e *openEvents) waiting(t *openTarget, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text := reason.Error(); text != e.last {
		e.last = text
		e.line(fmt.Sprintf("waiting for %s: %s", t.title, text))
	}
}

func (e *openEvents) away(t *openTarget, pod portforward.PodRef, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.line(fmt.Sprintf("%s no longer answers from pod %s (%v); waiting for a pod that does", t.title, pod.Name, reason))
}

func (e *openEvents) back(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = false
	e.line(fmt.Sprintf(format, args...))
}

// connectionFailed hears of each forwarded connection that failed. While it is
// known that the target is away, that is no news.
func (e *openEvents) connectionFailed(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := err.Error()
	if e.gone || text == e.last && time.Since(e.lastAt) < repeatAfter {
		return
	}
	e.last, e.lastAt = text, time.Now()
	e.line("a connection failed: " + text)
}
