package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	firstPause = time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// worker sends requests one after the other with one Requester.
type worker struct {
	run      *run
	index    int
	slot     *slot
	recorder *recorder
	ctx      atomic.Pointer[requestContext]

	// responses of the request in flight and their arrived method, if the
	// Requester is a Streamer.
	responses *responses
	arrived   func(tokens int)

	// unreachable counts failures without an answer in a row.
	unreachable int
	// due and sent of the request in flight, for who abandons it.
	due, sent int64
	// lastEnd is when the worker's last request ended.
	lastEnd int64
	// endedAt is when the supervisor first saw the context ended; its own.
	endedAt int64

	gone  bool      // it was abandoned and returned; its own
	wake  chan bool // open loop: take turn, or leave
	turn  turn      // set before it is woken
	timer *time.Timer
}

// request sends one request and records it. False means that it was given up
// meanwhile: the worker must end without touching anything.
func (w *worker) request(seq uint64, due, start int64) bool {
	r := w.run
	ctx := w.ctx.Load()
	w.due, w.sent = due, start
	w.recorder.issued.Add(1)
	ctx.begin(deadlineOf(start, r.load.Timeout))

	inferences, err := 0, error(nil)
	var streamed *responses
	if w.slot.requester == nil {
		start, err = w.connect(ctx, start)
	}
	if err == nil {
		inferences, streamed, err = w.do(ctx, seq)
	}
	t := timing{due: due, sent: start, end: r.clock.now()}

	state := ctx.finish()
	if state == stateAbandoned {
		w.gone = true
		if w.slot.requester != nil {
			_ = w.slot.requester.Close()
		}
		return false
	}
	if state == stateTimedOut || state == stateCut {
		w.ctx.Store(newRequestContext(r.base, r.clock))
	}
	if !r.load.Open() {
		t.due = t.sent
	}
	w.lastEnd = t.end
	w.record(t, state, inferences, streamed, err)
	return true
}

// prepare lets the Requester make request seq ahead of its send; false means
// that it has nothing to prepare.
func (w *worker) prepare(seq uint64) bool {
	p, ok := w.slot.requester.(Preparer)
	if ok {
		p.Prepare(seq)
	}
	return ok
}

// connect makes the Requester. The time it takes belongs to no request's
// service time.
func (w *worker) connect(ctx *requestContext, start int64) (sent int64, err error) {
	q, err := w.run.runner.factory(w.index)
	if err != nil {
		return start, &connectError{err}
	}
	w.slot.requester = q
	sent = w.run.clock.now()
	if !ctx.extend(deadlineOf(sent, w.run.load.Timeout)) {
		return start, ctx.Err()
	}
	return sent, nil
}

func (w *worker) record(t timing, state int64, inferences int, streamed *responses, err error) {
	timeout := w.run.load.Timeout
	took := time.Duration(t.end - t.sent)
	switch {
	case state == stateCut && err != nil:
		w.recorder.cancel(t, false)
	case state == stateTimedOut && err != nil || timeout > 0 && took > timeout:
		w.unreachable = 0
		w.recorder.fail(t, ClassTimeout, func() string { return timeoutMessage(timeout, took, err) })
	case err != nil:
		class := classOf(err)
		w.unreachable++
		if class != ClassConnect && class != ClassConnectionLost {
			w.unreachable = 0
		}
		w.recorder.fail(t, class, err.Error)
	default:
		w.unreachable = 0
		w.recorder.complete(t, inferences, streamed)
	}
}

func timeoutMessage(timeout, took time.Duration, err error) string {
	switch {
	case err == nil:
		return fmt.Sprintf("answered after %s, later than the timeout of %s", took, timeout)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return fmt.Sprintf("no answer within %s", timeout)
	}
	return fmt.Sprintf("no answer within %s: %s", timeout, err)
}

// pause waits after failures without an answer, longer each time.
func (w *worker) pause() {
	if w.unreachable == 0 {
		return
	}
	d := min(maxPause, firstPause<<min(w.unreachable-1, 10))
	if w.run.deadline > 0 {
		d = min(d, time.Duration(max(0, w.run.deadline-w.lastEnd)))
	}
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	select {
	case <-w.timer.C:
	case <-w.run.stop:
		w.timer.Stop()
	}
	w.recorder.pause(time.Duration(w.run.clock.now() - w.lastEnd))
}
