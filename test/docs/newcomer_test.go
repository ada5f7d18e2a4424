//go:build e2e

package docs

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// step is a block of commands that a page asks its reader to run.
type step struct {
	page, commands string
	code           int  // of its last command
	until          bool // it runs until Ctrl-C
}

// A block is to be run if its first line says so: "sh run", "sh run exits 1" or
// "sh run until Ctrl-C".
var runnable = regexp.MustCompile("(?ms)^```sh run(?: exits (\\d+))?( until Ctrl-C)?\n(.*?)^```$")

func steps(t *testing.T, page string) (found []step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range runnable.FindAllStringSubmatch(string(text), -1) {
		code, _ := strconv.Atoi(m[1]) // "" is 0
		found = append(found, step{page, m[3], code, m[2] != ""})
	}
	if said := strings.Count(string(text), "```sh run"); said != len(found) || said == 0 {
		t.Fatalf("%s: %d blocks are to be run, %d were understood", page, said, len(found))
	}
	return found
}

// newcomers are the pages that somebody reads who has just found the project.
var newcomers = []string{"README.md", "docs/getting-started.md"}

// notTyped are the blocks of these pages that are not commands, by their first
// line, and notRun what they name as a command in their text but in no block that
// is run; both with the reason.
var (
	notTyped = map[string]string{
		"Triton load test: bert v1 at triton/triton-infer": "a report; TestShownReport compares it with one of today",
	}
	notRun = map[string]string{
		"kubectl krew install triton":                "needs a release in the public index; test/release installs an archive with Krew itself",
		"kubectl triton bench bert --concurrency 16": "TestShownReport runs it",
		"kubectl triton dashboards":                  "names a group of commands; TestRBAC runs each of them",
		"make test":                                  "runs this test",
	}
)

var (
	anyBlock  = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	anyInline = regexp.MustCompile("`([^`\n]+)`")
	command   = regexp.MustCompile(`^(kubectl|make|bin/\S+|go|helm|curl|eval|export) `)
)

// TestNewcomerReadsNothingElse: what the pages tell a newcomer to type is run by
// TestNewcomer, or listed here with the reason.
func TestNewcomerReadsNothingElse(t *testing.T) {
	var all strings.Builder
	for _, page := range newcomers {
		for _, s := range steps(t, page) {
			all.WriteString(s.commands)
		}
	}
	met := map[string]bool{}
	for _, page := range newcomers {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, m := range anyBlock.FindAllStringSubmatch(text, -1) {
			first, _, _ := strings.Cut(m[2], "\n")
			if met[first] = true; !strings.HasPrefix(m[1], "sh run") && notTyped[first] == "" {
				t.Errorf("%s: the block that begins with %q is neither run (\"sh run\") nor listed in notTyped", page, first)
			}
		}
		for _, m := range anyInline.FindAllStringSubmatch(anyBlock.ReplaceAllString(text, ""), -1) {
			if !command.MatchString(m[1]) {
				continue
			}
			if met[m[1]] = true; !strings.Contains(all.String(), m[1]) && notRun[m[1]] == "" {
				t.Errorf("%s: %q is in no block that is run, nor listed in notRun", page, m[1])
			}
		}
	}
	for _, listed := range slices.Concat(slices.Collect(maps.Keys(notTyped)), slices.Collect(maps.Keys(notRun))) {
		if !met[listed] {
			t.Errorf("%q is listed and on no page any more", listed)
		}
	}
}

// TestNewcomer goes the way of somebody who has just found the project: README,
// then getting started, every command as printed, on a cluster that has a Triton
// and no monitoring. Only the charts come from the sandbox, as a site's mirror.
func TestNewcomer(t *testing.T) {
	home, dir, tmp := t.TempDir(), t.TempDir(), t.TempDir()
	// Sandboxes lie in the temporary directory: those that README starts, one of
	// them without a name, are apart from all others.
	env := append(os.Environ(), "HOME="+home, "TMPDIR="+tmp, "KUBECONFIG="+sandbox.Kubeconfig, "PATH="+sandbox.Bin+":"+os.Getenv("PATH"), "KUBECTL_TRITON_CHART_REPO="+charts)
	// The reader's Go keeps its caches where they are.
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	own := func(args ...string) harness.Outcome {
		cmd := exec.Command(filepath.Join(sandbox.Bin, "sandbox"), args...)
		cmd.Env = env
		return harness.Finish(t, cmd)
	}
	t.Cleanup(func() { own("down", "--all") })
	for _, page := range newcomers {
		for _, s := range steps(t, page) {
			where := dir
			if page == "README.md" {
				where = root // it is the page of a clone
			}
			follow(t, s, where, env)
			if o := own("status", "-o", "json"); !strings.Contains(o.Stdout, `"instances": []`) {
				t.Errorf("%s leaves a sandbox behind: %s%s, after\n%s", s.page, o.Stdout, o.Stderr, s.commands)
			}
			if t.Failed() {
				return
			}
		}
	}
}

func follow(t *testing.T, s step, dir string, env []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", s.commands)
	if s.until {
		cmd = exec.CommandContext(t.Context(), "bash", "-c", "exec "+s.commands)
	}
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, 10*time.Second
	if !s.until {
		o := harness.Finish(t, cmd)
		t.Logf("%s\n%s%s(%s)", s.commands, o.Stdout, o.Stderr, o.Took.Round(10*time.Millisecond))
		if o.Code != s.code {
			t.Errorf("%s: exit code %d, want %d, of\n%s", s.page, o.Code, s.code, s.commands)
		}
		return
	}
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, s.commands, func() bool { return strings.Contains(said.String(), "until Ctrl-C") })
	_ = cmd.Process.Signal(syscall.SIGINT) // the exit code tells
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v at the end of\n%s%s", s.page, err, s.commands, said.String())
	}
	t.Logf("%s\n%s", s.commands, said.String())
}
