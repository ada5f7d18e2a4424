package portforward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// flight runs one call for everyone who asks for it at the same time. Each
// waits under a context of its own; the call is cancelled when the last leaves.
type flight[T any] struct {
	mu   sync.Mutex
	call *flightCall[T]
}

type flightCall[T any] struct {
	cancel  context.CancelFunc
	waiters int
	done    chan struct{}
	value   T
	err     error
}

// do runs fn in a goroutine of spawn's under a child of base, or joins the
// call that is running.
func (f *flight[T]) do(ctx, base context.Context, spawn func(func()) error, fn func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	f.mu.Lock()
	call := f.call
	if call == nil {
		callCtx, cancel := context.WithCancel(base)
		call = &flightCall[T]{cancel: cancel, done: make(chan struct{})}
		err := spawn(func() {
			defer cancel()
			call.value, call.err = fn(callCtx)
			f.mu.Lock()
			if f.call == call {
				f.call = nil
			}
			f.mu.Unlock()
			close(call.done)
		})
		if err != nil {
			f.mu.Unlock()
			cancel()
			return none, err
		}
		f.call = call
	}
	call.waiters++
	f.mu.Unlock()

	select {
	case <-call.done:
		return call.value, call.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if call.waiters--; call.waiters == 0 {
		call.cancel()
		if f.call == call {
			f.call = nil
		}
	}
	return none, ctx.Err()
}

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 3 * time.Second
	// goodRun is how long a tunnel must live for the next failure to count as
	// the first.
	goodRun = 10 * time.Second
)

// backoff spaces attempts after failures. The zero value allows one at once.
type backoff struct {
	mu       sync.Mutex
	failures int
	notUntil time.Time
	last     error // of the latest failure
}

func (b *backoff) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = err
	delay := backoffMost
	if b.failures < 5 {
		delay = min(backoffFirst<<b.failures, backoffMost)
	}
	b.failures++
	b.notUntil = time.Now().Add(delay)
}

func (b *backoff) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.notUntil, b.last = 0, time.Time{}, nil
}

func (b *backoff) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures
}

// gaveUp is the error of a caller whose context ended while it waited: with the
// latest failure if there was one, else with what is assumed to be wrong.
func (b *backoff) gaveUp(ctxErr error, otherwise func(error) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil {
		return fmt.Errorf("%w (gave up waiting: %w)", b.last, ctxErr)
	}
	if errors.Is(ctxErr, context.DeadlineExceeded) {
		return otherwise(fmt.Errorf("no answer in time: %w", ctxErr))
	}
	return ctxErr
}

// wait returns when the next attempt is due or ctx is over.
func (b *backoff) wait(ctx context.Context) error {
	b.mu.Lock()
	left := time.Until(b.notUntil)
	b.mu.Unlock()
	if left <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
