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

func transport(dial dialFunc) *http.Transport {
	return &http.Transport{
		DialContext:           dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}
}
