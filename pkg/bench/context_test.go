package bench

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

type key struct{}

func TestRequestContext(t *testing.T) {
	clock := newSystemClock()
	c := newRequestContext(context.WithValue(t.Context(), key{}, "kept"), clock)
	c.begin(noDeadline)
	if _, ok := c.Deadline(); ok || c.Err() != nil || c.Value(key{}) != "kept" {
		t.Error("a request without a timeout has a deadline, an error, or lost the caller's values")
	}
	c.finish()
	c.begin(deadlineOf(5, time.Second))
	if d, ok := c.Deadline(); !ok || d.Sub(clock.origin) != time.Second+5 {
		t.Errorf("the deadline is %s", d)
	}
	if c.expire(int64(time.Second)) {
		t.Error("it expired before its deadline")
	}
	child, cancel := context.WithCancel(c)
	defer cancel()
	if _, ok := c.abandon(); ok {
		t.Error("a request that was not ended was abandoned")
	}
	if !c.expire(int64(2*time.Second)) || c.expire(int64(2*time.Second)) || c.cut() {
		t.Error("it ends once")
	}
	<-child.Done()
	if !errors.Is(c.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(child), context.DeadlineExceeded) {
		t.Errorf("it ended with %v, its child with %v", c.Err(), context.Cause(child))
	}
	if was, ok := c.abandon(); !ok || was != stateTimedOut || c.finish() != stateAbandoned {
		t.Error("it was not abandoned")
	}

	idle := newRequestContext(t.Context(), clock)
	if idle.expire(noDeadline) || idle.cut() {
		t.Error("a worker without a request was ended")
	}
	idle.begin(noDeadline)
	if idle.expire(noDeadline) || !idle.cut() || !errors.Is(idle.Err(), context.Canceled) || idle.finish() != stateCut {
		t.Error("a request without a timeout was not cut")
	}
}

// TestFinishOrExpire lets both sides race: exactly one of them decides.
func TestFinishOrExpire(t *testing.T) {
	for range 2000 {
		c := newRequestContext(t.Context(), newSystemClock())
		c.begin(1)
		var expired bool
		var wg sync.WaitGroup
		wg.Go(func() { expired = c.expire(2) })
		state := c.finish()
		wg.Wait()
		if expired != (state == stateTimedOut) || expired != (c.Err() != nil) {
			t.Fatalf("expired %v, but the worker found state %d and %v", expired, state, c.Err())
		}
	}
}
