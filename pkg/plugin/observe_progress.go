package plugin

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// stackProgress tells how the parts of the stack come along: a line for each
// thing that is done, and on a terminal one line, redrawn, for what is being
// waited for. Safe for use by several goroutines.
type stackProgress struct {
	mu      sync.Mutex
	w       io.Writer
	live    bool
	drawn   bool
	columns int
	begin   time.Time
	said    map[string]string
	waiting []string // what each component waits for, in the order of appearance
	texts   map[string]string
	told    map[string]time.Time

	good, bad, faint lipgloss.Style
}

func newStackProgress(w io.Writer) *stackProgress {
	p := &stackProgress{w: w, columns: report.Width, begin: time.Now(), said: map[string]string{}, texts: map[string]string{}, told: map[string]time.Time{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.live = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			p.columns = width
		}
	}
	r := lipgloss.NewRenderer(w)
	p.good = r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "28", Dark: "78"})
	p.bad = r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "160", Dark: "203"})
	p.faint = r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "240", Dark: "245"})
	return p
}

// step says a line of its own.
func (p *stackProgress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line(p.faint.Render(fmt.Sprintf(format, args...)))
}

// report fits stack.Report.
func (p *stackProgress) report(component, text string, done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.settle(component)
		p.line(p.bad.Render("×") + " " + component + ": " + firstLine(err.Error()))
	case done:
		p.settle(component)
		if p.said[component] != text {
			p.said[component] = text
			p.line(p.good.Render("✓") + " " + component + ": " + text)
		}
	default:
		p.wait(component, text)
	}
}

func (p *stackProgress) wait(component, text string) {
	_, known := p.texts[component]
	if !known {
		p.waiting = append(p.waiting, component)
	}
	changed := p.texts[component] != text
	p.texts[component] = text
	if p.live {
		p.draw()
		return
	}
	// A log wants what is being waited for, not each step of it.
	if !known || changed && time.Since(p.told[component]) > tellEvery {
		p.told[component] = time.Now()
		p.line(p.faint.Render("… " + component + ": " + shorten(text, longestWait)))
	}
}

const (
	// tellEvery is how often a pipe hears of the same component again.
	tellEvery = 10 * time.Second
	// longestWait is how much of a reason a pipe hears, in characters.
	longestWait = 300
)

func (p *stackProgress) settle(component string) {
	delete(p.texts, component)
	for i, w := range p.waiting {
		if w == component {
			p.waiting = append(p.waiting[:i:i], p.waiting[i+1:]...)
			break
		}
	}
}

func (p *stackProgress) line(text string) {
	p.clear()
	fmt.Fprintf(p.w, "%s %s\n", p.faint.Render(fmt.Sprintf("[%5.1fs]", time.Since(p.begin).Seconds())), text)
	p.draw()
}

// draw shows what is being waited for.
func (p *stackProgress) draw() {
	if !p.live || len(p.waiting) == 0 {
		return
	}
	p.clear()
	component := p.waiting[0]
	text := fmt.Sprintf("[%5.1fs] … %s: %s", time.Since(p.begin).Seconds(), component, p.texts[component])
	if more := len(p.waiting) - 1; more > 0 {
		text = fmt.Sprintf("%s (and %d more)", text, more)
	}
	fmt.Fprint(p.w, p.faint.Render(shorten(text, p.columns-1)))
	p.drawn = true
}

func (p *stackProgress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// done removes the waiting line.
func (p *stackProgress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, p.texts = nil, map[string]string{}
	p.clear()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
