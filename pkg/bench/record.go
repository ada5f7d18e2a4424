package bench

import (
	"sync"
	"sync/atomic"
	"time"
)

// tally is what happened in some time: counts and distributions, nothing per
// request.
type tally struct {
	completed, failed, canceled, stuck, inferences uint64
	// response counts from the due time; service and sendLag stay empty in a
	// closed loop, where they are the same and nothing.
	response, service, sendLag, failedResponse histogram
	errors                                     errorTable
	stream                                     streamTally
	// lastEnd is when the last request ended, on the run's clock.
	lastEnd int64
	paused  time.Duration
}

func (t *tally) finished() uint64 { return t.completed + t.failed + t.canceled }

func (t *tally) merge(from *tally) {
	t.completed += from.completed
	t.failed += from.failed
	t.canceled += from.canceled
	t.stuck += from.stuck
	t.inferences += from.inferences
	t.response.merge(&from.response)
	t.service.merge(&from.service)
	t.sendLag.merge(&from.sendLag)
	t.failedResponse.merge(&from.failedResponse)
	t.stream.merge(&from.stream)
	if len(from.errors) > 0 {
		if t.errors == nil {
			t.errors = errorTable{}
		}
		t.errors.merge(from.errors)
	}
	t.lastEnd = max(t.lastEnd, from.lastEnd)
	t.paused += from.paused
}

func (t *tally) reset() {
	t.response.reset()
	t.service.reset()
	t.sendLag.reset()
	t.failedResponse.reset()
	t.stream.reset()
	*t = tally{response: t.response, service: t.service, sendLag: t.sendLag, failedResponse: t.failedResponse, stream: t.stream}
}

// timing is when one request was due, sent and ended, on the run's clock. In a
// closed loop due equals sent.
type timing struct{ due, sent, end int64 }

// recorder takes the results of some workers. A lock that is hardly ever
// contended lets the supervisor take away what was recorded once per second;
// a recorder per core, not per worker, bounds the memory.
type recorder struct {
	issued atomic.Uint64

	mu      sync.Mutex
	open    bool
	origin  int64
	current *tally
	spare   *tally

	_ [64]byte // keeps neighbours off this one's cache line
}

func newRecorder(open bool, origin int64) *recorder {
	return &recorder{open: open, origin: origin, current: &tally{}, spare: &tally{}}
}

// complete records a request that succeeded; streamed is nil unless its
// Requester is a Streamer.
func (r *recorder) complete(t timing, inferences int, streamed *responses) {
	r.mu.Lock()
	c := r.current
	c.completed++
	c.inferences += uint64(max(0, inferences))
	c.response.record(t.end - t.due)
	if r.open {
		c.service.record(t.end - t.sent)
		c.sendLag.record(t.sent - t.due)
	}
	if streamed != nil {
		c.stream.record(t.due, streamed)
	}
	c.lastEnd = max(c.lastEnd, t.end)
	r.mu.Unlock()
}

func (r *recorder) fail(t timing, class string, message func() string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.current
	c.failed++
	if class == ClassStuck {
		c.stuck++
	}
	c.failedResponse.record(t.end - t.due)
	if r.open {
		c.sendLag.record(t.sent - t.due)
	}
	if c.errors == nil {
		c.errors = errorTable{}
	}
	c.errors.add(class, time.Duration(t.end-r.origin), message)
	c.lastEnd = max(c.lastEnd, t.end)
}

func (r *recorder) cancel(t timing, stuck bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.canceled++
	if stuck {
		r.current.stuck++
	}
	if r.open {
		r.current.sendLag.record(t.sent - t.due)
	}
	r.current.lastEnd = max(r.current.lastEnd, t.end)
}

func (r *recorder) pause(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.paused += d
}

// take adds what was recorded since the last call to into. The lock is held for
// the exchange of two pointers only.
func (r *recorder) take(into *tally) {
	r.mu.Lock()
	full := r.current
	r.current, r.spare = r.spare, full
	r.mu.Unlock()
	into.merge(full)
	full.reset()
}
