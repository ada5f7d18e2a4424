//go:build e2e

// Package release makes a release of the working tree, as a tag would, and
// installs it as its users do. It needs kubectl and what "make release-tools"
// builds. With -dist it checks what a complete "make release-snapshot" left.
package release

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var distFlag = flag.String("dist", "", "check this folder of a complete release in place of building linux/amd64")

// tag is the release that the tests make.
const tag = "v1.2.3"

// programs are the folder of what make builds, and of its release tools.
func programs(t testing.TB) (bin, tools string) {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	tools = filepath.Join(bin, "tools")
	for _, p := range []string{filepath.Join(bin, "kubectl"), filepath.Join(tools, "goreleaser"), filepath.Join(tools, "krew")} {
		if _, err := os.Stat(p); err != nil {
			t.Fatalf("%v; 'make kubectl release-tools' builds it", err)
		}
	}
	return bin, tools
}

// command prepares a program that sees the build's variables and nothing else of
// this process; env entries replace those.
func command(ctx context.Context, dir, program string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "CGO_") || name == "PATH" || name == "HOME" || name == "TMPDIR" {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// must runs a command that has to succeed and returns its standard output.
func must(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, &stdout, &stderr)
	}
	return stdout.String()
}

// source copies what git tracks or would track of the working tree into dir and
// makes it a repository with one commit, one tag and no remote. The commit's date
// is fixed: the same files are the same commit.
func source(t testing.TB, dir string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := must(t, command(t.Context(), root, "git", nil, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil || info.IsDir() {
			t.Fatalf("%s: not a file: %v", name, err)
		}
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch", "main"}, {"add", "--all"},
		{"commit", "--quiet", "--no-verify", "--message", "release"}, {"tag", tag},
	} {
		must(t, command(t.Context(), dir, "git", env, args...))
	}
}

// reduce writes a configuration with one platform only beside the repository and
// returns its path: six would compile Kubernetes' client five times more.
func reduce(t testing.TB, dir string) string {
	t.Helper()
	config := readMap(t, filepath.Join(dir, ".goreleaser.yaml"))
	for _, b := range config["builds"].([]any) {
		b := b.(map[string]any)
		b["goos"], b["goarch"] = []string{"linux"}, []string{"amd64"}
	}
	content, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "goreleaser.yaml")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readMap(t testing.TB, path string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := yaml.Unmarshal(content, &m); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// build makes the release of linux/amd64 in a copy of the working tree, with a
// remote of that name if there is one, and returns the folder with the results.
func build(t testing.TB, remote string, env ...string) (dist string) {
	t.Helper()
	_, tools := programs(t)
	dir := t.TempDir()
	source(t, dir)
	if remote != "" {
		must(t, command(t.Context(), dir, "git", nil, "remote", "add", remote, "https://example.org/never-reached.git"))
	}
	must(t, command(t.Context(), dir, "make", env, "goreleaser", "TOOLS="+tools,
		"ARGS=release --skip publish,announce --config "+reduce(t, dir)))
	return filepath.Join(dir, "dist")
}

// commit says of which commit a release has to be that lies in its repository.
type commit struct {
	hash string // with -dirty if not all is committed
	date time.Time
}

func commitOf(t testing.TB, dist string) commit {
	t.Helper()
	git := func(args ...string) string {
		return strings.TrimSpace(must(t, command(t.Context(), filepath.Dir(dist), "git", nil, args...)))
	}
	seconds, err := strconv.ParseInt(git("log", "-1", "--format=%ct"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c := commit{hash: git("rev-parse", "HEAD"), date: time.Unix(seconds, 0).UTC()}
	if git("status", "--porcelain") != "" {
		c.hash += "-dirty"
	}
	return c
}
