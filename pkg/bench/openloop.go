package bench

import (
	"slices"
	"sync"
	"time"
)

// lateStart is how long after the end of the duration a request that was due
// before may still start; what is due beyond is a backlog and stays unsent.
const lateStart = 100 * time.Millisecond

// openLoop sends requests at the due times of a schedule. A free worker takes the
// next due time, waits for it and sends the request itself, so that no hand-over
// lies between a due time and its send. A few workers wait at a time, as many as
// there are pacers, each for a due time of its own: while one sends, the next due
// time is waited for already, and no worker has to be woken unless all that waited
// are busy. Waking one costs more CPU time than the rest of a small request.
type openLoop struct {
	run *run

	mu       sync.Mutex
	schedule *schedule
	pacers   []pacer
	free     []pacer // those that no worker waits with
	idle     []*worker
	workers  int
	unused   []int // indexes of abandoned workers
	done     bool
	inFlight uint64
	peak     uint64
	unsent   uint64
	offered  time.Duration
}

// turn is a due time that a worker has taken.
type turn struct {
	seq   uint64
	due   int64
	pacer pacer
}

func newOpenLoop(r *run) *openLoop {
	l := &openLoop{run: r, schedule: newSchedule(r.load)}
	for range r.load.Pacing.waiters() {
		l.pacers = append(l.pacers, r.runner.pacer(r.load.Pacing, r.runner.clock))
	}
	l.free = slices.Clone(l.pacers)
	return l
}

func (l *openLoop) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, due := l.schedule.peek(); !due {
		l.finish(l.schedule.span())
		return
	}
	l.grow()
}

// grow makes a worker that has the next turn. The lock is held.
func (l *openLoop) grow() {
	index := l.workers
	if n := len(l.unused); n > 0 {
		index, l.unused = l.unused[n-1], l.unused[:n-1]
	}
	l.workers++
	t := l.take()
	l.run.spawn(index, func(w *worker) { l.work(w, t) })
}

func (l *openLoop) work(w *worker, t turn) {
	for {
		// The send is stamped after another worker was woken, if one had to be:
		// what that takes is send lag, not service time.
		if !l.await(w, t) || !w.request(t.seq, t.due, l.run.clock.now()) {
			return
		}
		switch next, step := l.finished(w); step {
		case takes:
			t = next
		case idles:
			if !<-w.wake {
				return
			}
			t = w.turn
		case leaves:
			return
		}
	}
}

// await prepares w for its turn, waits for the due time, and sees to it that
// another worker waits for the next one; false when the schedule has ended.
func (l *openLoop) await(w *worker, t turn) bool {
	r := l.run
	w.prepare(t.seq)
	t.pacer.wait(t.due, r.stop)
	if r.stopped.Load() {
		l.end(r.stoppedAt.Load()-r.origin, t.due-r.origin)
		return false
	}
	if r.deadline > 0 && r.clock.now() > r.deadline+int64(lateStart) {
		l.end(r.deadline-r.origin, t.due-r.origin)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, t.pacer)
	l.inFlight++
	l.peak = max(l.peak, l.inFlight)
	switch n := len(l.idle); {
	case l.done || !l.vacant():
	case n > 0:
		next := l.idle[n-1]
		l.idle = l.idle[:n-1]
		next.turn = l.take()
		next.wake <- true
	case l.workers < r.load.maxWorkers():
		l.grow()
	}
	return true
}

// vacant tells that no worker waits for a due time. The lock is held.
func (l *openLoop) vacant() bool { return len(l.free) == len(l.pacers) }

// take takes the next due time. The lock is held, the schedule has one, and a
// pacer is free.
func (l *openLoop) take() turn {
	offset, _ := l.schedule.peek()
	n := len(l.free) - 1
	t := turn{seq: l.run.firstSeq + l.schedule.issued, due: l.run.origin + offset, pacer: l.free[n]}
	l.free = l.free[:n]
	l.schedule.pop()
	if _, more := l.schedule.peek(); !more {
		l.finish(l.schedule.span())
	}
	return t
}

// end ends the schedule at until, for a worker whose turn was due then: what was
// due before is unsent. All are times after the start.
func (l *openLoop) end(until, due int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if due < until {
		l.unsent++
	}
	if l.done {
		l.offered = min(l.offered, time.Duration(until))
		return
	}
	l.unsent += l.schedule.skipUntil(until)
	l.finish(time.Duration(until))
}

// finish lets idle workers go. The lock is held.
func (l *openLoop) finish(offered time.Duration) {
	if d := l.run.load.Duration; d > 0 {
		offered = min(offered, d) // an interrupt may come after it
	}
	l.done, l.offered = true, offered
	for _, w := range l.idle {
		w.wake <- false
	}
	l.idle = nil
}

// step is what a worker does after a request.
type step int

const (
	takes step = iota
	idles
	leaves
)

// finished is called by a worker whose request ended.
func (l *openLoop) finished(w *worker) (turn, step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	switch {
	case l.done:
		return turn{}, leaves
	case len(l.free) > 0:
		return l.take(), takes
	}
	l.idle = append(l.idle, w)
	return turn{}, idles
}

// halt ends the schedule when all workers are busy; else those that wait do.
func (l *openLoop) halt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.run.stoppedAt.Load() - l.run.origin; !l.done && l.vacant() {
		l.unsent += l.schedule.skipUntil(until)
		l.finish(time.Duration(until))
	}
}

func (l *openLoop) abandoned(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.workers--
	l.unused = append(l.unused, w.index)
	if !l.done && l.vacant() {
		l.grow()
	}
}

func (l *openLoop) fill(res *Result) {
	res.MaxInFlightReached = l.peak
	res.Unsent = l.unsent
	res.Offered = l.offered
	l.run.numbered = l.schedule.issued
	for _, p := range l.pacers {
		_ = p.close()
	}
}
