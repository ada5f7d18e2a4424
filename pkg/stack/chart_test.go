package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPinnedCharts(t *testing.T) {
	for _, c := range []Chart{PrometheusStackChart(), DCGMExporterChart()} {
		if c.Why == "" || c.Repository == "" || c.Release == "" {
			t.Errorf("%s lacks a reason, a repository or a release: %+v", c, c)
		}
		if sum, err := hex.DecodeString(c.Digest); err != nil || len(sum) != sha256.Size || c.Digest != strings.ToLower(c.Digest) {
			t.Errorf("%s is not held to a digest: %q", c, c.Digest)
		}
	}
	if got := PrometheusStackChart().String(); got != "kube-prometheus-stack 88.5.3" {
		t.Error(got)
	}
	if got := DCGMExporterChart().String(); got != "dcgm-exporter 4.8.2" {
		t.Error(got)
	}
}

func TestCRDs(t *testing.T) {
	for _, test := range []struct {
		name   string
		values Values
		want   string
	}{
		{"by default", nil, "beacons buoys lamps"},
		{"subchart disabled", Values{"lamp": map[string]any{"enabled": false}}, "beacons buoys"},
		{"second condition", Values{"lampEnabled": false}, "beacons buoys"},
		{"first condition wins", Values{"lampEnabled": false, "lamp": map[string]any{"enabled": true}}, "beacons buoys lamps"},
		{"subchart enabled", Values{"horn": map[string]any{"enabled": true}}, "beacons buoys lamps horns"},
		{"not a boolean decides nothing", Values{"lamp": map[string]any{"enabled": "no"}}, "beacons buoys lamps"},
		{"condition taken away", Values{"horn": map[string]any{"enabled": nil}}, "beacons buoys lamps horns"},
	} {
		t.Run(test.name, func(t *testing.T) {
			crds, err := loaded(t).CRDsFor(test.values)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range crds {
				names = append(names, strings.TrimSuffix(c.GetName(), ".example.com"))
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("CRDs %q, want %q", got, test.want)
			}
		})
	}
}

func TestCRDsBroken(t *testing.T) {
	for name, text := range map[string]string{"yaml": "a: [", "object": "a: 1"} {
		files := testFiles()
		files["crds/beacons.yaml"] = text
		p, err := newPackage(testChart(), pack(t, "beacon", files), "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.CRDs(); err == nil || !strings.Contains(err.Error(), "crds/beacons.yaml of chart beacon") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultValues(t *testing.T) {
	p := loaded(t)
	v := p.DefaultValues()
	want := map[string]any{"colour": "red", "brightness": map[string]any{"lumen": float64(800)}, "labels": map[string]any{"a": "b"}}
	if diff := cmp.Diff(want, v["lamp"]); diff != "" {
		t.Error(diff)
	}
	// The caller may change them.
	v["lamp"].(map[string]any)["brightness"].(map[string]any)["lumen"] = 1
	if diff := cmp.Diff(want, p.DefaultValues()["lamp"]); diff != "" {
		t.Error(diff)
	}
}

// TestCopyForHelm: Helm's actions drop disabled subcharts from the chart that
// they are given.
func TestCopyForHelm(t *testing.T) {
	p := loaded(t)
	c, err := p.helmChart()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDependencies()
	c.Values["operator"] = nil
	again, err := p.helmChart()
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Dependencies()) != 2 || again.Values["operator"] == nil {
		t.Errorf("the second copy has %d subcharts and values %v", len(again.Dependencies()), again.Values)
	}
}

func TestWrongPackage(t *testing.T) {
	c := testChart()
	whole := testPackage(t)
	files := func(change func(map[string]string)) []byte {
		f := testFiles()
		change(f)
		return pack(t, "beacon", f)
	}
	for _, test := range []struct {
		name    string
		data    []byte
		want    string
		corrupt bool
	}{
		{"empty", nil, "not a complete gzipped tar archive", true},
		{"html", []byte("<html>sign in</html>"), "not a complete gzipped tar archive", true},
		{"cut off", whole[:len(whole)/2], "not a complete gzipped tar archive", true},
		{"no chart", pack(t, "beacon", map[string]string{"README.md": "hello"}), "Chart.yaml file is missing", true},
		{"broken values", files(func(f map[string]string) { f["values.yaml"] = "a: [" }), "values.yaml", true},
		{"climbs out", pack(t, "beacon", map[string]string{"../../evil": "x"}), "parent directory", true},
		{"another version", files(func(f map[string]string) { f["Chart.yaml"] = strings.Replace(f["Chart.yaml"], "1.4.0", "1.5.0", 1) }), "holds chart beacon 1.5.0, but beacon 1.4.0 is wanted", false},
		{"another chart", files(func(f map[string]string) { f["Chart.yaml"] = strings.Replace(f["Chart.yaml"], "beacon", "deacon", 1) }), "holds chart deacon 1.4.0", false},
		{"subchart absent", files(func(f map[string]string) {
			for name := range f {
				if strings.HasPrefix(name, "charts/horn/") {
					delete(f, name)
				}
			}
		}), "lacks its subcharts horn; run 'helm dependency build'", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newPackage(c, test.data, "somewhere")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want …%s…", err, test.want)
			}
			var corrupt *CorruptPackageError
			if errors.As(err, &corrupt) != test.corrupt {
				t.Errorf("corrupt: %v, want %v: %v", corrupt != nil, test.corrupt, err)
			}
			if corrupt != nil && corrupt.Actual != digestOf(test.data) {
				t.Errorf("digest %s", corrupt.Actual)
			}
		})
	}
}
