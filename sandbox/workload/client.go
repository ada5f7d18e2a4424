package workload

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
)

const (
	// EnvProxyURL names the variable that holds the pod network's HTTP proxy.
	EnvProxyURL = "SANDBOX_PROXY_URL"
	// EnvPodIP names the variable that holds the pod's own address.
	EnvPodIP = "SANDBOX_POD_IP"
)

// Client returns an HTTP client that reaches what a pod reaches: other pods by
// their addresses, and the containers of its own pod by localhost. Outside of
// a sandbox it is an ordinary client.
func Client() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	proxy, own := os.Getenv(EnvProxyURL), os.Getenv(EnvPodIP)
	if proxy == "" {
		return &http.Client{Transport: transport}, nil
	}
	address, err := url.Parse(proxy)
	if err != nil {
		return nil, fmt.Errorf("%s is not a URL: %w", EnvProxyURL, err)
	}
	transport.Proxy = http.ProxyURL(address)
	return &http.Client{Transport: localhost{next: transport, podIP: own}}, nil
}

// localhost sends requests for localhost to the pod's own address, where the
// network knows the ports of all of its containers.
type localhost struct {
	next  http.RoundTripper
	podIP string
}

func (l localhost) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	ip := net.ParseIP(host)
	if l.podIP == "" || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return l.next.RoundTrip(r)
	}
	port := r.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[r.URL.Scheme]
	}
	inner := r.Clone(r.Context())
	inner.URL.Host = net.JoinHostPort(l.podIP, port)
	inner.Host = inner.URL.Host // which a proxy is asked for
	return l.next.RoundTrip(inner)
}
