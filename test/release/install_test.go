//go:build e2e

package release

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// krew installs the plugin with kubectl and the real Krew into a home directory
// in which nothing was before; it returns that directory and the environment.
func krew(t *testing.T, dist string, p platform) (home string, env []string) {
	t.Helper()
	bin, tools := programs(t)
	home = t.TempDir()
	path := filepath.Join(home, "path") // only kubectl, and Krew as its plugin
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{"kubectl": filepath.Join(bin, "kubectl"), "kubectl-krew": filepath.Join(tools, "krew")} {
		if err := os.Symlink(from, filepath.Join(path, to)); err != nil {
			t.Fatal(err)
		}
	}
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatalf("Krew needs git: %v", err)
	}
	env = []string{
		"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none"), "KREW_NO_UPGRADE_CHECK=1",
		"KREW_OS=" + p.Selector.MatchLabels["os"], "KREW_ARCH=" + p.Selector.MatchLabels["arch"],
		"PATH=" + strings.Join([]string{filepath.Join(home, ".krew", "bin"), path, filepath.Dir(git)}, ":"),
	}
	archive := filepath.Join(dist, p.URI[strings.LastIndexByte(p.URI, '/')+1:])
	must(t, command(t.Context(), home, filepath.Join(path, "kubectl"), env, "krew", "install",
		"--manifest", filepath.Join(dist, "krew", "triton.yaml"), "--archive", archive))
	return home, env
}

// checkInstall installs every platform's archive as Krew does; that of this
// machine is run through kubectl and removed.
func checkInstall(t *testing.T, dist, tag string) {
	platforms := parse(t, mustRead(t, filepath.Join(dist, "krew", "triton.yaml"))).Spec.Platforms
	own := slices.IndexFunc(platforms, func(p platform) bool { return p.String() == runtime.GOOS+"/"+runtime.GOARCH })
	if own < 0 {
		t.Fatalf("there is no archive for %s/%s among %s", runtime.GOOS, runtime.GOARCH, names(platforms))
	}
	for i, p := range platforms {
		home, env := krew(t, dist, p)
		store := filepath.Join(home, ".krew", "store", "triton", tag)
		for _, name := range []string{p.Bin, "LICENSE"} {
			if _, err := os.Stat(filepath.Join(store, name)); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
		if i != own {
			continue
		}
		kubectl := func(args ...string) string {
			return must(t, command(t.Context(), home, filepath.Join(home, "path", "kubectl"), env, args...))
		}
		var said struct {
			Plugin struct{ Version, Commit, Date, Platform string }
		}
		if err := json.Unmarshal([]byte(kubectl("triton", "version", "--client", "-o", "json")), &said); err != nil {
			t.Fatal(err)
		}
		made := commitOf(t, dist)
		if v := said.Plugin; v.Version != tag || v.Commit != made.hash || v.Date != made.date.Format(time.RFC3339) || v.Platform != p.String() {
			t.Errorf("kubectl triton version: %+v, want %s of %+v", v, tag, made)
		}
		if help := kubectl("triton", "--help"); !strings.Contains(help, "kubectl triton [command]") && !strings.Contains(help, "kubectl triton bench") {
			t.Errorf("kubectl triton --help:\n%s", help)
		}
		if list := kubectl("plugin", "list", "--name-only"); !strings.Contains(list, "kubectl-triton\n") {
			t.Errorf("kubectl plugin list:\n%s", list)
		}
		// Krew asks for an index before it removes anything; an empty one is enough.
		must(t, command(t.Context(), home, "git", nil, "init", "--quiet", filepath.Join(home, ".krew", "index", "default")))
		kubectl("krew", "uninstall", "triton")
		for _, left := range []string{store, filepath.Join(home, ".krew", "bin", "kubectl-triton")} {
			if _, err := os.Lstat(left); !os.IsNotExist(err) {
				t.Errorf("after krew uninstall there is still %s (%v)", left, err)
			}
		}
	}
}
