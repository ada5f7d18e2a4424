//go:build e2e

package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// examples are those in a command's help, a line each.
func examples(t *testing.T, command ...string) (found []string) {
	t.Helper()
	help := sandbox.Must(t, "kubectl-triton", append(command, "--help")...)
	_, text, ok := strings.Cut(help, "\nExamples:\n")
	if !ok {
		t.Fatalf("%v has no examples", command)
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "  ") {
			break // the next section
		}
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	return found
}

// TestExamples runs the examples that need charts, or files of their reader's, in
// an order in which each finds what it speaks of; getting started has run some of
// them already. The others are run by test/e2e.
func TestExamples(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "HOME="+home, "KUBECONFIG="+sandbox.Kubeconfig, "PATH="+sandbox.Bin+":"+os.Getenv("PATH"), "KUBECTL_TRITON_CHART_REPO="+charts)
	for _, made := range []string{filepath.Join(home, ".local/bin"), filepath.Join(dir, "dashboards")} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shipped, err := os.ReadFile(filepath.Join(root, "assets/grafana-dashboards/triton-latency.json"))
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.NewReplacer(`"uid": "triton-latency"`, `"uid": "triton-latency-mine"`, `"title": "Triton latency"`, `"title": "Mine"`).Replace(string(shipped))
	if !strings.Contains(mine, "triton-latency-mine") || !strings.Contains(mine, `"Mine"`) {
		t.Fatal("the shipped dashboard has another uid or title")
	}
	for _, file := range []string{"my-dashboard.json", "dashboards/mine.json"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(mine), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var done []string
	for _, s := range steps(t, "docs/getting-started.md") {
		done = append(done, strings.Split(strings.TrimSpace(s.commands), "\n")...)
	}
	for _, command := range []string{"observe pull", "observe render", "observe up", "observe status", "dashboards", "dashboards lint", "dashboards import", "dashboards export", "completion", "observe down"} {
		for _, line := range examples(t, strings.Fields(command)...) {
			if slices.Contains(done, line) {
				continue
			}
			done = append(done, line)
			follow(t, step{page: "the help of " + command, commands: line}, dir, env)
		}
	}
}
