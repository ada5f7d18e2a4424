// Package architecture keeps the layout's rules: who may import whom.
package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kubectl-triton/kubectl-triton/"

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLibrariesDoNotKnowEachOther: the packages under pkg/ stand alone; only
// pkg/plugin wires them, only cmd imports pkg/plugin.
func TestLibrariesDoNotKnowEachOther(t *testing.T) {
	all := list(t)
	if len(all) < 8 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	library := func(path string) string {
		rest, ok := strings.CutPrefix(path, module+"pkg/")
		if !ok {
			return ""
		}
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	for _, p := range all {
		from := library(p.ImportPath)
		for _, i := range p.Imports {
			to := library(i)
			switch {
			case to == "plugin" && p.ImportPath != module+"cmd/kubectl-triton":
				t.Errorf("%s imports pkg/plugin; only cmd/kubectl-triton may", p.ImportPath)
			case from != "" && from != "plugin" && to != "" && to != from:
				t.Errorf("%s imports pkg/%s; libraries don't know each other", p.ImportPath, to)
			}
		}
	}
}

// TestBenchKnowsNoKubernetes: the load engine and the engine of checks have no
// idea of clusters, commands or protocols; Helm stays in pkg/stack.
func TestBenchKnowsNoKubernetes(t *testing.T) {
	for _, p := range list(t) {
		for _, i := range p.Imports {
			if slices.Contains([]string{module + "pkg/bench", module + "pkg/check"}, p.ImportPath) && slices.ContainsFunc([]string{"k8s.io/", "github.com/spf13/", "google.golang.org/grpc", "net/http"}, func(prefix string) bool { return strings.HasPrefix(i, prefix) }) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
			if strings.HasPrefix(i, "helm.sh/") && p.ImportPath != module+"pkg/stack" {
				t.Errorf("%s imports %s; only pkg/stack may", p.ImportPath, i)
			}
		}
	}
}
