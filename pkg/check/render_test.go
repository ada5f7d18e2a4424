package check

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update when the change is meant:\n%s", name, diff)
	}
}

func sample() *Report {
	r := &Report{
		Schema: Schema, ToolVersion: "v1.2.3", Time: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC), Context: "prod", TookSeconds: 1.5,
		Categories: []CategoryResult{
			{Name: "Kubernetes", Checks: []Result{
				{ID: "api-server", Description: "the API server answers", State: StateOK, Detail: "v1.37.2", TookSeconds: 0.01, Attempts: 1},
				{ID: "may-bench", Description: `you may run "kubectl triton bench"`, State: StateWarning, Attempts: 1, Findings: []Finding{
					{What: "you may not create pods/portforward in namespace triton (to reach Triton)", Command: "kubectl auth can-i --list -n triton", Level: Warning},
				}},
			}},
			{Name: "GPU nodes", Checks: []Result{
				{ID: "gpus-offered", Description: "the nodes offer their GPUs to pods", State: StateFailed, Attempts: 1, TookSeconds: 0.2, Findings: []Finding{
					{What: "1 GPU node (gpu-node-1) has NVIDIA hardware by label, but offers no GPU to pods", Why: "the device plugin is missing or not running, or the driver is not ready <&>",
						Command: "kubectl get pods --all-namespaces --output wide --field-selector spec.nodeName=gpu-node-1", Level: Fatal},
				}},
				{ID: "drivers", Description: "one driver version on all nodes", State: StateSkipped, SkipReason: "needs that the nodes offer their GPUs to pods"},
			}},
		},
	}
	r.count()
	return r
}

func render(t *testing.T, r *lipgloss.Renderer, short bool, report *Report) string {
	t.Helper()
	var b bytes.Buffer
	text := NewText(&b, r, short, "docs/check.md")
	for _, c := range report.Categories {
		text.Category(c)
	}
	if err := text.Close(report); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	plain := lipgloss.NewRenderer(io.Discard)
	for name, short := range map[string]bool{"table.txt": false, "short.txt": true} {
		text := render(t, plain, short, sample())
		golden(t, name, text)
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > width+1 && !strings.Contains(line, "→") {
				t.Errorf("%s: longer than %d columns: %q", name, width, line)
			}
		}
	}
	colour := lipgloss.NewRenderer(io.Discard)
	colour.SetColorProfile(termenv.ANSI256)
	if text := render(t, colour, false, sample()); !strings.Contains(text, "\x1b[") {
		t.Error("no colour where the renderer has them")
	}
	well := &Report{Categories: []CategoryResult{{Name: "c", Checks: []Result{{State: StateOK}}}}}
	well.count()
	if text := render(t, plain, true, well); text != "✓ all is well: 1 ok, 0 warnings, 0 failed, 0 skipped\n" {
		t.Errorf("short says %q when all is well", text)
	}
}

// TestTextFoldsSkips: many checks with one reason to be skipped are one line, a
// few are not.
func TestTextFoldsSkips(t *testing.T) {
	skipped := func(reason string, n int) []Result {
		var out []Result
		for range n {
			out = append(out, Result{State: StateSkipped, Description: "x", SkipReason: reason})
		}
		return out
	}
	r := &Report{Categories: []CategoryResult{{Name: "c", Checks: append(skipped("a", 3), skipped("b", 2)...)}}}
	r.count()
	want := "c\n-\n· 3 checks (skipped: a)\n· x (skipped: b)\n· x (skipped: b)\n\n✓ all is well: 0 ok, 0 warnings, 0 failed, 5 skipped\n"
	if text := render(t, lipgloss.NewRenderer(io.Discard), false, r); text != want {
		t.Errorf("%q", text)
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := JUnit(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", b.String())
	var back junitSuites
	if err := xml.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Tests != 4 || back.Failures != 1 || back.Skipped != 1 || len(back.Suites) != 2 || !strings.Contains(back.Suites[1].Cases[0].Failure.Text, "not ready <&>") {
		t.Errorf("%+v", back)
	}
}

func TestJSON(t *testing.T) {
	out, err := json.MarshalIndent(sample(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", string(out)+"\n")
}

func TestTextWriteError(t *testing.T) {
	text := NewText(brokenPipe{}, lipgloss.NewRenderer(io.Discard), false, "docs")
	r := sample()
	text.Category(r.Categories[0])
	if err := text.Close(r); err == nil {
		t.Error("a failed write was not reported")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestJUnitNamesTheFailure: a check that failed may have warnings before it.
func TestJUnitNamesTheFailure(t *testing.T) {
	r := &Report{Categories: []CategoryResult{{Name: "c", Checks: []Result{{ID: "x", State: StateFailed, Findings: []Finding{
		{What: "half of it is slow", Level: Warning}, {What: "it is down", Level: Fatal},
	}}}}}}
	var out bytes.Buffer
	if err := JUnit(&out, r); err != nil || !strings.Contains(out.String(), `<failure message="it is down">half of it is slow`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
