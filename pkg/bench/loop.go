package bench

import "sync/atomic"

// loop decides when workers send. Its methods are called by the supervisor.
type loop interface {
	// start makes the first workers.
	start()
	// halt is called once the run's stop channel is closed.
	halt()
	// abandoned is called when a worker was given up.
	abandoned(w *worker)
	// fill adds to the result what only the loop knows; nothing runs any more.
	fill(res *Result)
}

// closedLoop keeps a number of workers busy.
type closedLoop struct {
	run   *run
	taken atomic.Uint64
}

func (l *closedLoop) start() {
	for i := range l.run.load.maxWorkers() {
		l.run.spawn(i, l.work)
	}
}

func (l *closedLoop) work(w *worker) {
	r := l.run
	for !r.stopped.Load() {
		now := r.clock.now()
		if r.deadline > 0 && now >= r.deadline {
			return
		}
		n := l.taken.Add(1)
		if r.load.Requests > 0 && n > r.load.Requests {
			return
		}
		seq := r.firstSeq + n - 1
		if w.prepare(seq) {
			now = r.clock.now()
		}
		if !w.request(seq, now, now) {
			return
		}
		w.pause()
	}
}

func (l *closedLoop) halt() {}

func (l *closedLoop) abandoned(w *worker) {
	if !l.run.stopped.Load() {
		l.run.spawn(w.index, l.work)
	}
}

func (l *closedLoop) fill(res *Result) {
	res.MaxInFlightReached = min(uint64(l.run.load.maxWorkers()), res.Issued)
	res.Offered = res.Elapsed
	if d := l.run.load.Duration; d > 0 {
		res.Offered = min(res.Offered, d)
	}
}
