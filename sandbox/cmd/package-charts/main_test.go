package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/repo"
)

// TestRepository packages the sandbox's own charts twice and reads the result
// as Helm does.
func TestRepository(t *testing.T) {
	crds := t.TempDir()
	if err := os.WriteFile(filepath.Join(crds, "crd.yaml"), []byte("kind: CustomResourceDefinition\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	for _, destination := range []string{first, second} {
		if err := run("../../charts", crds, destination); err != nil {
			t.Fatal(err)
		}
	}
	index, err := repo.LoadIndexFile(filepath.Join(first, "index.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]string{"kube-prometheus-stack": "88.5.3", "dcgm-exporter": "4.8.2"} {
		entry, err := index.Get(name, version)
		if err != nil {
			t.Errorf("%s %s: %v", name, version, err)
			continue
		}
		chart, err := loader.Load(filepath.Join(first, entry.URLs[0]))
		if err != nil {
			t.Errorf("Helm can't read %s: %v", entry.URLs[0], err)
			continue
		}
		if want := map[string]int{"kube-prometheus-stack": 1}[name]; len(chart.CRDObjects()) != want {
			t.Errorf("%s holds %d files of definitions, want %d", name, len(chart.CRDObjects()), want)
		}
	}
	files, err := os.ReadDir(first)
	if err != nil || len(files) != 3 {
		t.Fatalf("the repository holds %v, %v; want two charts and the index", files, err)
	}
	for _, file := range files {
		a, errA := os.ReadFile(filepath.Join(first, file.Name()))
		b, errB := os.ReadFile(filepath.Join(second, file.Name()))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same twice: %v, %v", file.Name(), errA, errB)
		}
	}
}

func TestRefuses(t *testing.T) {
	crds, source := t.TempDir(), t.TempDir()
	if err := run(source, crds, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no custom resource definitions") {
		t.Errorf("without definitions: %v", err)
	}
	if err := os.WriteFile(filepath.Join(crds, "crd.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(source, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "x", "Chart.yaml"), []byte("name: y\nversion: 1.0.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(source, crds, t.TempDir()); err == nil || !strings.Contains(err.Error(), "must have the directory's name") {
		t.Errorf("a chart of another name: %v", err)
	}
	if err := run(source, crds, ""); err == nil {
		t.Error("without a destination it did something")
	}
}
