package portforward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// piped returns a connection through a tunnel and its other end, at the pod.
func piped(t testing.TB, c *cluster, transport Transport) func() (conn, pod net.Conn) {
	accepted := make(chan net.Conn)
	quit := make(chan struct{})
	c.listen("triton-0", 8001, func(pod net.Conn) {
		select {
		case accepted <- pod:
		case <-quit:
			pod.Close()
		}
	})
	t.Cleanup(func() { close(quit) })
	e := c.dialer(transport).Service("triton", "triton-infer", "grpc")
	return func() (net.Conn, net.Conn) {
		conn := dial(t, e)
		pod := <-accepted
		t.Cleanup(func() { pod.Close() })
		return conn, pod
	}
}

func TestConnConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		pipe := piped(t, tritonCluster(t), transport)
		nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
			conn, pod := pipe()
			return conn, pod, func() { conn.Close(); pod.Close() }, nil
		})
	})
}

func TestHalfClose(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		conn, pod := piped(t, tritonCluster(t), transport)()
		if _, err := io.WriteString(conn, "question"); err != nil {
			t.Fatal(err)
		}
		half := conn.(interface{ CloseWrite() error })
		for range 2 {
			if err := half.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.Write([]byte("more")); !errors.Is(err, errWriteClosed) {
			t.Errorf("write after CloseWrite: %v", err)
		}
		if got, err := io.ReadAll(pod); err != nil || string(got) != "question" {
			t.Fatalf("the pod got %q, %v", got, err)
		}
		if _, err := io.WriteString(pod, "answer"); err != nil {
			t.Fatal(err)
		}
		pod.Close()
		if got, err := io.ReadAll(conn); err != nil || string(got) != "answer" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestWriteAfterThePodClosed(t *testing.T) {
	conn, pod := piped(t, tritonCluster(t), TransportSPDY)()
	pod.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %d, %v; want EOF", n, err)
	}
	var lost *LostError
	eventually(t, "writing fails", func() bool { _, err := conn.Write([]byte("x")); return errors.As(err, &lost) })
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		conn, pod := piped(t, tritonCluster(t), transport)()
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		result := make(chan []byte)
		go func() { got, _ := io.ReadAll(pod); result <- got }()
		if _, err := conn.Write(want); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-result; !bytes.Equal(got, want) {
			t.Errorf("the pod got %d of %d bytes", len(got), len(want))
		}
		for name, op := range map[string]func() error{
			"read":        func() error { _, err := conn.Read(make([]byte, 1)); return err },
			"write":       func() error { _, err := conn.Write([]byte("x")); return err },
			"deadline":    func() error { return conn.SetDeadline(time.Now()) },
			"close write": func() error { return conn.(*streamConn).CloseWrite() },
		} {
			if err := op(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	})
}

type streamConn = conn // a name that local variables do not hide

func TestDeadlines(t *testing.T) {
	past, far := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	soon := func() time.Time { return time.Now().Add(time.Millisecond) }
	never := func() time.Time { return time.Time{} }
	at := func(v time.Time) func() time.Time { return func() time.Time { return v } }
	c := tritonCluster(t)
	pipe := piped(t, c, TransportSPDY)
	for name, test := range map[string]struct {
		set                 func(net.Conn) error
		readFails, writeDue bool
	}{
		"none":                   {func(c net.Conn) error { return nil }, false, false},
		"past both":              {func(c net.Conn) error { return c.SetDeadline(past) }, true, true},
		"past read":              {func(c net.Conn) error { return c.SetReadDeadline(past) }, true, false},
		"past write":             {func(c net.Conn) error { return c.SetWriteDeadline(past) }, false, true},
		"soon read":              {func(c net.Conn) error { return c.SetReadDeadline(soon()) }, true, false},
		"future":                 {func(c net.Conn) error { return c.SetDeadline(far) }, false, false},
		"past, then none":        {then(at(past), never), false, false},
		"past, then future":      {then(at(past), at(far)), false, false},
		"future, then past":      {then(at(far), at(past)), true, true},
		"future, then soon, far": {then(at(far), soon, at(far)), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, pod := pipe()
			if err := test.set(conn); err != nil {
				t.Fatal(err)
			}
			if !test.readFails {
				if _, err := pod.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			_, err := conn.Read(make([]byte, 1))
			if got := errors.Is(err, os.ErrDeadlineExceeded); got != test.readFails || (!got && err != nil) {
				t.Errorf("read: %v", err)
			}
			_, err = conn.Write([]byte("y"))
			if got := errors.Is(err, os.ErrDeadlineExceeded); got != test.writeDue || (!got && err != nil) {
				t.Errorf("write: %v", err)
			}
			// A deadline spoils nothing: moved away, both directions work.
			if err := conn.SetDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := pod.Write([]byte("z")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Errorf("read afterwards: %v", err)
			}
			if _, err := conn.Write([]byte("w")); err != nil {
				t.Errorf("write afterwards: %v", err)
			}
		})
	}
}

func then(times ...func() time.Time) func(net.Conn) error {
	return func(c net.Conn) error {
		for _, t := range times {
			if err := c.SetDeadline(t()); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestBlockedWriteMeetsDeadlineAndClose(t *testing.T) {
	pipe := piped(t, tritonCluster(t), TransportSPDY)
	fill := func(conn net.Conn) chan error {
		result := make(chan error, 1)
		go func() {
			for {
				if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
					result <- err
					return
				}
			}
		}()
		return result
	}
	full := func(conn net.Conn) func() bool {
		s := conn.(*streamConn).s
		return func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.waiting }
	}
	conn, pod := pipe() // the pod does not read
	result := fill(conn)
	eventually(t, "the send buffer is full", full(conn))
	conn.SetWriteDeadline(time.Now())
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	conn.SetWriteDeadline(time.Time{})
	result = fill(conn)
	eventually(t, "the send buffer is full", full(conn))
	conn.Close()
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	pod.Close()
}

// A connection whose owner does not read is held, and lets go when it is
// closed; the others lose nothing.
func TestUnreadConnectionHoldsNothingForever(t *testing.T) {
	pipe := piped(t, tritonCluster(t), TransportSPDY)
	lazy, lazyPod := pipe()
	busy, busyPod := pipe()
	go func() {
		for {
			if _, err := lazyPod.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	s := lazy.(*streamConn).s
	eventually(t, "the tunnel waits for the reader", s.stalled.Load)
	if n := len(lazy.(*streamConn).buf); n > maxReceiveBytes+readBufferBytes {
		t.Errorf("%d bytes are held", n)
	}
	go busyPod.Write([]byte("hello"))
	lazy.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(busy, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRandomChunksBothWays(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		pipe := piped(t, tritonCluster(t), transport)
		conn, pod := pipe()
		var wg sync.WaitGroup
		for i, way := range []struct{ from, to net.Conn }{{conn, pod}, {pod, conn}} {
			random := rand.New(rand.NewSource(int64(i)))
			sent, got := sha256.New(), sha256.New()
			const total = 8 << 20
			wg.Go(func() {
				for left := total; left > 0; {
					chunk := make([]byte, min(left, 1+random.Intn(200<<10)))
					random.Read(chunk)
					sent.Write(chunk)
					if _, err := way.from.Write(chunk); err != nil {
						t.Error(err)
						return
					}
					left -= len(chunk)
				}
			})
			wg.Go(func() {
				if _, err := io.CopyN(struct{ io.Writer }{got}, way.to, total); err != nil {
					t.Error(err)
				}
			})
			defer func() {
				if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
					t.Errorf("way %d: what arrived is not what was sent", i)
				}
			}()
		}
		wg.Wait()
	})
}

func TestWriteTo(t *testing.T) {
	conn, pod := piped(t, tritonCluster(t), TransportSPDY)()
	want := make([]byte, 3<<20)
	rand.New(rand.NewSource(1)).Read(want)
	go func() { pod.Write(want); pod.Close() }()
	var got bytes.Buffer
	n, err := conn.(io.WriterTo).WriteTo(struct{ io.Writer }{&got})
	if err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestStreamsAreGivenBack(t *testing.T) {
	c := tritonCluster(t)
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	keep := dial(t, e)
	s := keep.(*streamConn).s
	for range 100 {
		conn, err := e.DialContext(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(conn, "x"); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) != 2 {
		t.Errorf("%d streams are open, want the 2 of one connection", len(s.streams))
	}
}
