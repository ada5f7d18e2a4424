//go:build e2e

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// TestNewcomer goes the way of somebody who has just found the project: README,
// then getting started, every command as printed, on a cluster that has a Triton
// and no monitoring. Only the charts come from the sandbox, as a site's mirror.
func TestNewcomer(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "HOME="+home, "KUBECONFIG="+sandbox.Kubeconfig, "PATH="+sandbox.Bin+":"+os.Getenv("PATH"), "KUBECTL_TRITON_CHART_REPO="+charts)
	// The reader's Go keeps its caches where they are.
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	for _, page := range []string{"README.md", "docs/getting-started.md"} {
		for _, s := range steps(t, page) {
			where := dir
			if page == "README.md" {
				where = root // it is the page of a clone
			}
			follow(t, s, where, env)
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
