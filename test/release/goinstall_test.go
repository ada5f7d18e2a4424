//go:build e2e

package release

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/kubectl-triton/kubectl-triton"

// TestGoInstall installs the plugin by its module's name, from a module proxy
// that has the working tree as a version of it and everything else as ever. That
// fails where a go.mod has a replace, or needs a file outside its module.
func TestGoInstall(t *testing.T) {
	if *distFlag != "" {
		t.Skip("-dist names a release that is complete")
	}
	dir := t.TempDir()
	source(t, dir)
	commit := strings.TrimSpace(must(t, command(t.Context(), dir, "git", nil, "rev-parse", "--short=12", "HEAD")))
	version := "v0.0.1-c" + commit
	proxy := publish(t, dir, version)

	var env struct{ GOPROXY, GOMODCACHE, GOFLAGS string }
	if err := json.Unmarshal([]byte(must(t, command(t.Context(), dir, "go", nil, "env", "-json", "GOPROXY", "GOMODCACHE", "GOFLAGS"))), &env); err != nil {
		t.Fatal(err)
	}
	// The module cache is shared, for the sake of the others in it; what this
	// test adds goes again.
	t.Cleanup(func() {
		os.RemoveAll(filepath.Join(env.GOMODCACHE, module+"@"+version))
		os.RemoveAll(filepath.Join(env.GOMODCACHE, "cache", "download", module))
		os.Remove(filepath.Join(env.GOMODCACHE, filepath.Dir(module))) // when it is empty now
		os.Remove(filepath.Join(env.GOMODCACHE, "cache", "download", filepath.Dir(module)))
	})
	bin := t.TempDir()
	must(t, command(t.Context(), t.TempDir(), "go", []string{
		"GOBIN=" + bin, "GOPROXY=file://" + proxy + "," + env.GOPROXY, "GONOSUMDB=" + module, "GOFLAGS=" + env.GOFLAGS + " -modcacherw",
	}, "install", module+"/cmd/kubectl-triton@"+version))

	var said struct {
		Plugin struct{ Version, Go, Helm string }
	}
	out := must(t, command(t.Context(), bin, filepath.Join(bin, "kubectl-triton"), nil, "version", "--client", "-o", "json"))
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatal(err)
	}
	if v := said.Plugin; v.Version != version || v.Go == "" || !strings.HasPrefix(v.Helm, "v3.") {
		t.Errorf("version of a program that go install made: %+v, want %s", v, version)
	}
}

// publish makes a folder that the go command takes for a module proxy with one
// version of the module: its files without those of modules below it.
func publish(t *testing.T, dir, version string) (proxy string) {
	t.Helper()
	proxy = t.TempDir()
	folder := filepath.Join(proxy, module, "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	info, err := json.Marshal(map[string]string{"Version": version, "Time": "2026-01-02T03:04:05Z"})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": mustRead(t, filepath.Join(dir, "go.mod")),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(folder, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	files := strings.Split(strings.TrimSuffix(must(t, command(t.Context(), dir, "git", nil, "ls-files", "-z")), "\x00"), "\x00")
	var below []string
	for _, name := range files {
		if nested, ok := strings.CutSuffix(name, "/go.mod"); ok {
			below = append(below, nested+"/")
		}
	}
next:
	for _, name := range files {
		for _, b := range below {
			if strings.HasPrefix(name, b) {
				continue next
			}
		}
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(mustRead(t, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return proxy
}
