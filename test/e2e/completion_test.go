//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shimDir is a directory with the plugin and the shim as a person installs them.
func shimDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	shim := plugin(t, "completion", "kubectl")
	if shim.code != 0 {
		t.Fatal(shim.stderr)
	}
	must(t, func() error {
		return os.WriteFile(filepath.Join(dir, "kubectl_complete-triton"), []byte(shim.stdout), 0o755)
	})
	must(t, func() error {
		return os.Symlink(filepath.Join(binDir, "kubectl-triton"), filepath.Join(dir, "kubectl-triton"))
	})
	return dir
}

// TestCompletion: stock kubectl completes the plugin's words by the shim on PATH.
func TestCompletion(t *testing.T) {
	pod := readyPod(t, "triton", "app=triton-infer")
	dir := shimDir(t)
	context := strings.TrimSpace(finish(t, command(t.Context(), "kubectl", nil, "config", "current-context")).stdout)
	complete := func(t *testing.T, env []string, words ...string) ([]string, string, time.Duration) {
		t.Helper()
		o := finish(t, command(t.Context(), "kubectl", append([]string{"PATH=" + dir + ":/usr/bin:/bin"}, env...), append([]string{"__complete", "triton"}, words...)...))
		lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
		last := lines[len(lines)-1]
		if o.code != 0 || !strings.HasPrefix(last, ":") {
			t.Fatalf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
		}
		var values []string
		for _, l := range lines[:len(lines)-1] {
			value, _, _ := strings.Cut(l, "\t")
			values = append(values, value)
		}
		return values, last, o.took
	}
	const none, files = ":4", ":0"
	for _, c := range []struct {
		words     []string
		want      []string // exactly, unless it begins with "…"
		directive string
	}{
		{[]string{"mod"}, []string{"models"}, none},
		{[]string{"models", ""}, []string{"…", "list", "load", "unload", "steady"}, none},
		{[]string{"bench", ""}, []string{"flaky", "lapsing", "mixed", "queueing", "steady", "tally", "words"}, none},
		{[]string{"bench", "st"}, []string{"steady"}, none},
		{[]string{"bench", "steady", ""}, nil, none},
		{[]string{"bench", "--model", "q"}, []string{"queueing"}, none},
		{[]string{"bench", "--service", "nope", ""}, nil, none},
		{[]string{"models", "load", "f"}, []string{"flaky"}, none},
		{[]string{"models", "--pod", ""}, []string{pod.Name}, none},
		{[]string{"bench", "--service", ""}, []string{"triton-infer"}, none},
		{[]string{"bench", "-n", "monitoring", "--service", ""}, nil, none},
		{[]string{"bench", "-n", "tri"}, []string{"triton"}, none},
		{[]string{"bench", "--stack-namespace", "mon"}, []string{"monitoring"}, none},
		{[]string{"bench", "--context", ""}, []string{context}, none},
		{[]string{"bench", "--cluster", ""}, []string{"…"}, none},
		{[]string{"bench", "--user", ""}, []string{"…"}, none},
		{[]string{"bench", "--protocol", ""}, []string{"http", "grpc"}, none},
		{[]string{"bench", "--transport", "w"}, []string{"websocket"}, none},
		{[]string{"bench", "--input-data", ""}, []string{"random", "zero"}, files},
		{[]string{"bench", "-o", ""}, []string{"text", "json", "yaml", "perf-analyzer-csv"}, none},
		{[]string{"models", "-o", ""}, []string{"table", "wide", "json", "yaml", "name"}, none},
		{[]string{"observe", "open", ""}, []string{"grafana", "prometheus", "alertmanager", "triton"}, none},
		{[]string{"observe", "open", "--dashboard", "gpu"}, []string{"gpu-dashboard"}, none},
		{[]string{"observe", "up", "--profile", ""}, []string{"lite", "standard", "full"}, none},
		{[]string{"nodes", ""}, []string{"…", "label", "gpu-node-0"}, none},
		{[]string{"completion", "z"}, []string{"zsh"}, none},
	} {
		t.Run(strings.Join(c.words, " "), func(t *testing.T) {
			got, directive, _ := complete(t, nil, c.words...)
			if directive != c.directive {
				t.Errorf("the directive is %s, want %s", directive, c.directive)
			}
			if len(c.want) > 0 && c.want[0] == "…" {
				for _, w := range c.want[1:] {
					if !slices.Contains(got, w) {
						t.Errorf("%s is not among %q", w, got)
					}
				}
				if len(got) == 0 {
					t.Error("there is nothing to choose")
				}
			} else if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// A cluster that can't be asked gives nothing, soon and without a word.
	for name, address := range map[string]string{"dead": deadAddress(t), "silent": silentAddress(t)} {
		env := []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+address, "")}
		if got, directive, took := complete(t, env, "bench", ""); len(got) != 0 || directive != none || took > 4*time.Second {
			t.Errorf("a %s API server: %q, %s after %s", name, got, directive, took)
		}
	}
}

// TestCompletionScripts: the scripts for kubectl-triton itself are what each
// shell takes.
func TestCompletionScripts(t *testing.T) {
	for shell, want := range map[string]string{"bash": "complete -o default -F __start_kubectl-triton", "zsh": "#compdef kubectl-triton", "fish": "complete -c kubectl-triton", "powershell": "Register-ArgumentCompleter -CommandName 'kubectl-triton'"} {
		if o := plugin(t, "completion", shell); o.code != 0 || !strings.Contains(o.stdout, want) {
			t.Errorf("%s: exit code %d, %q is not in the script", shell, o.code, want)
		}
	}
	if o := plugin(t, "completion", "tcsh"); o.code != 2 {
		t.Errorf("tcsh: exit code %d: %s", o.code, o.stderr)
	}
}

// TestVersion: the versions of all parts, and what happens without a cluster.
func TestVersion(t *testing.T) {
	readyPod(t, "triton", "app=triton-infer")
	var r struct {
		Schema     string
		Plugin     struct{ Version, Commit, Date, Go, Helm, Platform string }
		Kubernetes *struct{ Version, Problem string }
		Triton     *struct {
			Versions []string
			Service  string
		}
	}
	read := func(env []string, args ...string) {
		t.Helper()
		o := finish(t, command(t.Context(), "kubectl-triton", env, append([]string{"version", "-o", "json"}, args...)...))
		r.Kubernetes, r.Triton = nil, nil
		if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || o.code != 0 || o.took > 5*time.Second {
			t.Fatalf("%v, exit code %d after %s: %s%s", err, o.code, o.took, o.stdout, o.stderr)
		}
	}
	read(nil)
	if r.Schema != "kubectl-triton/version/v1" || r.Plugin.Version == "" || !strings.HasPrefix(r.Plugin.Go, "go1.") || !strings.HasPrefix(r.Plugin.Helm, "v3.") || r.Plugin.Platform == "" {
		t.Errorf("the plugin is %+v", r.Plugin)
	}
	if r.Kubernetes == nil || r.Kubernetes.Version != "v1.37.2" || r.Triton == nil || !slices.Equal(r.Triton.Versions, []string{"2.70.0"}) || r.Triton.Service != "triton-infer" {
		t.Errorf("%+v, %+v", r.Kubernetes, r.Triton)
	}
	if read(nil, "--client"); r.Kubernetes != nil || r.Triton != nil {
		t.Errorf("with --client: %+v, %+v", r.Kubernetes, r.Triton)
	}
	read([]string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+silentAddress(t), "")})
	if r.Kubernetes == nil || !strings.Contains(r.Kubernetes.Problem, "did not answer in time") || r.Triton != nil {
		t.Errorf("of a silent API server: %+v, %+v", r.Kubernetes, r.Triton)
	}
}
