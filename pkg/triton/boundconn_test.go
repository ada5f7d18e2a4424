package triton

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// countingConn counts the operations that a request should need one of.
type countingConn struct {
	net.Conn
	reads, writes, deadlines atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func (c *countingConn) SetDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetDeadline(t)
}

// answering is a server that answers each request well.
func answering(t *testing.T) DialFunc {
	return dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			_, _ = io.WriteString(conn, withLength("200 OK", "", goodAnswer))
		}
	}))
}

func TestHTTPRequestIsOneWriteAndOneReadWithoutAllocation(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("requests", func(t *testing.T) {
		var conn *countingConn
		dial := answering(t)
		s, err := NewHTTPSender(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			conn = &countingConn{Conn: c}
			return conn, err
		}, build(t, smallModel(), RequestOptions{}), HTTPOptions{Binary: true, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		const requests = 1000
		for seq := range uint64(requests) {
			if _, err := s.Send(ctx, seq); err != nil {
				t.Fatal(err)
			}
		}
		if conn.reads.Load() != requests || conn.writes.Load() != requests {
			t.Errorf("%d reads and %d writes for %d requests", conn.reads.Load(), conn.writes.Load(), requests)
		}
		if n := conn.deadlines.Load(); n != 1 {
			t.Errorf("the deadline was moved %d times", n)
		}
	})
}

// constantConn answers each write at once, without a server that allocates.
type constantConn struct {
	net.Conn
	answer []byte
	left   []byte
}

func (c *constantConn) Write(p []byte) (int, error) {
	c.left = c.answer
	return len(p), nil
}

func (c *constantConn) Read(p []byte) (int, error) {
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *constantConn) SetDeadline(time.Time) error { return nil }
func (c *constantConn) Close() error                { return nil }

func TestHTTPRequestAllocatesNothing(t *testing.T) {
	for name, opts := range map[string]HTTPOptions{"binary": {Binary: true, Timeout: time.Hour}, "JSON": {Timeout: time.Hour}} {
		s, err := NewHTTPSender(func(context.Context, string, string) (net.Conn, error) {
			return &constantConn{answer: []byte(withLength("200 OK", "", goodAnswer))}, nil
		}, build(t, smallModel(), RequestOptions{}), opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		seq := uint64(0)
		n := testing.AllocsPerRun(1000, func() {
			seq++
			if _, err := s.Send(ctx, seq); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations per request", name, n)
		}
		cancel()
		_ = s.Close()
	}
}

// boundPipe is a bound connection over a pipe whose other end is the test's.
func boundPipe(t *testing.T) (*boundConn, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	c := newBoundConn(near)
	t.Cleanup(func() { _ = c.Close() })
	return c, far
}

func TestBoundConnGoesOnAfterAnEarlierRequestsDeadline(t *testing.T) {
	for name, later := range map[string]time.Time{"later": time.Now().Add(time.Hour), "none": {}} {
		for _, during := range []string{"write", "read"} {
			c, far := boundPipe(t)
			counted := &countingConn{Conn: c.Conn}
			c.Conn = counted
			if err := c.begin(t.Context(), time.Now(), time.Now().Add(20*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := c.begin(t.Context(), time.Now(), later); err != nil {
				t.Fatal(err)
			}
			if counted.deadlines.Load() != 1 {
				t.Errorf("%s: a later deadline was armed at once", name)
			}
			struck := func() {
				for counted.deadlines.Load() == 1 {
					time.Sleep(time.Millisecond)
				}
			}
			var other sync.WaitGroup
			other.Go(func() {
				if during == "write" {
					struck()
				}
				got := make([]byte, 2)
				if _, err := io.ReadFull(far, got); err != nil || string(got) != "ab" {
					t.Errorf("%s: %q, %v", name, got, err)
				}
				if during == "read" {
					struck()
				}
				if _, err := far.Write([]byte("c")); err != nil {
					t.Error(err)
				}
			})
			if n, err := c.Write([]byte("ab")); n != 2 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			if n, err := c.Read(make([]byte, 9)); n != 1 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			other.Wait()
			if !c.armed.Equal(later) {
				t.Errorf("%s: armed %s when an earlier deadline struck, want %s", name, c.armed, later)
			}
		}
	}
}

func TestBoundConnEndsAtItsOwnDeadline(t *testing.T) {
	c, _ := boundPipe(t)
	for _, limit := range []time.Duration{time.Hour, 30 * time.Millisecond, 20 * time.Millisecond, -time.Second} {
		deadline := time.Now().Add(limit)
		if err := c.begin(t.Context(), time.Now(), deadline); err != nil {
			t.Fatal(err)
		}
		if limit == time.Hour {
			continue
		}
		if _, err := c.Read(make([]byte, 1)); classOf(networkError(t.Context(), err, "")) != ClassTimeout || time.Now().Before(deadline) {
			t.Errorf("%s: %v", limit, err)
		}
	}
}

func TestBoundConnEndsWithTheContextOfItsRequestOnly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c, far := boundPipe(t)
	for range 50 {
		over, cancel := context.WithCancel(t.Context())
		if err := c.begin(over, time.Now(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		go cancel()
		if _, err := c.Read(make([]byte, 1)); classOf(networkError(over, err, "")) != ClassCanceled {
			t.Fatalf("canceled: %v", err)
		}
		// A context that ends between requests must not hit the next one.
		between, cancel := context.WithCancel(t.Context())
		if err := c.begin(between, time.Now(), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := c.begin(t.Context(), time.Now(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = far.Write([]byte("x")) }()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
