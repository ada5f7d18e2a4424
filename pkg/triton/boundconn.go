package triton

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// boundConn is a connection whose operations end with the context and the
// deadline of one request after the other. A deadline and a watch on a context
// cost more than the rest of a small request, so both stay from one request to
// the next: the connection's own deadline may be an earlier request's, and is
// moved when it strikes too early; the watch stays while the context's Done
// channel is the same.
type boundConn struct {
	net.Conn
	raw *rawExchange // nil where there is none

	// unwritten is the request until the first read, writeErr what became of it.
	unwritten []byte
	writeErr  error
	readErr   error // of the last read
	began     time.Time
	busy      bool // the request before began a moment ago

	// Of the request in progress.
	ctx      context.Context
	deadline time.Time // zero for none

	watched     <-chan struct{}
	unwatch     func() bool
	interrupted chan struct{} // closed when the watched context's end was acted upon

	mu    sync.Mutex
	armed time.Time // the connection's deadline, zero for none
	ended bool      // the watched context has ended
}

// maxIdle is the longest time between the starts of two requests for which the
// connection counts as busy.
const maxIdle = 5 * time.Millisecond

// maxBlind bounds the time in which a raw exchange may miss that the connection
// ended before its request: a deadline interrupts it, and an ordinary read sees.
const maxBlind = time.Second

func newBoundConn(conn net.Conn) *boundConn {
	return &boundConn{Conn: conn, raw: newRawExchange(conn)}
}

// begin starts a request that ends with ctx and at deadline, if that isn't zero.
func (c *boundConn) begin(ctx context.Context, now, deadline time.Time) error {
	c.busy = now.Sub(c.began) < maxIdle
	c.ctx, c.began, c.deadline = ctx, now, deadline
	c.unwritten, c.writeErr, c.readErr = nil, nil, nil
	if done := ctx.Done(); done != c.watched {
		c.release()
		if done != nil {
			c.watch(ctx, done)
		}
	}
	// armed is only changed by this request's own goroutine.
	none, wanted := c.armed.IsZero(), !deadline.IsZero() || c.raw != nil
	if none && wanted || !deadline.IsZero() && deadline.Before(c.armed) {
		return c.arm()
	}
	return nil
}

// watch makes the end of ctx that of the connection's operations.
func (c *boundConn) watch(ctx context.Context, done <-chan struct{}) {
	interrupted := make(chan struct{})
	c.watched, c.interrupted = done, interrupted
	c.unwatch = context.AfterFunc(ctx, func() {
		defer close(interrupted)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		_ = c.SetDeadline(time.Unix(1, 0))
	})
}

// release ends the watch. When its context has ended, the connection's deadline
// in the past counts as one that strikes too early for the next request.
func (c *boundConn) release() {
	if c.watched == nil {
		return
	}
	if !c.unwatch() {
		<-c.interrupted
	}
	c.watched, c.unwatch, c.interrupted = nil, nil, nil
	c.ended = false
}

func (c *boundConn) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return os.ErrDeadlineExceeded
	}
	c.armed = c.deadline
	if c.raw != nil {
		if soon := time.Now().Add(maxBlind); c.armed.IsZero() || soon.Before(c.armed) {
			c.armed = soon
		}
	}
	return c.SetDeadline(c.armed)
}

// early tells whether err comes from a deadline that isn't this request's; it
// has then been moved and the operation can go on.
func (c *boundConn) early(err error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.ctx.Err() != nil {
		return false
	}
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return false
	}
	return c.arm() == nil
}

// request sets what the first Read writes before it reads. Its error is then
// that of reading, and writeErr that of writing: a server may answer and close
// before it has read the whole request.
func (c *boundConn) request(p []byte) { c.unwritten = p }

// Read implements net.Conn.
func (c *boundConn) Read(p []byte) (n int, err error) {
	n, err = c.read(p)
	c.readErr = err
	return n, err
}

func (c *boundConn) read(p []byte) (int, error) {
	if len(c.unwritten) > 0 {
		if n, done, err := c.exchange(p); done {
			return n, err
		}
	}
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || !c.early(err) {
			return n, err
		}
	}
}

// exchange writes the request. It is done if it has also begun to read.
func (c *boundConn) exchange(p []byte) (n int, done bool, err error) {
	out := c.unwritten
	c.unwritten = nil
	// The end of a connection that has been idle may well have come before the
	// request, which only an ordinary read sees at once.
	if c.raw != nil && c.busy && len(out) <= maxRawBytes {
		var written int
		written, n, c.writeErr, err = c.raw.exchange(out, p)
		out = out[written:]
		switch {
		case n > 0:
			return n, true, nil
		case c.writeErr != nil:
			return 0, false, nil
		case err != nil && !c.early(err):
			if errors.Is(err, os.ErrDeadlineExceeded) && c.raw.ended() {
				err = io.EOF
			}
			return 0, true, err
		}
	}
	if len(out) > 0 {
		_, c.writeErr = c.Write(out)
	}
	return 0, false, nil
}

// Write implements net.Conn.
func (c *boundConn) Write(p []byte) (written int, err error) {
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if written == len(p) || !c.early(err) {
			return written, err
		}
	}
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}
