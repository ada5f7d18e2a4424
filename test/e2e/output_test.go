//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// TestTextOnAPipe: on a pipe there is the report and nothing else, plain.
func TestTextOnAPipe(t *testing.T) {
	o := plugin(t, "bench", "queueing", "--concurrency", "8", "--duration", "4s", "--warmup", "500ms")
	if o.code != 0 || o.stderr != "" || strings.Contains(o.stdout, "\x1b") {
		t.Fatalf("exit code %d, stderr %q, stdout %q", o.code, o.stderr, o.stdout)
	}
	for _, want := range []string{
		"Triton load test: queueing v1 at triton/triton-infer", "API server port-forward (SPDY), 1 of 1 ready pods",
		"queue-bound", "p50", "p99.9", "response", "service", "req/s", "infer/s", "queue", "compute infer", "network, tunnel",
		"utilisation", "memory", "power", "per inference", "Grafana", "from", "kubectl triton observe open --from ",
	} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not in the report", want)
		}
	}
	t.Log("\n" + o.stdout)
}

// TestYAML holds the same document as JSON does.
func TestYAML(t *testing.T) {
	o := plugin(t, "bench", "queueing", "--requests", "10", "--warmup", "0", "-o", "yaml")
	var r report.Bench
	if err := yaml.UnmarshalStrict([]byte(o.stdout), &r); err != nil || o.code != 0 {
		t.Fatalf("exit code %d: %v\n%s", o.code, err, o.stdout)
	}
	if r.Schema != report.BenchSchema || r.Client.Succeeded != 10 {
		t.Errorf("the result is %+v", r)
	}
}

// TestAnnotationIsARegion: Grafana holds one annotation over exactly the test.
func TestAnnotationIsARegion(t *testing.T) {
	r := benchJSON(t, 0, "queueing", "--requests", "20", "--warmup", "0", "--tag", "release-7")
	if r.Grafana == nil || r.Grafana.AnnotationID == 0 {
		t.Fatalf("no annotation: %+v", r.Missing)
	}
	found := regions(t, "kubectl-triton", "release-7")
	if len(found) != 1 || found[0].ID != r.Grafana.AnnotationID || found[0].Time != r.StartTime.UnixMilli() || found[0].TimeEnd != r.EndTime.UnixMilli() ||
		!strings.Contains(found[0].Text, "Load Test Start") || !strings.Contains(found[0].Text, "Load Test Stop") {
		t.Errorf("Grafana holds %+v; the test ran from %d to %d", found, r.StartTime.UnixMilli(), r.EndTime.UnixMilli())
	}
	if !strings.Contains(r.Grafana.URL, fmt.Sprint(r.StartTime.Add(-15e9).UnixMilli())) {
		t.Errorf("the link does not hold the test's time: %s", r.Grafana.URL)
	}
}

// TestWithoutPrometheus: the plugin samples the pods itself.
func TestWithoutPrometheus(t *testing.T) {
	r := benchJSON(t, 0, "queueing", "--concurrency", "4", "--duration", "6s", "--warmup", "0", "--no-prometheus", "--no-grafana")
	if r.GPU == nil || len(r.GPU.Devices) != 1 || r.GPU.Source != "sampled from dcgm-exporter" {
		t.Fatalf("GPU figures are %+v", r.GPU)
	}
	d := r.GPU.Devices[0]
	if d.Insufficient || d.Samples < 4 || d.UtilizationAverage == nil || *d.UtilizationAverage < 0.5 || d.EnergyPerInference == nil || r.Grafana != nil {
		t.Errorf("the figures are %+v", d)
	}
}

// region is an annotation as Grafana's API has it; times are ms since 1970.
type region struct {
	ID      int64  `json:"id"`
	Time    int64  `json:"time"`
	TimeEnd int64  `json:"timeEnd"`
	Text    string `json:"text"`
}

// regions lists the annotations with all the tags.
func regions(t *testing.T, tags ...string) []region {
	t.Helper()
	d, err := portforward.New(portforward.Config{REST: restConfig, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tr := &http.Transport{DialContext: d.Service("monitoring", "prom-operator-grafana", "80").DialContext}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://grafana/api/annotations?"+url.Values{"tags": tags}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(grafanaLogin(t))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var found []region
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found
}
