package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// clock matches the time at the beginning of each line.
var clock = regexp.MustCompile(`\[ *[0-9.]+s\]`)

func timeless(text string) string { return clock.ReplaceAllString(text, "[t]") }

// tell is a run in which parts wait, come to an end and fail.
func tell(p *stackProgress) {
	p.step("looking at %s", "the cluster")
	p.report("CRDs", "create: 10 objects", false, nil)
	p.report("CRDs", "10 objects", true, nil)
	p.report("workloads", "0 of 2 ready", false, nil)
	p.report("Grafana", "no ready pod", false, nil)
	p.report("workloads", "0 of 2 ready", false, nil) // nothing new
	p.report("workloads", "1 of 2 ready", false, nil)
	p.report("Grafana", "", true, errors.New("it is not allowed\nsecond line"))
	p.report("workloads", "2 of 2 ready", true, nil)
	p.report("workloads", "2 of 2 ready", true, nil) // nothing new
	p.done()
}

func TestStackProgressOnAPipe(t *testing.T) {
	var b bytes.Buffer
	synctest.Test(t, func(*testing.T) {
		p := newStackProgress(&b)
		tell(p)
		// What changes often is told again after some seconds only.
		p.report("Prometheus", "NoPodReady", false, nil)
		p.report("Prometheus", "NoPodReady: starting", false, nil)
		time.Sleep(tellEvery + time.Second)
		p.report("Prometheus", "NoPodReady: "+strings.Repeat("x", longestWait), false, nil)
	})
	want := `[t] looking at the cluster
[t] … CRDs: create: 10 objects
[t] ✓ CRDs: 10 objects
[t] … workloads: 0 of 2 ready
[t] … Grafana: no ready pod
[t] × Grafana: it is not allowed
[t] ✓ workloads: 2 of 2 ready
[t] … Prometheus: NoPodReady
[t] … Prometheus: NoPodReady: ` + strings.Repeat("x", longestWait-len("NoPodReady: ")-1) + `…
`
	if got := timeless(b.String()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// onScreen is what a terminal of one line's height shows for each newline.
func onScreen(text string) (lines []string, last string) {
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		lines = append(lines, timeless(line))
	}
	return lines[:len(lines)-1], lines[len(lines)-1]
}

func TestStackProgressLive(t *testing.T) {
	var b bytes.Buffer
	p := newStackProgress(&b)
	p.live = true
	p.report("workloads", "0 of 2 ready", false, nil)
	p.report("Grafana", "no ready pod", false, nil)
	if _, last := onScreen(b.String()); last != "[t] … workloads: 0 of 2 ready (and 1 more)" {
		t.Errorf("waiting for two: %q", last)
	}
	p.report("workloads", "2 of 2 ready", true, nil)
	lines, last := onScreen(b.String())
	if strings.Join(lines, "|") != "[t] ✓ workloads: 2 of 2 ready" || last != "[t] … Grafana: no ready pod" {
		t.Errorf("got %q, then %q", lines, last)
	}
	p.report("Grafana", strings.Repeat("very ", 40)+"long", false, nil)
	raw := b.String()[strings.LastIndex(b.String(), "\r\x1b[K"):]
	if n := len([]rune(strings.TrimPrefix(raw, "\r\x1b[K"))); n >= p.columns {
		t.Errorf("the waiting line has %d columns of %d", n, p.columns)
	}
	p.done()
	if _, last := onScreen(b.String()); last != "" {
		t.Errorf("after its end there is %q", last)
	}
}

func TestStackProgressOfMany(t *testing.T) {
	var b bytes.Buffer
	p := newStackProgress(&b)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			name := fmt.Sprint("part ", i)
			p.report(name, "waits", false, nil)
			p.report(name, "done", true, nil)
		})
	}
	wg.Wait()
	if n := strings.Count(b.String(), "✓"); n != 20 {
		t.Errorf("%d of 20 are done:\n%s", n, b.String())
	}
}
