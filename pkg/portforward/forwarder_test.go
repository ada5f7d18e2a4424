package portforward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// forward runs a Forwarder until the end of the test.
func forward(t *testing.T, e ContextDialer, config ForwarderConfig) *Forwarder {
	t.Helper()
	f := NewForwarder(e, config)
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := f.Active(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return f
}

func local(t *testing.T, f *Forwarder) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestForwarder(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		f := forward(t, c.dialer(transport).Service("triton", "triton-infer", "http"), ForwarderConfig{OnError: func(err error) { t.Error(err) }})
		if host, _, _ := net.SplitHostPort(f.LocalAddr().String()); host != "127.0.0.1" {
			t.Errorf("listens on %s", host)
		}
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				conn, err := net.Dial("tcp", f.LocalAddr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				want := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
				go func() {
					conn.Write(want)
					conn.(*net.TCPConn).CloseWrite()
				}()
				got, err := io.ReadAll(conn)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d of %d bytes, %v", len(got), len(want), err)
				}
			})
		}
		wg.Wait()
		eventually(t, "all connections end", func() bool { return f.Active() == 0 })
	})
}

func TestForwarderSurvivesRefusalsAndRestarts(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	var refusals atomic.Int64
	refusing := forward(t, d.Service("triton", "triton-infer", "metrics"), ForwarderConfig{OnError: func(err error) {
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
		refusals.Add(1)
	}})
	for range 30 {
		conn, err := net.Dial("tcp", refusing.LocalAddr().String())
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the client got %v, want a reset", err)
		}
	}
	eventually(t, "every refusal is told", func() bool { return refusals.Load() == 30 })

	var errs atomic.Int64
	f := forward(t, d.Service("triton", "triton-infer", "http"), ForwarderConfig{OnError: func(error) { errs.Add(1) }})
	before := local(t, f)
	if err := exchange(before, "before"); err != nil {
		t.Fatal(err)
	}
	if f.Active() != 1 {
		t.Errorf("%d are active, want 1", f.Active())
	}
	c.deletePod("triton", "triton-0")
	if _, err := before.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v, want a reset", err)
	}
	c.setPod(readyPod("triton-1"))
	c.listen("triton-1", 8000, echo)
	if err := exchange(local(t, f), "after"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is told", func() bool { return errs.Load() == 1 })
}

func TestForwarderClientGoesAway(t *testing.T) {
	c := tritonCluster(t)
	f := forward(t, c.dialer(TransportSPDY).Service("triton", "triton-infer", "http"), ForwarderConfig{OnError: func(err error) { t.Errorf("told %v", err) }})
	conn := local(t, f)
	if err := exchange(conn, "x"); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	eventually(t, "the connection ends", func() bool { return f.Active() == 0 })
}

func TestForwarderPorts(t *testing.T) {
	c := tritonCluster(t)
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	first := forward(t, e, ForwarderConfig{})
	taken := first.LocalAddr().(*net.TCPAddr).Port
	if err := NewForwarder(e, ForwarderConfig{Port: taken}).Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	next := forward(t, e, ForwarderConfig{Port: taken, NextFree: true})
	if port := next.LocalAddr().(*net.TCPAddr).Port; port <= taken || port > taken+nextFreeTries {
		t.Errorf("got port %d after %d", port, taken)
	}
	if err := exchange(local(t, next), "x"); err != nil {
		t.Fatal(err)
	}
}

func TestForwarderCloseEndsConnections(t *testing.T) {
	c := tritonCluster(t)
	f := forward(t, c.dialer(TransportSPDY).Service("triton", "triton-infer", "http"), ForwarderConfig{})
	conn := local(t, f)
	if err := exchange(conn, "x"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	if f.Active() != 0 {
		t.Error("Close did not wait")
	}
	if err := f.Listen(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listening again: %v", err)
	}
}

func TestForwarderCloseWhileDialling(t *testing.T) {
	c := tritonCluster(t)
	c.hang = make(chan struct{})
	f := forward(t, c.dialer(TransportSPDY).Service("triton", "triton-infer", "http"), ForwarderConfig{OnError: func(err error) { t.Errorf("told %v", err) }})
	local(t, f)
	eventually(t, "the dial is under way", func() bool { return c.count("create pods/portforward") > 0 })
	f.Close()
}

// resetTunnel gives a connection whose tunnel is reset, as a proxy's end does it,
// once something was written: its next Read tells, or that Write.
type resetTunnel struct {
	net.Conn
	written chan struct{} // nil if Write tells
}

func (r *resetTunnel) DialContext(context.Context, string, string) (net.Conn, error) { return r, nil }

func (r *resetTunnel) lost() error {
	return &LostError{Err: fmt.Errorf("on the tunnel: %w", syscall.ECONNRESET)}
}

func (r *resetTunnel) Write(p []byte) (int, error) {
	if r.written == nil {
		return 0, r.lost()
	}
	close(r.written)
	return len(p), nil
}

func (r *resetTunnel) Read(p []byte) (int, error) {
	if r.written == nil {
		return r.Conn.Read(p)
	}
	<-r.written
	return 0, r.lost()
}

// TestForwarderResetTunnelIsNoEnd: a reset of the tunnel is not one of the client,
// who must not take it for a regular end.
func TestForwarderResetTunnelIsNoEnd(t *testing.T) {
	for name, written := range map[string]chan struct{}{"reading": make(chan struct{}), "writing": nil} {
		t.Run(name, func(t *testing.T) {
			near, far := socketPair(t)
			defer far.Close()
			told := make(chan error, 1)
			f := forward(t, &resetTunnel{near, written}, ForwarderConfig{OnError: func(err error) { told <- err }})
			conn := local(t, f)
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a reset", err)
			}
			eventually(t, "the connection ends", func() bool { return f.Active() == 0 })
			var lost *LostError
			select {
			case err := <-told:
				if !errors.As(err, &lost) {
					t.Errorf("told %v", err)
				}
			default:
				t.Error("nothing was told")
			}
		})
	}
}
