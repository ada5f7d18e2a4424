package plugin

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// notes tells a person at a terminal what happens: one line per step and one
// progress line that is redrawn. On a pipe it says nothing. Safe for use by
// several goroutines.
type notes struct {
	mu      sync.Mutex
	w       io.Writer
	live    bool
	drawn   bool
	columns int
	faint   lipgloss.Style
}

func newNotes(streams genericiooptions.IOStreams) *notes {
	n := &notes{w: streams.ErrOut, columns: report.Width}
	if f, ok := streams.ErrOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		n.live = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			n.columns = w
		}
	}
	n.faint = lipgloss.NewRenderer(n.w).NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "240", Dark: "245"})
	return n
}

func (n *notes) step(format string, args ...any) {
	if !n.live {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
	fmt.Fprintf(n.w, "%s\n", n.faint.Render(fmt.Sprintf(format, args...)))
}

func (n *notes) progress(phase string, p bench.Progress) {
	if !n.live {
		return
	}
	elapsed := report.Seconds(p.Elapsed.Round(time.Second).Seconds())
	if p.Total > 0 {
		elapsed += " of " + report.Seconds(p.Total.Seconds())
	}
	line := fmt.Sprintf("%s %s  %s req/s  p99 %s  errors %s  in flight %d", phase, elapsed,
		report.Significant(p.RatePerSecond), report.Microseconds(float64(p.P99)/1e3), report.Count(p.Failed), p.InFlight)
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := []rune(line); len(r) >= n.columns {
		line = string(r[:n.columns-1])
	}
	n.clear()
	fmt.Fprint(n.w, line)
	n.drawn = true
}

// done removes the progress line.
func (n *notes) done() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
}

func (n *notes) clear() {
	if n.drawn {
		fmt.Fprint(n.w, "\r\x1b[K")
		n.drawn = false
	}
}
