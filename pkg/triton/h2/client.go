package h2

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// DialFunc opens a connection to the server.
type DialFunc func(ctx context.Context) (net.Conn, error)

// Options of a Client.
type Options struct {
	// Authority, Method ("/package.Service/Method") and UserAgent of each call.
	Authority, Method, UserAgent string
	// MaxMessageBytes bounds an answer; 0 means 2 GiB - 1.
	MaxMessageBytes int

	// receiveWindow is what the server may send before it hears more, for a
	// stream and for the connection; 0 means maxWindow.
	receiveWindow int
	// attendInterval is how long a connection is quiet before it is looked at;
	// 0 means defaultAttendInterval.
	attendInterval time.Duration
}

// Client has one connection at a time, which all its calls share. It is dialled
// for the first call, and again for the next one after it was lost. Safe for
// concurrent use.
type Client struct {
	dial    DialFunc
	options Options

	current atomic.Pointer[conn] // may have ended

	mu      sync.Mutex
	attempt *attempt       // at a connection, nil if there is none
	open    map[*conn]bool // the current one, and those whose last calls are not over
	closed  bool
}

// attempt is one at a connection, for all calls that need it.
type attempt struct {
	over chan struct{}
	err  error
	// given up by the call that made it
	abandoned bool
}

// ConnectError is a call that failed for want of a connection.
type ConnectError struct{ Err error }

// Error is the cause's.
func (e *ConnectError) Error() string { return e.Err.Error() }

// Unwrap is why there is no connection.
func (e *ConnectError) Unwrap() error { return e.Err }

// LostError is a call whose connection ended before the answer.
type LostError struct{ Err error }

// Error is the cause's.
func (e *LostError) Error() string { return e.Err.Error() }

// Unwrap is why the connection ended.
func (e *LostError) Unwrap() error { return e.Err }

var errClosed = errors.New("the client is closed")

// NewClient returns a Client that has not dialled yet.
func NewClient(dial DialFunc, opts Options) *Client {
	if opts.MaxMessageBytes <= 0 || opts.MaxMessageBytes > maxWindow {
		opts.MaxMessageBytes = maxWindow
	}
	if opts.receiveWindow == 0 {
		opts.receiveWindow = maxWindow
	}
	if opts.attendInterval == 0 {
		opts.attendInterval = defaultAttendInterval
	}
	return &Client{dial: dial, options: opts, open: map[*conn]bool{}}
}

// connection returns the current connection; stale is one that takes no calls.
func (c *Client) connection(ctx context.Context, stale *conn) (*conn, error) {
	if now := c.current.Load(); now != nil && now != stale {
		return now, nil
	}
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, &ConnectError{errClosed}
		}
		if now := c.current.Load(); now != nil && now != stale {
			c.mu.Unlock()
			return now, nil
		}
		a := c.attempt
		if a == nil {
			a = &attempt{over: make(chan struct{})}
			c.attempt = a
			c.mu.Unlock()
			return c.connect(ctx, a)
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-a.over:
			if a.err != nil && !a.abandoned {
				return nil, &ConnectError{a.err}
			}
		}
	}
}

// connect makes an attempt.
func (c *Client) connect(ctx context.Context, a *attempt) (*conn, error) {
	made, err := connect(ctx, c)
	if err == nil {
		made.start()
	}
	c.mu.Lock()
	if err == nil && c.closed {
		err = errClosed
	}
	if err == nil {
		c.open[made] = true
		c.current.Store(made)
	}
	a.err, a.abandoned = err, err != nil && ctx.Err() != nil
	c.attempt = nil
	close(a.over)
	c.mu.Unlock()
	if err == nil {
		return made, nil
	}
	if made != nil {
		made.close(err)
		made.background.Wait()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &ConnectError{err}
}

// ended is called once by each connection.
func (c *Client) ended(old *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, old)
}

// Close ends the connections, and with them the calls that are on their way.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	open := make([]*conn, 0, len(c.open))
	for o := range c.open {
		open = append(open, o)
	}
	c.mu.Unlock()
	for _, o := range open {
		o.close(errClosed)
		o.background.Wait()
	}
	return nil
}
