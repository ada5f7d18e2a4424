//go:build e2e

package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// shells are a tree of Debian's packages, unpacked for this test alone.
type shells struct {
	root string
	env  []string
}

// newShells fetches what this machine lacks; where it can't, the test of that
// shell is skipped.
func newShells(t *testing.T) *shells {
	t.Helper()
	s := &shells{root: t.TempDir()}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	get := exec.CommandContext(ctx, "apt-get", "download", "bash-completion", "zsh", "zsh-common", "fish", "fish-common", "libpcre2-32-0")
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		t.Logf("shells can't be fetched: %v\n%s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", p, s.root).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", p, err, out)
		}
	}
	libraries, err := filepath.Glob(filepath.Join(s.root, "usr/lib/*-linux-gnu"))
	if err != nil {
		t.Fatal(err)
	}
	// The shim as docs/completion.md has it installed.
	path := t.TempDir()
	shim := sandbox.Must(t, "kubectl-triton", "completion", "kubectl")
	if err := os.WriteFile(filepath.Join(path, "kubectl_complete-triton"), []byte(shim), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + sandbox.Kubeconfig, "PATH=" + path + ":" + sandbox.Bin + ":" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}
	return s
}

// file is one of a package, or of this machine; "" if neither has it.
func (s *shells) file(names ...string) string {
	for _, name := range names {
		for _, root := range []string{s.root, "/"} {
			if found, err := filepath.Glob(filepath.Join(root, name)); err == nil && len(found) > 0 {
				return found[0]
			}
		}
	}
	return ""
}

func (s *shells) run(t *testing.T, stdin string, env []string, name string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin = slices.Concat(s.env, env), strings.NewReader(stdin)
	o := harness.Finish(t, cmd)
	if o.Code != 0 || o.Stderr != "" {
		t.Fatalf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	return strings.Split(strings.TrimSpace(o.Stdout), "\n")
}

// pressed are lines as they are typed before a Tab, and the only word that fits.
func pressed(t *testing.T) [][2]string {
	context := strings.TrimSpace(sandbox.Must(t, "kubectl", "config", "current-context"))
	return [][2]string{
		{"kubectl triton ben", "bench"},
		{"kubectl triton bench res", "resnet50"},                        // a model
		{"kubectl triton bench -n tri", "triton"},                       // a namespace
		{"kubectl triton bench --context " + context[:1], context},      // a context
		{"kubectl triton bench --service triton-", "triton-infer"},      // a Service
		{"kubectl triton bench -o perf", "perf-analyzer-csv"},           // a format
		{"kubectl triton observe open prom", "prometheus"},              // a choice
		{"kubectl triton nodes gpu-node-1", "gpu-node-1"},               // a node
		{"kubectl triton observe up --stack-namespace defa", "default"}, // another flag's namespace
	}
}

// TestShells: real shells complete the plugin's words through kubectl.
func TestShells(t *testing.T) {
	s := newShells(t)
	lines := pressed(t)
	t.Run("bash", func(t *testing.T) {
		completion := s.file("usr/share/bash-completion/bash_completion")
		if completion == "" {
			t.Skip("kubectl's completion needs the package bash-completion")
		}
		var stdin strings.Builder
		var want []string
		for _, l := range lines {
			stdin.WriteString(l[0] + "\n")
			want = append(want, l[1], ".")
		}
		if got := s.run(t, stdin.String(), []string{"BASH_COMPLETION=" + completion}, "bash", "--norc", "testdata/complete.bash"); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("fish", func(t *testing.T) {
		fish := s.file("usr/bin/fish")
		if fish == "" {
			t.Skip("there is no fish, and Debian's can't be fetched")
		}
		script := "kubectl completion fish | source\n"
		var want []string
		for _, l := range lines {
			script += "complete -C '" + l[0] + "' | string split -f 1 \\t\n"
			want = append(want, l[1])
		}
		script += "true" // split says that there was no description
		if got := s.run(t, "", nil, fish, "--no-config", "-c", script); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("zsh", func(t *testing.T) {
		zsh := s.file("bin/zsh", "usr/bin/zsh")
		if zsh == "" {
			t.Skip("there is no zsh, and Debian's can't be fetched")
		}
		env := []string{"ZSH=" + zsh}
		if strings.HasPrefix(zsh, s.root) {
			env = append(env, "ZSH_MODULES="+s.file("usr/lib/*-linux-gnu/zsh/*"), "ZSH_FUNCTIONS="+s.file("usr/share/zsh/functions"))
		}
		var stdin strings.Builder
		var want []string
		for _, l := range lines {
			words := strings.Split(l[0], " ")
			whole := strings.Join(append(words[len(words)-2:len(words)-1], l[1]), " ")
			stdin.WriteString(l[0] + "=" + whole + "\n")
			want = append(want, whole)
		}
		if got := s.run(t, stdin.String(), env, zsh, "-f", "testdata/complete.zsh"); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("powershell", func(t *testing.T) {
		pwsh, err := exec.LookPath("pwsh")
		if err != nil {
			t.Skip("there is no PowerShell here; its script is generated by the same library and only looked at (test/e2e)")
		}
		script := "kubectl completion powershell | Out-String | Invoke-Expression\n"
		var want []string
		for _, l := range lines {
			script += "(TabExpansion2 -inputScript '" + l[0] + "' -cursorColumn " + "('" + l[0] + "').Length).CompletionMatches.CompletionText.Trim()\n"
			want = append(want, l[1])
		}
		if got := s.run(t, "", nil, pwsh, "-NoProfile", "-Command", script); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
