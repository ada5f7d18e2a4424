package triton

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// tcpPair is a connection of the loopback interface, from both sides.
func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
	return conn.(*net.TCPConn), other.(*net.TCPConn)
}

func TestRawExchangeWritesAndReads(t *testing.T) {
	near, far := tcpPair(t)
	r := newRawExchange(near)
	in := make([]byte, 100)
	for range 1000 {
		go func() {
			got := make([]byte, 3)
			if _, err := io.ReadFull(far, got); err != nil {
				t.Error(err)
			}
			_, _ = far.Write(got)
		}()
		written, read, writeErr, err := r.exchange([]byte("abc"), in)
		if written != 3 || writeErr != nil || err != nil || string(in[:read]) != "abc" {
			t.Fatalf("%d written, %q read, %v, %v", written, in[:read], writeErr, err)
		}
	}
}

func TestRawExchangeSaysWhatItDidNotWrite(t *testing.T) {
	near, _ := tcpPair(t)
	if err := near.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 64<<20)
	written, read, writeErr, err := newRawExchange(near).exchange(out, make([]byte, 1))
	if written == 0 || written == len(out) || read != 0 || writeErr != nil || err != nil {
		t.Errorf("%d written, %d read, %v, %v", written, read, writeErr, err)
	}
	// Now nothing fits.
	for written > 0 {
		if written, _, writeErr, err = newRawExchange(near).exchange(out, make([]byte, 1)); writeErr != nil || err != nil {
			t.Fatal(writeErr, err)
		}
	}
}

func TestRawExchangeOnABrokenConnection(t *testing.T) {
	near, far := tcpPair(t)
	r := newRawExchange(near)
	in := make([]byte, 1)
	if err := near.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if written, _, _, err := r.exchange([]byte("a"), in); written != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %d written, %v", written, err)
	}
	if written, _, _, err := r.exchange([]byte("a"), in); written != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline in the past: %d written, %v", written, err)
	}
	if r.ended() {
		t.Error("ended, though only slow")
	}
	if err := near.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	var err, writeErr error
	for writeErr == nil {
		// The reset may come after the first write.
		if _, _, writeErr, err = r.exchange([]byte("a"), in); writeErr == nil && err == nil {
			t.Fatal("no error of a connection that was reset")
		}
	}
	if !errors.Is(writeErr, syscall.EPIPE) && !errors.Is(writeErr, syscall.ECONNRESET) {
		t.Errorf("write: %v", writeErr)
	}
	_ = near.Close()
	if _, _, _, err := r.exchange([]byte("a"), in); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestEndOfABusyConnectionIsNoTimeout: the other side ends its direction before
// the request and keeps reading, of which no event tells afterwards.
func TestEndOfABusyConnectionIsNoTimeout(t *testing.T) {
	for _, tc := range []struct {
		busy  bool
		limit time.Duration // 0 for none
	}{{true, 100 * time.Millisecond}, {true, time.Minute}, {true, 0}, {false, time.Minute}} {
		near, far := tcpPair(t)
		c := newBoundConn(near)
		if err := far.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for !c.raw.ended() {
			time.Sleep(time.Millisecond)
		}
		begin := time.Now()
		c.began = begin.Add(-time.Hour)
		if tc.busy {
			c.began = begin
		}
		var deadline time.Time
		if tc.limit > 0 {
			deadline = begin.Add(tc.limit)
		}
		if err := c.begin(t.Context(), begin, deadline); err != nil {
			t.Fatal(err)
		}
		c.request([]byte("a"))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%+v: %d, %v", tc, n, err)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%+v: it was seen after %s", tc, took)
		}
		_ = c.Close()
	}
}

func TestLargeRequestsAndAnswersOnABusyConnection(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	near, far := tcpPair(t)
	c := newBoundConn(near)
	var server sync.WaitGroup
	server.Go(func() {
		br := bufio.NewReader(far)
		for {
			size, err := br.ReadByte()
			if err != nil {
				return
			}
			rest := make([]byte, int(size)<<16-1)
			if _, err := io.ReadFull(br, rest); err != nil {
				t.Error(err)
				return
			}
			_, _ = far.Write(rest)
		}
	})
	reader := bufio.NewReader(c)
	for _, size := range []int{1, 2, 200, 1, 100} {
		out := bytes.Repeat([]byte{byte(size)}, size<<16)
		c.began = time.Now()
		if err := c.begin(t.Context(), c.began, c.began.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		c.request(out)
		in := make([]byte, len(out)-1)
		if _, err := io.ReadFull(reader, in); err != nil || c.writeErr != nil {
			t.Fatalf("%d: %v, %v", size, err, c.writeErr)
		}
		if !bytes.Equal(in, out[1:]) {
			t.Fatalf("%d: the answer differs", size)
		}
	}
	_ = c.Close()
	_ = far.Close()
	server.Wait()
}

func TestBusyTCPRequestAllocatesNothing(t *testing.T) {
	near, far := tcpPair(t)
	answer := []byte(withLength("200 OK", "", goodAnswer))
	go func() {
		// A request comes in one piece.
		for request := make([]byte, 64<<10); ; {
			if _, err := far.Read(request); err != nil {
				return
			}
			_, _ = far.Write(answer)
		}
	}()
	s, err := NewHTTPSender(func(context.Context, string, string) (net.Conn, error) { return near, nil },
		build(t, smallModel(), RequestOptions{}), HTTPOptions{Binary: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	seq := uint64(0)
	n := testing.AllocsPerRun(1000, func() {
		seq++
		if _, err := s.Send(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// TestSlowAnswersOnABusyConnection: an answer that takes longer than the
// connection's own deadline stands is a success, and so is the request after.
func TestSlowAnswersOnABusyConnection(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("requests", func(t *testing.T) {
		var n atomic.Int64
		dial := dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
			for readRequest(br) {
				if n.Add(1) == 2 {
					time.Sleep(maxBlind + 200*time.Millisecond)
				}
				_, _ = io.WriteString(conn, withLength("200 OK", "", goodAnswer))
			}
		}))
		s, err := NewHTTPSender(dial, build(t, smallModel(), RequestOptions{}), HTTPOptions{Binary: true, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for seq := range uint64(4) {
			if _, err := s.Send(t.Context(), seq); err != nil {
				t.Fatalf("request %d: %v", seq, err)
			}
		}
		if n.Load() != 4 {
			t.Errorf("the server had %d requests", n.Load())
		}
	})
}
