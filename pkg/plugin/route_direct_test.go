package plugin

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestMetricsOfAnotherHost: the certificate of a metrics page at another host is
// for that host, and not for Triton's.
func TestMetricsOfAnotherHost(t *testing.T) {
	page := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5`)
	}))
	defer page.Close()
	pool := x509.NewCertPool()
	pool.AddCert(page.Certificate())
	o := NewBenchOptions(genericiooptions.NewTestIOStreamsDiscard())
	o.MetricsURL = page.URL + "/metrics"
	at, err := parseAddress("https://triton.example:8000")
	if err != nil {
		t.Fatal(err)
	}
	r := &directRoute{options: o, at: at, tls: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "triton.example"}}
	if w := r.watchGPUs(t.Context()); strings.Join(w.selector.UUIDs, ",") != "GPU-1" {
		t.Errorf("the page tells of %q", w.selector.UUIDs)
	}
	if c := r.metricsTLS("https://triton.example:8002/metrics"); c != r.tls {
		t.Error("Triton's own host gets another configuration")
	}
}
