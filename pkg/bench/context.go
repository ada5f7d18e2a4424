package bench

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// The states of a requestContext besides a deadline in nanoseconds.
const (
	stateIdle      = 0
	stateTimedOut  = -1
	stateCut       = -2
	stateAbandoned = -3
	noDeadline     = math.MaxInt64
)

// requestContext is the context of one worker's requests, one after the other.
// It is reused until it has ended once, and the supervisor ends it, so that a
// request costs neither a timer nor an allocation. It wraps a cancelable context
// of the standard library: contexts derived from it need no goroutine either.
type requestContext struct {
	context.Context
	cancel context.CancelCauseFunc
	clock  clock

	// state decides between the worker that finishes a request and the
	// supervisor that ends it: idle, a deadline while a request is in flight,
	// or why it ended.
	state    atomic.Int64
	deadline atomic.Int64
}

func newRequestContext(parent context.Context, c clock) *requestContext {
	ctx, cancel := context.WithCancelCause(parent)
	return &requestContext{Context: ctx, cancel: cancel, clock: c}
}

// Deadline implements context.Context.
func (c *requestContext) Deadline() (time.Time, bool) {
	d := c.deadline.Load()
	if d == noDeadline || d == 0 {
		return time.Time{}, false
	}
	return c.clock.at(d), true
}

// Err implements context.Context.
func (c *requestContext) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return context.Cause(c.Context)
}

func deadlineOf(start int64, timeout time.Duration) int64 {
	if timeout <= 0 {
		return noDeadline
	}
	return max(1, start+int64(timeout))
}

// begin marks a request as in flight until deadline.
func (c *requestContext) begin(deadline int64) {
	c.deadline.Store(deadline)
	c.state.Store(deadline)
}

// extend moves the deadline of the request in flight; false if it ended.
func (c *requestContext) extend(deadline int64) bool {
	old := c.deadline.Load()
	c.deadline.Store(deadline)
	return c.state.CompareAndSwap(old, deadline)
}

// finish marks the request as finished and returns the state it was in.
func (c *requestContext) finish() int64 { return c.state.Swap(stateIdle) }

// expire ends a request whose deadline is before now.
func (c *requestContext) expire(now int64) bool {
	d := c.state.Load()
	if d <= 0 || d >= now || !c.state.CompareAndSwap(d, stateTimedOut) {
		return false
	}
	c.cancel(context.DeadlineExceeded)
	return true
}

// cut ends a request in flight, whatever its deadline.
func (c *requestContext) cut() bool {
	for {
		d := c.state.Load()
		if d <= 0 {
			return false
		}
		if c.state.CompareAndSwap(d, stateCut) {
			c.cancel(context.Canceled)
			return true
		}
	}
}

// abandon gives up on a request that goes on although it was ended. From then
// on its worker records nothing.
func (c *requestContext) abandon() (was int64, ok bool) {
	was = c.state.Load()
	if was != stateTimedOut && was != stateCut {
		return was, false
	}
	return was, c.state.CompareAndSwap(was, stateAbandoned)
}
