package plugin

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestExporterPods: they are read in pages and in time, and those of other nodes
// are left out; the chart's elsewhere don't hide the GPU Operator's here.
func TestExporterPods(t *testing.T) {
	var asked []string
	config := &rest.Config{Host: "http://cluster.example", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if _, bounded := r.Context().Deadline(); !bounded {
			t.Errorf("%s may take for ever", r.URL)
		}
		if r.URL.Query().Get("limit") == "" {
			t.Errorf("%s is not read in pages", r.URL)
		}
		asked = append(asked, r.URL.Path)
		name, node := "chart", "other"
		if strings.Contains(r.URL.Path, "gpu-operator") {
			name, node = "operator", "gpu-1"
		}
		body := fmt.Sprintf(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":%q},"spec":{"nodeName":%q}}]}`, name, node)
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	found := (&cluster{client: client}).exporterPods(t.Context(), "monitoring", []string{"gpu-1"})
	if len(found) != 1 || found[0].Name != "operator" || len(asked) != 2 {
		t.Errorf("found %+v, asked %q", found, asked)
	}
}
