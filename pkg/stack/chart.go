package stack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Chart is one chart at the version that this plugin is tested with.
type Chart struct {
	Name       string // of the chart
	Version    string // exact, a semantic version
	Release    string // name of the Helm release
	Repository string // http(s) address of the chart repository; "" for none
	OCI        string // oci:// address of the chart, without a tag; "" for none
	Why        string // why this version
	// Digest is the SHA-256, in hex, of the package in its own repository and its own
	// registry; "" where only their index and manifest say it. A mirror's is not held
	// to it.
	Digest string
}

func (c Chart) String() string { return c.Name + " " + c.Version }

// fileName is what "helm package" calls the chart's package.
func (c Chart) fileName() string { return c.Name + "-" + c.Version + ".tgz" }

// PrometheusStackChart brings the operator, Prometheus, Alertmanager and Grafana.
func PrometheusStackChart() Chart {
	return Chart{
		Name:       "kube-prometheus-stack",
		Version:    "88.5.3",
		Release:    "prom-operator",
		Repository: "https://prometheus-community.github.io/helm-charts",
		OCI:        "oci://ghcr.io/prometheus-community/charts/kube-prometheus-stack",
		Why:        "the values and the dashboards are written for its prometheus-operator 0.93 and Grafana 13; a newer major version may rename either's values",
		Digest:     "3bff576f57c88f9fcac3286cc6e0d22ddaf7d7e1829c14a09257359f02ca64c9",
	}
}

// DCGMExporterChart brings NVIDIA's exporter of GPU metrics.
func DCGMExporterChart() Chart {
	return Chart{
		Name:       "dcgm-exporter",
		Version:    "4.8.2",
		Release:    "dcgm-exporter",
		Repository: "https://nvidia.github.io/dcgm-exporter/helm-charts",
		Why:        "from 4.9.0 the exporter renames 23 metrics, 11 of them with another unit, and changes the format of its values",
		Digest:     "1c5535c03ebab3f021444df6016fce1cd7871385122e115c6ed24c804b623803",
	}
}

// Package is a loaded chart.
type Package struct {
	Chart  Chart
	Origin string // where it came from, for people
	Digest string // SHA-256 of the package, in hex; "" for an unpacked directory

	chart *helmchart.Chart
}

// CorruptPackageError says that a package is not what its repository published,
// or can't be read as a chart.
type CorruptPackageError struct {
	Chart            Chart
	Origin           string
	Expected, Actual string // SHA-256 in hex; Expected is "" where nothing says it
	Pinned           bool   // Expected is Chart.Digest, not what the place says
	Err              error  // what is wrong with the content, if its digest isn't
}

func (e *CorruptPackageError) Error() string {
	if e.Err != nil {
		digest := ""
		if e.Actual != "" {
			digest = "; its SHA-256 is " + e.Actual
		}
		return fmt.Sprintf("the package of chart %s from %s is corrupt: %s%s. Fetch it again with 'kubectl triton observe pull', or ask whoever keeps that place", e.Chart, e.Origin, e.Err, digest)
	}
	if e.Pinned {
		return fmt.Sprintf("the package of chart %s from %s is not the one that this plugin was tested with: its SHA-256 is %s, and it should be %s; nothing was installed from it. Somebody has replaced it, there or on the way: ask whoever keeps that place or a proxy in between, and if you trust it fetch it with 'helm pull' and give its directory with --chart-dir", e.Chart, e.Origin, e.Actual, e.Expected)
	}
	return fmt.Sprintf("the package of chart %s from %s is not the one that was published there: its SHA-256 is %s, the index says %s; nothing was installed from it. Try again, and if it stays so ask whoever keeps that repository or a proxy in between", e.Chart, e.Origin, e.Actual, e.Expected)
}

func (e *CorruptPackageError) Unwrap() error { return e.Err }

// newPackage reads the content of a .tgz.
func newPackage(c Chart, data []byte, origin string) (*Package, error) {
	digest := digestOf(data)
	corrupt := func(err error) error {
		return &CorruptPackageError{Chart: c, Origin: origin, Actual: digest, Err: err}
	}
	files, err := loader.LoadArchiveFiles(bytes.NewReader(data))
	if err != nil {
		return nil, corrupt(fmt.Errorf("it is not a complete gzipped tar archive: %w", err))
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, corrupt(err)
	}
	p := &Package{Chart: c, Origin: origin, Digest: digest, chart: loaded}
	if err := p.verify(); err != nil {
		return nil, err
	}
	return p, nil
}

// openDirectory reads an unpacked chart.
func openDirectory(c Chart, dir string) (*Package, error) {
	loaded, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("could not load chart %s from the directory %s: %w", c, dir, err)
	}
	p := &Package{Chart: c, Origin: dir, chart: loaded}
	if err := p.verify(); err != nil {
		return nil, err
	}
	return p, nil
}

// verify refuses another chart than the one that was asked for, and one that
// lacks its subcharts.
func (p *Package) verify() error {
	md := p.chart.Metadata
	if md.Name != p.Chart.Name || md.Version != p.Chart.Version {
		return fmt.Errorf("%s holds chart %s %s, but %s is wanted; give the package of that version", p.Origin, md.Name, md.Version, p.Chart)
	}
	var absent []string
	for _, dep := range md.Dependencies {
		if !slices.ContainsFunc(p.chart.Dependencies(), func(sub *helmchart.Chart) bool { return sub.Name() == dep.Name }) {
			absent = append(absent, dep.Name)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("chart %s from %s lacks its subcharts %s; run 'helm dependency build' in it, or use the published package", p.Chart, p.Origin, strings.Join(absent, ", "))
	}
	return nil
}

// helmChart is a copy of the chart to hand to Helm, whose actions change what
// they are given.
func (p *Package) helmChart() (*helmchart.Chart, error) {
	files := make([]*loader.BufferedFile, len(p.chart.Raw))
	for i, f := range p.chart.Raw {
		files[i] = &loader.BufferedFile{Name: f.Name, Data: f.Data}
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("could not load chart %s from %s: %w", p.Chart, p.Origin, err)
	}
	return c, nil
}

// AppVersion is the version of what the chart installs, such as v0.93.1.
func (p *Package) AppVersion() string { return p.chart.AppVersion() }

// DefaultValues are the chart's own values with those of its subcharts under
// their names. The caller may change them.
func (p *Package) DefaultValues() Values { return coalesce(p.chart, nil) }

// CRDs are the objects in crds/ of the chart and of those of its subcharts
// that its default values enable.
func (p *Package) CRDs() ([]*unstructured.Unstructured, error) { return p.CRDsFor(nil) }

// CRDsFor is CRDs for the given values over the chart's own: they may disable
// a subchart with its CRDs.
func (p *Package) CRDsFor(v Values) ([]*unstructured.Unstructured, error) {
	var crds []*unstructured.Unstructured
	err := eachEnabled(p.chart, coalesce(p.chart, v), func(c *helmchart.Chart) error {
		for _, f := range c.Files {
			if !isCRDFile(f.Name) {
				continue
			}
			objects, err := decodeObjects(f.Data)
			if err != nil {
				return fmt.Errorf("could not read %s of chart %s from %s: %w", f.Name, c.Name(), p.Origin, err)
			}
			crds = append(crds, objects...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return crds, nil
}

func isCRDFile(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "crds/") &&
		(strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".json"))
}

// decodeObjects reads the documents of one YAML or JSON file.
func decodeObjects(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.GetKind() == "" || o.GetName() == "" {
			return nil, errors.New("it holds a document without kind or name")
		}
		objects = append(objects, o)
	}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
