package plugin

import (
	"context"
	"net"
	"net/http"
	"time"
)

// dialFunc opens a connection to one fixed target; it ignores its arguments,
// which are there to fit http.Transport.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// tritonURL is the base of requests that go through a dialFunc; its host is
// only what the Host header says.
const tritonURL = "http://triton"

// httpClient speaks HTTP over dial. Triton compresses whenever it sees an
// Accept-Encoding, hence no compression.
func httpClient(dial dialFunc) *http.Client {
	return &http.Client{Transport: transport(dial)}
}

// namedTransport says who asks, as requests to the API server do.
type namedTransport struct {
	*http.Transport
	agent string
}

func (t *namedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("User-Agent") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", t.agent)
	}
	return t.Transport.RoundTrip(r)
}

// Connect opens a connection as the requests do, for those who look at what
// comes back that is not HTTP.
func (t *namedTransport) Connect(ctx context.Context, network, address string) (net.Conn, error) {
	return t.DialContext(ctx, network, address)
}

func transport(dial dialFunc) *namedTransport {
	return &namedTransport{agent: userAgent(), Transport: &http.Transport{
		DialContext:           dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}}
}

// userAgent is the program and its version, without the commit.
func userAgent() string { return "kubectl-triton/" + ownVersion().Version }
