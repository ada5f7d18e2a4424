package triton

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// logger writes lines that look like Triton's.
type logger struct {
	mu  sync.Mutex
	out io.Writer
}

func newLogger(out io.Writer) *logger {
	if out == nil {
		out = io.Discard
	}
	return &logger{out: out}
}

func (l *logger) info(file string, line int, message string) { l.write('I', file, line, message) }

func (l *logger) error(file string, line int, message string) { l.write('E', file, line, message) }

func (l *logger) write(level byte, file string, line int, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.out, "%c%s %d %s:%d] %s\n", level, time.Now().UTC().Format("0102 15:04:05.000000"), os.Getpid(), file, line, message) // a log that can't be written can't be reported
}

func (l *logger) started(devices []core.Device) {
	l.info("pinned_memory_manager.cc", 277, fmt.Sprintf("Pinned memory pool is created with size %d", pinnedPoolBytes))
	for _, d := range devices {
		l.info("cuda_memory_manager.cc", 107, fmt.Sprintf("CUDA memory pool is created on device %d with size 67108864", d.Index))
		l.info("metrics.cc", 880, fmt.Sprintf("Collecting metrics for GPU %d: %s", d.Index, d.UUID))
	}
}

// models prints the table of what was loaded.
func (l *logger) models(index []core.IndexEntry) {
	rows := [][3]string{{"Model", "Version", "Status"}}
	for _, e := range index {
		status := e.State
		if e.Reason != "" {
			status += ": " + strings.TrimSpace(e.Reason)
		}
		if e.State != "" {
			rows = append(rows, [3]string{e.Name, e.Version, status})
		}
	}
	var width [3]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	rule := "+"
	for _, w := range width {
		rule += strings.Repeat("-", w+2) + "+"
	}
	var table strings.Builder
	table.WriteString("\n" + rule + "\n")
	for i, row := range rows {
		for k, cell := range row {
			fmt.Fprintf(&table, "| %-*s ", width[k], cell)
		}
		table.WriteString("|\n")
		if i == 0 {
			table.WriteString(rule + "\n")
		}
	}
	l.info("server.cc", 681, table.String()+rule+"\n")
}

// Signal notes the signal that ends the server.
func (s *Server) Signal(number int) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	_, _ = fmt.Fprintf(s.log.out, "Signal (%d) received.\n", number)
}
