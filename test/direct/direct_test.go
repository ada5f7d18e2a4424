//go:build e2e

// Package direct runs the built plugin against a simulated Triton that is
// reached by its address, with no cluster anywhere. It needs bin/kubectl-triton
// and bin/tritonserver: "make e2e" builds them.
package direct

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// TestDirect: over each scheme, what the client counts is what the server's own
// statistics say, and the report names the path.
func TestDirect(t *testing.T) {
	s := startTriton(t)
	secureHTTP, authority := certificate(t, "http/1.1")
	secureGRPC, authorityGRPC := certificate(t, "h2")
	https, grpcs := startRelay(t, secureHTTP, s.http).address, startRelay(t, secureGRPC, s.grpc).address
	_, httpsPort, _ := net.SplitHostPort(https)
	for _, c := range []struct {
		name      string
		args      []string
		protocol  string
		transport string
	}{
		{"http", []string{"queueing", "--url", "http://" + s.http}, "HTTP", "TCP"},
		{"http by name", []string{"queueing", "--url", strings.Replace("http://"+s.http, "127.0.0.1", "localhost", 1)}, "HTTP", "TCP"},
		{"http, json", []string{"queueing", "--url", "http://" + s.http + "/", "--encoding", "json"}, "HTTP", "TCP"},
		{"http, rate", []string{"queueing", "--url", "http://" + s.http, "--rate", "50"}, "HTTP", "TCP"},
		{"https", []string{"queueing", "--url", "https://" + https, "--certificate-authority", authority}, "HTTP", "TLS"},
		{"https under another name", []string{"queueing", "--url", "https://" + net.JoinHostPort("localhost", httpsPort), "--certificate-authority", authority, "--tls-server-name", "example.com"}, "HTTP", "TLS"},
		{"https, not verified", []string{"queueing", "--url", "https://" + https, "--insecure-skip-tls-verify"}, "HTTP", "TLS, certificate not verified"},
		{"grpc", []string{"queueing", "--url", "grpc://" + s.grpc}, "gRPC", "TCP"},
		{"grpc stream", []string{"queueing", "--url", "grpc://" + s.grpc, "--streaming"}, "gRPC stream", "TCP"},
		{"grpcs", []string{"queueing", "--url", "grpcs://" + grpcs, "--certificate-authority", authorityGRPC}, "gRPC", "TLS"},
		{"decoupled", []string{"words", "--url", "grpc://" + s.grpc}, "gRPC stream", "TCP"},
		{"generated", []string{"words", "--url", "http://" + s.http, "--endpoint", "generate-stream"}, "HTTP", "TCP"},
		{"sequences", []string{"tally", "--url", "grpc://" + s.grpc, "--sequence-length", "5"}, "gRPC", "TCP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := benchJSON(t, append(c.args, "--requests", "100", "--warmup", "0")...)
			if r.Client.Succeeded != 100 || r.Client.Failed != 0 {
				t.Errorf("the client counts %d ok and %d failed: %+v", r.Client.Succeeded, r.Client.Failed, r.Client.Errors)
			}
			if r.Server == nil || r.Server.Requests != 100 || r.Server.ForeignRequests != 0 || !r.Server.Complete || len(r.Server.Pods) != 1 {
				t.Errorf("the server's account is %+v", r.Server)
			}
			url := strings.TrimSuffix(c.args[2], "/")
			if r.Target.URL != url || r.Target.Context != "" || r.Target.Namespace != "" || len(r.Target.Pods) != 0 || r.Target.TritonVersion == "" {
				t.Errorf("the target is %+v", r.Target)
			}
			if r.Path.Kind != report.PathDirect || r.Path.Transport != c.transport || r.Path.RoundTripP50US <= 0 || r.Tunnel != nil {
				t.Errorf("the path is %+v, the tunnel %+v", r.Path, r.Tunnel)
			}
			if r.Request.Protocol != c.protocol {
				t.Errorf("the protocol is %s", r.Request.Protocol)
			}
			// No GPU is there, and nothing else was asked for.
			if len(r.Missing) != 1 || r.Missing[0].Part != "GPU figures" || !strings.Contains(r.Missing[0].Fix, "--metrics-url") || r.Grafana != nil || r.GPU != nil {
				t.Errorf("missing: %+v; Grafana: %+v; GPU: %+v", r.Missing, r.Grafana, r.GPU)
			}
		})
	}
}

// TestDirectText: the report for a person says which way the requests went.
func TestDirectText(t *testing.T) {
	s := startTriton(t)
	o := plugin(t, "bench", "steady", "--url", "http://"+s.http, "--requests", "20", "--warmup", "0")
	for _, want := range []string{"steady v1 at http://" + s.http, "direct (TCP), round trip p50 ", "from the statistics of the server at this address", "network  ", "0 failed"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not in\n%s%s", want, o.stdout, o.stderr)
		}
	}
	if strings.Contains(o.stdout, "tunnel") || strings.Contains(o.stdout, "pods") || o.code != 0 {
		t.Errorf("exit code %d, or a tunnel or pods where there are none:\n%s", o.code, o.stdout)
	}
}

// TestDirectTooManyFailed: exit code 3 has its reason where nobody keeps the report.
func TestDirectTooManyFailed(t *testing.T) {
	s := startTriton(t)
	o := plugin(t, "bench", "flaky", "--url", "http://"+s.http, "--requests", "100", "--warmup", "0")
	if o.code != 3 || !strings.Contains(o.stderr, " % of 100 requests failed, more than --max-error-rate 1% allows") || strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
}

// TestDirectNoGPUs: who gave the metrics page is not told to give it, and a
// section without figures names no source.
func TestDirectNoGPUs(t *testing.T) {
	s := startTriton(t)
	o := plugin(t, "bench", "steady", "--url", "grpc://"+s.grpc, "--requests", "20", "--warmup", "0", "--metrics-url", "http://"+s.metrics+"/metrics")
	for _, want := range []string{"\nGPU  no figures\n", "see whether --metrics-url is the metrics page"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not in\n%s%s", want, o.stdout, o.stderr)
		}
	}
}

// TestDirectGPUs: the page of --metrics-url is sampled, and gives the figures.
func TestDirectGPUs(t *testing.T) {
	s := startTriton(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{gpu_uuid="GPU-1"} 80
`)
	}))
	defer page.Close()
	r := benchJSON(t, "steady", "--url", "grpc://"+s.grpc, "--duration", "4s", "--warmup", "0", "--metrics-url", page.URL+"/metrics")
	if len(r.Missing) != 0 || r.GPU == nil || r.GPU.Source != "sampled from Triton" || len(r.GPU.Devices) != 1 {
		t.Fatalf("GPU figures are %+v; missing %+v", r.GPU, r.Missing)
	}
	if d := r.GPU.Devices[0]; d.UUID != "GPU-1" || d.Insufficient || d.UtilizationAverage == nil || *d.UtilizationAverage != 0.5 || *d.PowerPeakW != 80 {
		t.Errorf("the GPU is %+v", d)
	}
}

// TestSeveralServers: behind one address that leads to two, one server's counters
// are not taken for all.
func TestSeveralServers(t *testing.T) {
	a, b := startTriton(t), startTriton(t)
	r := benchJSON(t, "queueing", "--url", "http://"+startRelay(t, nil, a.http, b.http).address, "--requests", "200", "--concurrency", "8", "--warmup", "0")
	if r.Client.Succeeded != 200 || r.Server.Requests == 0 || r.Server.Requests >= 200 {
		t.Fatalf("%d ok, the server counts %d", r.Client.Succeeded, r.Server.Requests)
	}
	if r.Server.Complete || r.Server.OutsideUS != nil || !strings.Contains(r.Server.Pods[0].Problem, "several servers") {
		t.Errorf("the server's account is %+v", r.Server)
	}
}

// TestDirectBadInput: each wrong address gets one sentence that names what is
// wrong and what to do, soon.
func TestDirectBadInput(t *testing.T) {
	s := startTriton(t)
	config, _ := certificate(t, "http/1.1")
	https := startRelay(t, config, s.http).address
	h2, _ := certificate(t, "h2")
	grpcs := startRelay(t, h2, s.grpc).address
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"nobody there", []string{"--url", "http://127.0.0.1:1"}, 1, []string{"refused", "check the address"}},
		{"nobody there, grpc", []string{"--url", "grpc://127.0.0.1:1"}, 1, []string{"refused", "check the address"}},
		{"silent", []string{"--url", "http://" + silent.Addr().String()}, 1, []string{"timeout", "check the address"}},
		{"silent, grpc", []string{"--url", "grpc://" + silent.Addr().String()}, 1, []string{"check the address"}},
		{"unknown host", []string{"--url", "http://nowhere.invalid:8000"}, 1, []string{"nowhere.invalid", "check the address"}},
		{"not a Triton", []string{"--url", web.URL}, 1, []string{"does not answer as Triton", "http://HOST:8000"}},
		{"the metrics port", []string{"--url", "http://" + s.metrics}, 1, []string{"metrics port", "http://HOST:8000"}},
		{"the gRPC port as http", []string{"--url", "http://" + s.grpc}, 1, []string{"HTTP/2", "grpc://HOST:8001"}},
		{"the HTTP port as grpc", []string{"--url", "grpc://" + s.http}, 1, []string{"grpc://" + s.http, "speaks HTTP/1.1", "http://HOST:8000"}},
		{"TLS where there is none", []string{"--url", "https://" + s.http, "--insecure-skip-tls-verify"}, 1, []string{"https://" + s.http, "speaks TLS"}},
		{"no TLS where there is", []string{"--url", "http://" + https}, 1, []string{"with https or grpcs where it expects TLS"}},
		{"unknown authority", []string{"--url", "https://" + https}, 1, []string{"unknown authority", "--certificate-authority"}},
		{"unknown authority, grpc", []string{"--url", "grpcs://" + grpcs}, 1, []string{"unknown authority", "--certificate-authority"}},
		{"no such authority file", []string{"--url", "https://" + https, "--certificate-authority", "none"}, 2, []string{"none", "no such file"}},
		{"authority without TLS", []string{"--url", "http://" + s.http, "--certificate-authority", "none"}, 2, []string{"--certificate-authority", "not encrypted"}},
		{"unknown model", []string{"nope", "--url", "http://" + s.http}, 1, []string{"no model nope", "steady"}},
		{"unknown model, grpc", []string{"nope", "--url", "grpc://" + s.grpc}, 1, []string{"no model nope", "steady"}},
		{"unknown version, grpc", []string{"steady", "--url", "grpc://" + s.grpc, "--model-version", "9"}, 1, []string{"version"}},
		{"several models", []string{"--url", "grpc://" + s.grpc}, 2, []string{"several models", "steady"}},
		{"decoupled over http", []string{"words", "--url", "http://" + s.http}, 2, []string{"decoupled", "grpc://HOST:8001", "generate-stream"}},
		{"Grafana without a login", []string{"steady", "--url", "http://" + s.http, "--requests", "5", "--warmup", "0", "--grafana-url", web.URL}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := plugin(t, append([]string{"bench"}, c.args...)...)
			if o.code != c.code || o.took > 10*time.Second {
				t.Errorf("exit code %d after %s, want %d: %s", o.code, o.took, c.code, o.stderr)
			}
			for _, w := range c.want {
				if !strings.Contains(o.stderr, w) {
					t.Errorf("%q is not in %q", w, o.stderr)
				}
			}
			if c.code == 0 && !strings.Contains(o.stdout, "--grafana-token-file") {
				t.Errorf("the report is %s", o.stdout)
			}
			if c.code != 0 && (o.stdout != "" || strings.Count(o.stderr, "\n") != 1) {
				t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
			}
		})
	}
}
