// Package assets holds what the observability stack is set up with: values for
// the charts, dashboards and rules. The files are embedded, and usable by hand
// with plain helm, Grafana and Prometheus.
package assets

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed prometheus-values.yaml dcgm-values.yaml profiles/*.yaml platforms/*.yaml rules/*.yaml grafana-dashboards/*.json
var files embed.FS

// Dashboard is one Grafana dashboard in classic JSON.
type Dashboard struct {
	File  string // its name, such as triton-latency.json
	UID   string
	Title string
	JSON  []byte
}

// Dashboards are all dashboards, by file name.
func Dashboards() []Dashboard {
	var all []Dashboard
	for _, name := range list("grafana-dashboards") {
		d := Dashboard{File: name, JSON: read("grafana-dashboards/" + name)}
		var head struct{ UID, Title string }
		if err := json.Unmarshal(d.JSON, &head); err != nil {
			panic(fmt.Sprintf("the embedded dashboard %s is not JSON: %v", name, err))
		}
		d.UID, d.Title = head.UID, head.Title
		all = append(all, d)
	}
	return all
}

// RuleFile is one file of Prometheus rule groups.
type RuleFile struct {
	Name string // without extension, such as triton
	YAML []byte // {groups: […]}, as Prometheus itself reads it
}

// Rules are all files of recording rules and alerts, by name.
func Rules() []RuleFile {
	var all []RuleFile
	for _, name := range list("rules") {
		all = append(all, RuleFile{Name: strings.TrimSuffix(name, ".yaml"), YAML: read("rules/" + name)})
	}
	return all
}

// PrometheusValues are the values of the chart kube-prometheus-stack that hold
// whatever the profile and platform.
func PrometheusValues() []byte { return read("prometheus-values.yaml") }

// DCGMValues are the values of the chart dcgm-exporter.
func DCGMValues() []byte { return read("dcgm-values.yaml") }

// Profiles are the names of the profiles: full, lite, standard.
func Profiles() []string { return names("profiles") }

// Profile is a layer of values over PrometheusValues.
func Profile(name string) ([]byte, error) { return layer("profiles", "profile", name) }

// Platforms are the names of the managed clusters that need a layer of values:
// aks, eks, gke.
func Platforms() []string { return names("platforms") }

// Platform is a layer of values over a profile's.
func Platform(name string) ([]byte, error) { return layer("platforms", "platform", name) }

func layer(dir, kind, name string) ([]byte, error) {
	known := names(dir)
	if !slices.Contains(known, name) {
		return nil, fmt.Errorf("there is no %s %q; choose %s", kind, name, strings.Join(known, ", "))
	}
	return read(path.Join(dir, name+".yaml")), nil
}

func names(dir string) []string {
	all := list(dir)
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], ".yaml")
	}
	return all
}

// list and read can't fail: the files were embedded by the compiler, which
// refuses a pattern without a match.
func list(dir string) []string {
	entries, err := files.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	var all []string
	for _, e := range entries {
		if !e.IsDir() {
			all = append(all, e.Name())
		}
	}
	return all
}

func read(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}
