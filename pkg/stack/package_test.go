package stack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// testChart is a chart with a subchart, CRDs in both, comments, and templates.
func testChart() Chart {
	return Chart{Name: "beacon", Version: "1.4.0", Release: "beacon", Why: "tests"}
}

func testFiles() map[string]string {
	return map[string]string{
		"Chart.yaml": `apiVersion: v2
name: beacon
version: 1.4.0
appVersion: v0.9.1
dependencies:
  - {name: lamp, version: "0.2.0", repository: "", condition: "lamp.enabled,lampEnabled"}
  - {name: horn, version: "0.1.0", repository: "", condition: horn.enabled}
`,
		"values.yaml": `## How the beacon is operated.
operator:
  replicas: 1
  resources:
    limits:
      cpu: 200m
  serviceMonitor:
    interval: 15s
    scrapeTimeout: 10s
  storage: {}
  ## Where what was seen is kept.
  # retentionSpec:
  #   size: 10GB
  # customFilter: |
  #   anything: goes
  script: |
    # notAKey: only a text
    text: too
  whole:
    one: 1
extraManifests: []
lamp:
  colour: red
horn:
  enabled: false
`,
		"crds/beacons.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: beacons.example.com}
---
# nothing but a comment
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: buoys.example.com}
`,
		"templates/_helpers.tpl": `{{ define "limits" }}{{ .sampleLimit }}{{ with .nested }}{{ .depth }}{{ end }}{{ end }}`,
		"templates/all.yaml": `{{ if .Values.operator.secretSwitch }}a{{ end }}
{{ include "limits" .Values.operator.serviceMonitor }}
{{ toYaml .Values.operator.whole }}
{{ $m := .Values.operator }}{{ $m.viaVariable }}
{{ index .Values "operator" "viaIndex" }}
{{ range .Values.extraManifests }}{{ tpl . $ }}{{ end }}`,
		"charts/lamp/Chart.yaml": "apiVersion: v2\nname: lamp\nversion: 0.2.0\n",
		"charts/lamp/values.yaml": `colour: white
brightness:
  lumen: 800
labels: {a: b}
`,
		"charts/lamp/crds/lamps.json": `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"lamps.example.com"}}`,
		"charts/horn/Chart.yaml":      "apiVersion: v2\nname: horn\nversion: 0.1.0\n",
		"charts/horn/values.yaml":     "volume: {db: 90}\n",
		"charts/horn/crds/horns.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: horns.example.com}\n",
	}
}

// pack makes a package of files under the folder of a chart's name.
func pack(t testing.TB, name string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name + "/" + file, Mode: 0o644, Size: int64(len(files[file]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[file])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testPackage(t testing.TB) []byte { return pack(t, "beacon", testFiles()) }

// unpack writes files below a directory.
func unpack(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func loaded(t testing.TB) *Package {
	t.Helper()
	p, err := newPackage(testChart(), testPackage(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
