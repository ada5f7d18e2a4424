package controlplane

import (
	"fmt"
	"net"
	"sync"
)

// gate is the API server's listener. Closed, it stands for an API server that
// is down: every connection is cut and new ones are refused, while the process
// goes on; opened again, it listens on the same port.
type gate struct {
	address *net.TCPAddr

	mu     sync.Mutex
	inner  net.Listener  // nil while closed
	opened chan struct{} // closed when inner is set again
	ended  bool
	conns  map[net.Conn]bool
}

func newGate() (*gate, error) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &gate{address: inner.Addr().(*net.TCPAddr), inner: inner, conns: map[net.Conn]bool{}}, nil
}

func (g *gate) Addr() net.Addr { return g.address }

// Accept waits, over any time that the gate is closed.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		inner, opened, ended := g.inner, g.opened, g.ended
		g.mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		if inner == nil {
			<-opened
			continue
		}
		conn, err := inner.Accept()
		if err != nil {
			g.mu.Lock()
			shut := g.inner != inner
			g.mu.Unlock()
			if shut {
				continue
			}
			return nil, err
		}
		g.mu.Lock()
		if g.inner != inner {
			g.mu.Unlock()
			conn.Close()
			continue
		}
		g.conns[conn] = true
		g.mu.Unlock()
		return &gatedConn{Conn: conn, gate: g}, nil
	}
}

// Close ends the listener for good.
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	g.ended = true
	if g.inner == nil {
		close(g.opened)
		return nil
	}
	return g.inner.Close()
}

// shut cuts all connections and refuses new ones until open.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inner == nil || g.ended {
		return nil
	}
	err := g.inner.Close()
	g.inner, g.opened = nil, make(chan struct{})
	for conn := range g.conns {
		conn.Close()
	}
	clear(g.conns)
	if err != nil {
		return fmt.Errorf("cannot close the API server's port: %w", err)
	}
	return nil
}

func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inner != nil || g.ended {
		return nil
	}
	inner, err := net.ListenTCP("tcp4", g.address)
	if err != nil {
		return fmt.Errorf("cannot open the API server's port again: %w", err)
	}
	g.inner = inner
	close(g.opened)
	return nil
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c.Conn)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
