package harness

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

func (s *Sandbox) dialer(t testing.TB) *portforward.Dialer {
	t.Helper()
	d, err := portforward.New(portforward.Config{REST: s.REST, Client: s.Client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// DialPod gives an HTTP client for one port of a pod, over a tunnel of its own.
func (s *Sandbox) DialPod(t testing.TB, namespace, pod, port string) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: s.dialer(t).Pod(namespace, pod, port).DialContext, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// DialService gives an HTTP client for one port of a Service.
func (s *Sandbox) DialService(t testing.TB, namespace, service, port string) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: s.dialer(t).Service(namespace, service, port).DialContext, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// Prometheus is the API of the Prometheus behind a Service. A test that asks
// again gets the same one: Prometheus accepts 512 connections and then none,
// its readiness probe's included, so that a loop must not leave one per turn.
func (s *Sandbox) Prometheus(t testing.TB, namespace, service string) promv1.API {
	t.Helper()
	key := prometheusOf{t, namespace, service}
	if known, ok := s.prometheus.Load(key); ok {
		return known.(promv1.API)
	}
	c, err := api.NewClient(api.Config{Address: "http://prometheus", RoundTripper: s.DialService(t, namespace, service, "9090").Transport})
	if err != nil {
		t.Fatal(err)
	}
	v := promv1.NewAPI(c)
	s.prometheus.Store(key, v)
	t.Cleanup(func() { s.prometheus.Delete(key) })
	return v
}

type prometheusOf struct {
	test               testing.TB
	namespace, service string
}

// Fetch asks for a URL that has to answer well.
func Fetch(t testing.TB, hc *http.Client, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return string(text)
}
