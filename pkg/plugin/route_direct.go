package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// directRoute leads to the server at an address, with no cluster in between.
type directRoute struct {
	options *BenchOptions
	at      *address
	tls     *tls.Config // nil for plain TCP

	server control
	http   *http.Transport  // of the control calls, nil over gRPC
	grpc   *grpc.ClientConn // of the control calls, nil over HTTP
	// What the path costs, measured before the load.
	roundTripP50US, roundTripP99US float64
}

func newDirectRoute(o *BenchOptions) (*directRoute, error) {
	r := &directRoute{options: o, at: o.address}
	if r.at.secure {
		var err error
		if r.tls, err = serverTLS(o.Config, r.at.hostname); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *directRoute) close() {
	if r.http != nil {
		r.http.CloseIdleConnections()
	}
	if r.grpc != nil {
		r.grpc.Close()
	}
}

func (r *directRoute) String() string { return "the server at " + r.at.url }

func (r *directRoute) found() string { return r.at.url }

func (r *directRoute) logs() string { return "its log" }

// find sets up the control calls: over the protocol of the load, for nothing
// else may be reachable. They share one connection, so that behind a load
// balancer both readings of the counters come from the same server.
func (r *directRoute) find(context.Context) (control, error) {
	if r.at.grpc {
		way := r.way("grpc")
		cc, err := triton.DialGRPC(triton.DialFunc(way.dial), way.grpc)
		if err != nil {
			return nil, fmt.Errorf("could not set up a gRPC connection to %s: %w", r.at.url, err)
		}
		r.grpc, r.server = cc, triton.NewGRPCClient(cc)
		return r.server, nil
	}
	r.http = &http.Transport{
		DialContext: r.dialTCP, TLSClientConfig: r.tls, DisableCompression: true,
		MaxConnsPerHost: 1, ResponseHeaderTimeout: 30 * time.Second,
	}
	r.server = triton.NewClient(&http.Client{Transport: &namedTransport{Transport: r.http, agent: userAgent()}}, r.at.url)
	return r.server, nil
}

func (r *directRoute) explain(err error) error {
	var certificate *tls.CertificateVerificationError
	var answer *triton.Error
	const trust = "give its authority by --certificate-authority, or the name it is for by --tls-server-name"
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of %s can't be trusted: %w; %s", r.at.url, certificate.Err, trust)
	case errors.As(err, &answer) && strings.Contains(answer.Message, "failed to verify certificate"): // grpc-go keeps the text only
		return fmt.Errorf("the certificate of %s can't be trusted: %w; %s", r.at.url, err, trust)
	case errors.As(err, &answer) && answer.Class != triton.ClassNotTriton && !answered(err):
		check := "check the address and what lies between"
		if r.at.secure {
			check = "check the address, what lies between, and whether that port speaks TLS"
		}
		return fmt.Errorf("could not reach Triton at %s: %w; %s", r.at.url, err, check)
	}
	return fmt.Errorf("%s does not answer as Triton: %w; give the address of its HTTP port (--url http://HOST:8000) or of its gRPC port (--url grpc://HOST:8001), with https or grpcs where it expects TLS", r.at.url, err)
}

func (r *directRoute) requireGRPC() error {
	if !r.at.grpc {
		return usageErrorf("%s is not a gRPC address; give %s", r.at.url, r.options.grpcFlag())
	}
	return nil
}

func (r *directRoute) way(string) way {
	w := way{dial: r.dialTCP, host: r.at.host}
	switch {
	case r.at.grpc:
		// gRPC does the TLS itself: it has to agree on HTTP/2.
		w.grpc = triton.GRPCAddress{Authority: r.at.host, TLS: r.tls, UserAgent: userAgent()}
	case r.tls != nil:
		w.dial = r.dialTLS
	}
	return w
}

func (r *directRoute) dialTCP(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", r.at.dial)
}

func (r *directRoute) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := r.dialTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, r.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// measure finds the round trip. A ceiling would be that of this client, which is
// no part of the path.
func (r *directRoute) measure(ctx context.Context, b *report.Bench) error {
	alone, err := measureRoundTrip(ctx, r.server)
	if err != nil {
		return err
	}
	r.roundTripP50US, r.roundTripP99US = microseconds(alone.Service.Quantile(0.5)), microseconds(alone.Service.Quantile(0.99))
	r.describe(b)
	return nil
}

func (r *directRoute) mark(ctx context.Context) (*marker, error) {
	if r.options.GrafanaURL == "" {
		return nil, nil // none was asked for
	}
	return newMarker(ctx, nil, nil, r.options)
}

// watchGPUs reads --prometheus-url, and samples Triton's own metrics.
func (r *directRoute) watchGPUs(ctx context.Context) *gpuWatch {
	w := &gpuWatch{prometheusErr: errors.New("no --prometheus-url was given")}
	if r.options.PrometheusURL != "" {
		w.prometheus, w.prometheusErr = findPrometheus(ctx, nil, nil, r.options)
	}
	var sources []metrics.Source
	if page := r.metricsPage(); page != "" {
		way := &http.Transport{TLSClientConfig: r.metricsTLS(page), DisableCompression: true, ResponseHeaderTimeout: prometheusTimeout, IdleConnTimeout: 30 * time.Second}
		client := &http.Client{Transport: &namedTransport{Transport: way, agent: userAgent()}}
		sources = append(sources, metrics.Source{Name: page, Fetch: fetchPage(client, page)})
	}
	w.selector.UUIDs = heldGPUs(ctx, sources)
	if len(w.selector.UUIDs) == 0 && w.prometheusErr == nil {
		// Every GPU that Prometheus knows is not this server's.
		w.prometheus, w.prometheusErr = nil, fmt.Errorf("which of its GPUs are this server's is not known: %s has no GPU metrics", r.metricsPage())
	}
	w.sampler = metrics.NewSampler(metrics.SamplerConfig{Sources: sources})
	return w
}

// metricsTLS is the configuration for the metrics page, which may be at another
// host, and its certificate for that host's name.
func (r *directRoute) metricsTLS(page string) *tls.Config {
	u, err := url.Parse(page)
	if r.tls == nil || err != nil || u.Hostname() == r.at.hostname {
		return r.tls
	}
	config := r.tls.Clone()
	config.ServerName = ""
	return config
}

// metricsPage is where Triton's own metrics are said to be, or usually are.
func (r *directRoute) metricsPage() string {
	if r.options.MetricsURL != "" {
		return r.options.MetricsURL
	}
	return fmt.Sprintf("http://%s/metrics", net.JoinHostPort(r.at.hostname, fmt.Sprint(tritonMetric)))
}

func (r *directRoute) sources(context.Context) ([]statisticsSource, error) {
	return []statisticsSource{{name: r.at.url, uid: r.at.url, client: r.server, done: func() {}}}, nil
}

func (r *directRoute) loaded() map[string]bool { return map[string]bool{r.at.url: true} }

func (r *directRoute) describe(b *report.Bench) {
	b.Target.URL = r.at.url
	b.Path = report.Path{Kind: report.PathDirect, Transport: "TCP", RoundTripP50US: r.roundTripP50US, RoundTripP99US: r.roundTripP99US}
	if r.tls != nil {
		b.Path.Transport = "TLS"
		if r.tls.InsecureSkipVerify {
			b.Path.Transport = "TLS, certificate not verified"
		}
	}
}

func (r *directRoute) missing(part missingPart) string {
	switch part {
	case missingGrafana:
		return "check --grafana-url and --grafana-token-file"
	case missingPrometheus:
		return "check --prometheus-url, and give Triton's metrics page by --metrics-url"
	default:
		if r.options.MetricsURL != "" {
			return "see whether --metrics-url is the metrics page of a Triton that sees a GPU and runs without --allow-gpu-metrics=false, or name a Prometheus that has the GPUs by --prometheus-url"
		}
		return "give Triton's metrics page by --metrics-url, as http://HOST:8002/metrics"
	}
}
