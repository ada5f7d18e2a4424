//go:build e2e

// Package check runs "kubectl triton check" against a sandbox with the real
// stack, breaks one thing after the other and runs the commands that it then
// prints. It needs what "make e2e" builds.
package check

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

var (
	update  = flag.Bool("update", false, "write the golden files anew")
	sandbox *harness.Sandbox
	charts  string // URL of the sandbox's chart repository
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	wd, err := os.Getwd()
	if err == nil {
		sandbox, err = harness.Start(filepath.Join(wd, "..", "..", "bin"), "check", "--stack=false", "--audit")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := sandbox.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if err := install(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func install() error {
	out, err := exec.Command(filepath.Join(sandbox.Bin, "sandbox"), "charts", "--name", sandbox.Name).Output()
	if err != nil {
		return fmt.Errorf("no chart repository: %w", err)
	}
	charts = strings.TrimSpace(string(out))
	cmd := sandbox.Command(background(), "kubectl-triton", nil, "observe", "up", "--chart-repo", charts, "--timeout", "3m")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the stack could not be installed: %w\n%s", err, out)
	}
	return nil
}

// look runs "check -o json"; the exit code has to fit what it says.
func look(t *testing.T, args ...string) *check.Report {
	t.Helper()
	return lookAt(t, sandbox, args...)
}

func lookAt(t *testing.T, s *harness.Sandbox, args ...string) *check.Report {
	t.Helper()
	o := s.Run(t, "kubectl-triton", append([]string{"check", "-o", "json"}, args...)...)
	var r check.Report
	d := json.NewDecoder(strings.NewReader(o.Stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("exit code %d, not one JSON document of the schema: %v\n%s%s", o.Code, err, o.Stdout, o.Stderr)
	}
	if r.Schema != check.Schema || r.Success != (o.Code == 0) {
		t.Errorf("schema %q, success %v, exit code %d", r.Schema, r.Success, o.Code)
	}
	return &r
}

// result is one checker's.
func result(t *testing.T, r *check.Report, id string) check.Result {
	t.Helper()
	for _, c := range r.Categories {
		i := slices.IndexFunc(c.Checks, func(k check.Result) bool { return k.ID == id })
		if i >= 0 {
			return c.Checks[i]
		}
	}
	t.Fatalf("there is no check %s", id)
	return check.Result{}
}

// becomes looks until a check has a state, and what it says holds the words.
func becomes(t *testing.T, id string, state check.State, words ...string) check.Result {
	t.Helper()
	return becomesAt(t, sandbox, nil, id, state, words...)
}

func becomesAt(t *testing.T, s *harness.Sandbox, args []string, id string, state check.State, words ...string) check.Result {
	t.Helper()
	var k check.Result
	defer func() {
		if t.Failed() {
			t.Logf("last seen: %+v", k)
		}
	}()
	harness.Eventually(t, 90*time.Second, fmt.Sprintf("%s to be %s with %q", id, state, words), func() bool {
		k = result(t, lookAt(t, s, args...), id)
		said := fmt.Sprint(k.Findings, k.Detail)
		return k.State == state && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) })
	})
	return k
}

// well waits until nothing fails, so that the next test begins from there.
func well(t *testing.T) {
	t.Helper()
	if o := sandbox.Run(t, "kubectl-triton", "check", "--wait", "90s", "-o", "short"); o.Code != 0 {
		t.Fatalf("all is not well: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
}

// obey runs the command of a finding as a person would, with the stock kubectl;
// more are arguments that stand for a terminal's answers and this machine's charts.
func obey(t *testing.T, k check.Result, more ...string) {
	t.Helper()
	obeyAt(t, sandbox, k, more...)
}

func obeyAt(t *testing.T, s *harness.Sandbox, k check.Result, more ...string) {
	t.Helper()
	if len(k.Findings) == 0 || k.Findings[0].Command == "" {
		t.Fatalf("%s names no command: %+v", k.ID, k)
	}
	line := strings.Join(append([]string{k.Findings[0].Command}, more...), " ")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Env = s.Command(t.Context(), "kubectl", []string{"PATH=" + s.Bin + ":" + os.Getenv("PATH")}).Env
	if o := harness.Finish(t, cmd); o.Code != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", line, o.Code, o.Stdout, o.Stderr)
	}
}

// changing are the parts of names that differ from run to run.
var changing = regexp.MustCompile(`(triton-infer|dcgm-exporter|prom-operator-grafana|newer|serving|silent)-[a-z0-9]{5,10}(-[a-z0-9]{5})?\b`)

// golden holds the exact words of one check.
func golden(t *testing.T, k check.Result) {
	t.Helper()
	goldenAs(t, t.Name(), k)
}

func goldenAs(t *testing.T, name string, k check.Result) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", k.State, k.Description)
	for _, f := range k.Findings {
		fmt.Fprintf(&b, "%s\n%s\n→ %s\n", f.What, f.Why, f.Command)
	}
	text := changing.ReplaceAllString(b.String(), "$1-POD")
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// idleNode is a GPU node without a Triton.
func idleNode(t *testing.T) string {
	t.Helper()
	pods, err := sandbox.Client.CoreV1().Pods("triton").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"gpu-node-0", "gpu-node-1"} {
		held := false
		for _, p := range pods.Items {
			held = held || p.Spec.NodeName == node
		}
		if !held {
			return node
		}
	}
	t.Fatal("every GPU node has a Triton")
	return ""
}

func patchNode(t *testing.T, name, patch string, subresources ...string) {
	t.Helper()
	if _, err := sandbox.Client.CoreV1().Nodes().Patch(background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...); err != nil {
		t.Fatal(err)
	}
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return sandbox.Must(t, "kubectl", args...)
}
