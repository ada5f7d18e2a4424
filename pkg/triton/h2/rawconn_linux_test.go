package h2

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// unread is how many bytes a connection has received that nobody has read.
func unread(t *testing.T, nc net.Conn) (n int) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnswerBehindAPingIsSeenAtOnce: a call reads a ping and answers it; its own
// answer may be there before it reads again.
func TestAnswerBehindAPingIsSeenAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	steps := make(chan struct{})
	meet := func(send bool) {
		in, out := steps, chan struct{}(nil)
		if send {
			in, out = nil, steps
		}
		select {
		case out <- struct{}{}:
		case <-in:
		case <-ctx.Done():
		}
	}
	address := script(t, false, func(p *peer) {
		p.silent = true // nothing else may come
		for n := 0; p.Framer != nil; n++ {
			r, err := p.next()
			if err != nil {
				return
			}
			var whole bytes.Buffer
			out := &peer{Framer: http2.NewFramer(&whole, nil)}
			out.encoder = hpack.NewEncoder(&out.encoded)
			out.encoder.SetMaxDynamicTableSize(0)
			out.answer(r.stream, answerTo(r.message))
			if n == 0 { // what begins a connection goes before its answer
				_, _ = p.Write(whole.Bytes())
				continue
			}
			meet(true)
			meet(false)
			_ = p.WritePing(false, [8]byte{1})
			meet(true)
			meet(false)
			_, _ = p.Write(whole.Bytes())
			meet(true)
		}
	})
	opts := testOptions
	opts.attendInterval = time.Hour
	client := newTestClient(t, address, func(nc net.Conn) net.Conn { return nc }, opts)
	k := newTestCall(t, client)
	if err := ask(ctx, k, "a", 10); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		done := make(chan error, 1)
		go func() { done <- ask(ctx, k, "a", 10) }()
		meet(false) // the request has arrived
		c := client.current.Load()
		for c.mu.Lock(); !c.reading || c.writing; c.mu.Lock() {
			c.mu.Unlock()
			runtime.Gosched()
		}
		// The lock holds the call up between its reads.
		meet(true)
		meet(false)
		for unread(t, c.net) > 0 && ctx.Err() == nil {
			runtime.Gosched()
		}
		meet(true)
		meet(false)
		for unread(t, c.net) == 0 && ctx.Err() == nil {
			runtime.Gosched()
		}
		c.mu.Unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
