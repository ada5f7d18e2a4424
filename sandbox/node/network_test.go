package node

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

func TestNetworkDialsPublishedPortsOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, pod := NewNetwork(), netip.MustParseAddr("10.244.0.1")
	if _, err := n.dial(context.Background(), pod, 8000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a port that nothing serves: %v, want connection refused", err)
	}
	n.publish(pod, 8000, l.Addr().String())
	conn, err := n.DialContext(context.Background(), "tcp", "10.244.0.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	n.withdraw(pod, 8000)
	if _, err := n.dial(context.Background(), pod, 8000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a withdrawn port: %v, want connection refused", err)
	}
}

func TestNetworkProxy(t *testing.T) {
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+r.URL.String())
	}))
	defer pod.Close()
	n := NewNetwork()
	n.publish(netip.MustParseAddr("10.244.0.1"), 8002, pod.Listener.Addr().String())
	proxy := httptest.NewServer(n)
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxyURL)}}
	defer client.CloseIdleConnections()
	tests := []struct {
		url, wantBody string
		wantStatus    int
	}{
		{"http://10.244.0.1:8002/metrics?a=b", "10.244.0.1:8002/metrics?a=b", http.StatusOK},
		{"http://10.244.0.9:8002/metrics", "connection refused", http.StatusBadGateway},
		{"http://prometheus:9090/", "not a pod address", http.StatusBadGateway},
	}
	for _, tt := range tests {
		response, err := client.Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != tt.wantStatus || !strings.Contains(string(body), tt.wantBody) {
			t.Errorf("%s: status %d, body %q, %v; want %d, %q", tt.url, response.StatusCode, body, err, tt.wantStatus, tt.wantBody)
		}
	}
	response, err := http.Get(proxy.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a request for the proxy itself: status %d, want 400", response.StatusCode)
	}
}

func TestAddressPool(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.244.3.0/29"))
	seen := map[netip.Addr]bool{}
	var last netip.Addr
	for range 6 { // 8 less the network and broadcast addresses
		a, err := pool.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[a] || !pool.prefix.Contains(a) || a == pool.prefix.Addr() {
			t.Errorf("address %s is not usable or was given twice", a)
		}
		seen[a], last = true, a
	}
	if a, err := pool.take(); err == nil {
		t.Errorf("an exhausted pool gave %s", a)
	}
	pool.release(last)
	if a, err := pool.take(); err != nil || a != last {
		t.Errorf("got %s, %v; want the released %s", a, err, last)
	}
	pool.release(netip.MustParseAddr("10.244.3.1"))
	pool.release(netip.MustParseAddr("10.244.3.2"))
	if a, err := pool.take(); err != nil || a != netip.MustParseAddr("10.244.3.1") {
		t.Errorf("got %s, %v; want the one after the last that was taken", a, err)
	}
}
