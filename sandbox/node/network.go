package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Network is the cluster's pod network: which loopback address stands for
// which port of a pod. It is shared by all nodes of a sandbox. As an
// http.Handler it is a forward proxy to pod addresses.
type Network struct {
	mu    sync.RWMutex
	ports map[netip.AddrPort]string

	once  sync.Once
	proxy *httputil.ReverseProxy
}

// NewNetwork returns an empty Network.
func NewNetwork() *Network {
	return &Network{ports: map[netip.AddrPort]string{}}
}

func (n *Network) publish(podIP netip.Addr, port int32, local string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[netip.AddrPortFrom(podIP, uint16(port))] = local
}

func (n *Network) withdraw(podIP netip.Addr, port int32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ports, netip.AddrPortFrom(podIP, uint16(port)))
}

func (n *Network) lookup(podIP netip.Addr, port int32) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	local, ok := n.ports[netip.AddrPortFrom(podIP, uint16(port))]
	return local, ok
}

// dial connects to a pod's port. Nothing listening there is the same
// ECONNREFUSED that a pod's network would answer.
func (n *Network) dial(ctx context.Context, podIP netip.Addr, port int32) (net.Conn, error) {
	local, ok := n.lookup(podIP, port)
	if !ok {
		address := net.TCPAddrFromAddrPort(netip.AddrPortFrom(podIP, uint16(port)))
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: syscall.ECONNREFUSED}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", local)
}

// DialContext dials a pod address of the form ip:port.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("%s is not a pod address and port: %w", address, err)
	}
	return n.dial(ctx, target.Addr(), int32(target.Port()))
}

// ServeHTTP forwards what Prometheus sends to its proxy_url to the pod that the
// URL names: plain HTTP requests in absolute form, and connections for TLS.
func (n *Network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		n.serveConnect(w, r)
		return
	}
	if !r.URL.IsAbs() || r.URL.Scheme != "http" {
		http.Error(w, "the sandbox's proxy takes absolute http URLs of pods only, got "+strconv.Quote(r.Method+" "+r.URL.String()), http.StatusBadRequest)
		return
	}
	n.once.Do(func() {
		n.proxy = &httputil.ReverseProxy{
			Rewrite:   func(*httputil.ProxyRequest) {},
			Transport: &http.Transport{DialContext: n.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				w.WriteHeader(http.StatusBadGateway)
				_, _ = io.WriteString(w, fmt.Sprintf("cannot reach %s: %v\n", r.URL.Host, err)) // the peer may be gone
			},
		}
	})
	n.proxy.ServeHTTP(w, r)
}

// serveConnect joins the client's connection to a pod's port.
func (n *Network) serveConnect(w http.ResponseWriter, r *http.Request) {
	target, err := n.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, fmt.Sprintf("cannot reach %s: %v", r.Host, err), http.StatusBadGateway)
		return
	}
	defer target.Close()
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "the connection can't be taken over", http.StatusInternalServerError)
		return
	}
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	// Either side may end at any time; the other one is then closed with it.
	go func() { _, _ = io.Copy(target, buffered); done <- struct{}{} }()
	go func() { _, _ = io.Copy(client, target); done <- struct{}{} }()
	<-done
}

// addressPool hands out the addresses of one node's pods.
type addressPool struct {
	mu     sync.Mutex
	prefix netip.Prefix
	next   netip.Addr
	used   map[netip.Addr]bool
}

func newAddressPool(prefix netip.Prefix) *addressPool {
	return &addressPool{prefix: prefix, next: prefix.Addr(), used: map[netip.Addr]bool{}}
}

// take returns the address that was released longest ago, as CNI's host-local
// does, so that a new pod rarely shows an old one's address.
func (p *addressPool) take() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1 << (p.prefix.Addr().BitLen() - p.prefix.Bits()) {
		p.next = p.next.Next()
		if !p.prefix.Contains(p.next) {
			p.next = p.prefix.Addr()
			continue
		}
		last := !p.prefix.Contains(p.next.Next())
		if p.used[p.next] || last {
			continue
		}
		p.used[p.next] = true
		return p.next, nil
	}
	return netip.Addr{}, fmt.Errorf("no free pod address is left in %s", p.prefix)
}

func (p *addressPool) release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, a)
}
