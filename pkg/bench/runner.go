package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Requester sends one request at a time for one worker. A Requester whose
// connection broke is asked again and reconnects by itself.
type Requester interface {
	// Do sends one request and waits for its answer. seq is different for each
	// request of a Runner. inferences is how many the answer held. ctx ends at
	// the request's timeout or when the run is cut; it is reused for later
	// requests: what outlives the call may see it end at one of theirs. An error's
	// class is what a method ErrorClass() string in its chain says, see
	// ErrorCount.
	Do(ctx context.Context, seq uint64) (inferences int, err error)
	// Close frees the connection. It is never called during Do.
	Close() error
}

// Preparer is a Requester that can make a request ahead of its send, so that the
// cost of making its data is in no measured time. Prepare(seq) is followed by
// Do with the same seq, unless the run ends; a worker's first request, for
// which the Requester itself is made, goes without.
type Preparer interface {
	Requester
	Prepare(seq uint64)
}

// Factory makes the Requester of a worker, just before its first request. An
// error is counted like one of a request, and the Factory is asked again at the
// worker's next one.
type Factory func(worker int) (Requester, error)

// Runner runs loads, one at a time, and keeps its workers' Requesters between
// them, so that a warm-up warms the connections of the test.
type Runner struct {
	factory Factory
	clock   clock
	pacer   func(Pacing, clock) pacer
	usage   func() (usage, bool)

	mu      sync.Mutex
	running bool
	closed  bool
	slots   []*slot
	seq     uint64
}

// slot holds the Requester of one worker index.
type slot struct{ requester Requester }

// NewRunner returns a Runner whose workers get their Requesters from f.
func NewRunner(f Factory) *Runner {
	return &Runner{factory: f, clock: newSystemClock(), pacer: Pacing.pacer, usage: readUsage}
}

// Run offers the load and returns what happened. An error means that nothing
// was sent: the load makes no sense, or the Runner is closed or busy.
//
// Failed requests are results. After failures without an answer (classes
// connect and connection lost) a worker of a closed loop pauses before its next
// request, 1 ms doubling up to 100 ms while they go on, so that a dead server is
// not hammered; Result.Paused adds that up.
//
// When ctx ends, no new request is started, those in flight may go on for
// Load.InterruptDrain, and the Result is complete with Interrupted set. A
// request that does not return within a second after its context ended is
// given up (Result.Stuck): Run does not wait for it.
//
// progress, if not nil, is called about once per second and once at the end,
// never at the same time; a slow one misses some and delays no request.
func (r *Runner) Run(ctx context.Context, load Load, progress func(Progress)) (*Result, error) {
	if err := load.Validate(); err != nil {
		return nil, fmt.Errorf("could not run the load: %w", err)
	}
	load = load.withDefaults()
	r.mu.Lock()
	if r.closed || r.running {
		defer r.mu.Unlock()
		if r.closed {
			return nil, errors.New("could not run the load: the runner is closed; make a new one")
		}
		return nil, errors.New("could not run the load: the runner runs another one; wait for it or make a second runner")
	}
	r.running = true
	r.mu.Unlock()

	result := newRun(ctx, r, load).supervise(progress)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
	return result, nil
}

// slot returns the slot of a worker.
func (r *Runner) slot(worker int) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.slots) <= worker {
		r.slots = append(r.slots, &slot{})
	}
	return r.slots[worker]
}

// forget takes away the slot of a worker that is stuck in it; the worker closes
// its Requester if it ever returns.
func (r *Runner) forget(worker int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[worker] = &slot{}
}

// Close closes the Requesters. It must not be called during Run.
func (r *Runner) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return errors.New("could not close the runner: a load is running; end its context and wait for Run")
	}
	r.closed = true
	var errs []error
	for i, s := range r.slots {
		if s.requester == nil {
			continue
		}
		if err := s.requester.Close(); err != nil {
			errs = append(errs, fmt.Errorf("could not close the connection of worker %d: %w", i, err))
		}
		s.requester = nil
	}
	r.slots = nil
	return errors.Join(errs...)
}

const (
	// stuckGrace is how long a request may go on after its context ended.
	stuckGrace = time.Second
	// maxWatchInterval and minWatchInterval bound how often deadlines are
	// looked at; in between it is a twentieth of the timeout.
	maxWatchInterval = 100 * time.Millisecond
	minWatchInterval = time.Millisecond
)
