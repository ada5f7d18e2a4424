//go:build e2e

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shownReport is the summary of a load test in the README.
var shownReport = regexp.MustCompile("(?ms)^```\n(Triton load test: .*?)^```$")

// TestShownReport: what the README shows as a report has the lines that a report
// has today.
func TestShownReport(t *testing.T) {
	installed(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := shownReport.FindStringSubmatch(string(text))
	if m == nil {
		t.Fatal("the README shows no report")
	}
	now := labels(sandbox.Must(t, "kubectl-triton", "bench", "bert", "--concurrency", "16", "--duration", "5s"))
	for label := range labels(m[1]) {
		if !now[label] {
			t.Errorf("a report has no line %q today; it has %v", label, now)
		}
	}
}

// labels are what begins the lines of a report, figures and what depends on them
// left out.
func labels(text string) map[string]bool {
	found := map[string]bool{}
	label := regexp.MustCompile(`^ {0,2}[A-Za-z][A-Za-z',]*( [a-z]+)*`)
	for line := range strings.Lines(text) {
		if l := strings.TrimSpace(label.FindString(line)); l != "" && !strings.HasPrefix(line, "   ") {
			found[l] = true
		}
	}
	return found
}
