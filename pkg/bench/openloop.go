package bench

import (
	"sync"
	"time"
)

// lateStart is how long after the end of the duration a request that was due
// before may still start; what is due beyond is a backlog and stays unsent.
const lateStart = 100 * time.Millisecond

// openLoop sends requests at the due times of a schedule. One idle worker at a
// time leads: it waits for the next due time, passes the lead to another idle
// worker and sends the request itself. So no hand-over lies between a due time
// and its send. The worker that leads next waits at the seat, where it costs
// least to call it; further idle ones wait at a channel each, and the one that
// was busy last is taken first.
type openLoop struct {
	run      *run
	schedule *schedule // the leader's
	pacer    pacer     // the leader's
	seat     seat

	mu       sync.Mutex
	seated   bool
	idle     []*worker
	workers  int
	unused   []int // indexes of abandoned workers
	led      bool
	done     bool
	inFlight uint64
	peak     uint64
	unsent   uint64
	offered  time.Duration
}

func newOpenLoop(r *run) *openLoop {
	return &openLoop{run: r, schedule: newSchedule(r.load), pacer: r.runner.pacer(r.load.Pacing, r.runner.clock), seat: r.runner.seat()}
}

func (l *openLoop) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grow()
}

// grow makes a worker that leads. The lock is held.
func (l *openLoop) grow() {
	l.led = true
	index := l.workers
	if n := len(l.unused); n > 0 {
		index, l.unused = l.unused[n-1], l.unused[:n-1]
	}
	l.workers++
	l.run.spawn(index, l.work)
}

func (l *openLoop) work(w *worker) {
	for next := leads; ; {
		switch next {
		case sits:
			l.seat.sit()
			if l.over() {
				return
			}
		case idles:
			if !<-w.wake {
				return
			}
		case leaves:
			return
		}
		seq, due, ok := l.next(w)
		// The send is stamped after the lead was passed on: what that takes is
		// send lag, not service time.
		if !ok || !w.request(l.run.firstSeq+seq, due, l.run.clock.now()) {
			return
		}
		next = l.finished(w)
	}
}

// occupation is what a worker does between two requests.
type occupation int

const (
	leads occupation = iota
	sits
	idles
	leaves
)

func (l *openLoop) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// next prepares w for the next request, waits for its due time, takes it, and passes the lead on.
func (l *openLoop) next(w *worker) (seq uint64, due int64, ok bool) {
	r := l.run
	offset, ok := l.schedule.peek()
	if !ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.finish(l.schedule.span())
		return 0, 0, false
	}
	due = r.origin + offset
	w.prepare(r.firstSeq + l.schedule.issued)
	l.pacer.wait(due, r.stop)
	if r.stopped.Load() {
		l.end(r.stoppedAt.Load() - r.origin)
		return 0, 0, false
	}
	if r.deadline > 0 && r.clock.now() > r.deadline+int64(lateStart) {
		l.end(r.deadline - r.origin)
		return 0, 0, false
	}
	seq = l.schedule.issued
	l.schedule.pop()
	_, more := l.schedule.peek()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight++
	l.peak = max(l.peak, l.inFlight)
	switch n := len(l.idle); {
	case !more:
		l.finish(l.schedule.span())
	case l.seated:
		l.seated = false
		l.seat.call()
	case n > 0:
		l.idle[n-1].wake <- true
		l.idle = l.idle[:n-1]
	case l.workers < r.load.maxWorkers():
		l.grow()
	default:
		l.led = false
	}
	return seq, due, true
}

// end ends the schedule; what was due before until, as an offset, is unsent.
func (l *openLoop) end(until int64) {
	unsent := l.schedule.skipUntil(until)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsent += unsent
	l.finish(time.Duration(until))
}

// finish lets idle workers go. The lock is held.
func (l *openLoop) finish(offered time.Duration) {
	l.done, l.offered = true, offered
	for _, w := range l.idle {
		w.wake <- false
	}
	l.idle = nil
	if l.seated {
		l.seated = false
		l.seat.call()
	}
}

// finished is called by a worker whose request ended: it leads if nobody does.
func (l *openLoop) finished(w *worker) occupation {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	switch {
	case l.done:
		return leaves
	case !l.led:
		l.led = true
		return leads
	case !l.seated:
		l.seated = true
		return sits
	}
	l.idle = append(l.idle, w)
	return idles
}

// halt ends the schedule when all workers are busy; else the leader does.
func (l *openLoop) halt() {
	l.mu.Lock()
	vacant := !l.led && !l.done
	l.led = true
	l.mu.Unlock()
	if vacant {
		l.end(l.run.stoppedAt.Load() - l.run.origin)
	}
}

func (l *openLoop) abandoned(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.workers--
	l.unused = append(l.unused, w.index)
	if !l.led && !l.done {
		l.grow()
	}
}

func (l *openLoop) fill(res *Result) {
	res.MaxInFlightReached = l.peak
	res.Unsent = l.unsent
	res.Offered = l.offered
	_ = l.pacer.close()
	_ = l.seat.close()
}
