package bench

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxRecorders bounds the memory of recording on machines with many cores.
const maxRecorders = 16

// run is one load being run. Workers send; the supervisor, the goroutine that
// called Runner.Run, ends requests at their deadlines, takes away what was
// recorded once per second, and stops the run.
type run struct {
	runner   *Runner
	load     Load
	ctx      context.Context // the caller's
	base     context.Context // its values, for requests; ends never
	clock    clock
	loop     loop
	firstSeq uint64

	// origin is the first due time, deadline the end of the duration (0: none)
	// on the clock.
	origin, deadline int64
	started          time.Time
	recorders        []*recorder

	stop      chan struct{}
	stopped   atomic.Bool
	stoppedAt atomic.Int64

	mu      sync.Mutex
	workers []*worker
	live    int
	over    chan struct{} // closed when the last worker has left

	// The supervisor's own.
	total, second tally
	series        series
	lastTake      int64
	cutting       bool
	usage         usage // at the start
	usageKnown    bool
	numbered      uint64 // requests that were given a number, sent or not; the loop's
}

func newRun(ctx context.Context, runner *Runner, load Load) *run {
	return &run{
		runner: runner, load: load, clock: runner.clock, firstSeq: runner.seq,
		ctx: ctx, base: context.WithoutCancel(ctx),
		stop: make(chan struct{}), over: make(chan struct{}),
		live: 1, // until all are started
	}
}

func (r *run) begin() {
	r.usage, r.usageKnown = r.runner.usage()
	r.started, r.origin = r.clock.wall(), r.clock.now()
	r.lastTake = r.origin
	if r.load.Duration > 0 {
		r.deadline = r.origin + int64(r.load.Duration)
	}
	for range min(r.load.maxWorkers(), 2*runtime.GOMAXPROCS(0), maxRecorders) {
		r.recorders = append(r.recorders, newRecorder(r.load.Open(), r.origin))
	}
	if r.load.Open() {
		r.loop = newOpenLoop(r)
	} else {
		r.loop = &closedLoop{run: r}
	}
}

// spawn starts a worker.
func (r *run) spawn(index int, work func(*worker)) {
	w := &worker{
		run: r, index: index, slot: r.runner.slot(index),
		recorder: r.recorders[index%len(r.recorders)],
		wake:     make(chan bool, 1),
	}
	w.ctx.Store(newRequestContext(r.base, r.clock))
	r.mu.Lock()
	r.workers = append(r.workers, w)
	r.live++
	r.mu.Unlock()
	go func() {
		work(w)
		if !w.gone {
			r.leave()
		}
	}()
}

func (r *run) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live--; r.live == 0 {
		close(r.over)
	}
}

// supervise runs the load to its end.
func (r *run) supervise(progress func(Progress)) *Result {
	reporter := newReporter(progress)
	r.begin()
	interrupted := r.ctx.Err() != nil
	if interrupted {
		r.halt()
	} else {
		r.loop.start()
		r.leave()
		interrupted = r.watch(reporter)
	}
	r.take()
	res := r.result(interrupted)
	r.runner.seq += max(res.Issued, r.numbered)
	reporter.finish(Progress{
		Elapsed: res.Elapsed, Total: r.load.Duration, TotalRequests: r.load.Requests,
		Issued: res.Issued, Completed: res.Completed, Failed: res.Failed,
		RatePerSecond: res.RequestRate(), P99: res.Response.Quantile(0.99), Final: true,
	})
	return res
}

// watch returns when the last worker has left, and whether the context ended
// before.
func (r *run) watch(reporter *reporter) (interrupted bool) {
	const never = int64(noDeadline)
	interval := int64(min(max(r.load.Timeout/20, minWatchInterval), maxWatchInterval))
	nextTake, nextWatch, nextCut := r.origin+int64(time.Second), never, never
	if r.load.Timeout > 0 {
		nextWatch = r.origin + interval
	}
	done := r.ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.over:
			return interrupted
		case <-done:
			done, interrupted = nil, true
			r.halt()
			nextCut = r.clock.now() + int64(r.load.InterruptDrain)
		case <-timer.C:
		}
		now := r.clock.now()
		if now >= nextTake {
			reporter.report(r.take())
			nextTake += (1 + (now-nextTake)/int64(time.Second)) * int64(time.Second)
		}
		if now >= nextCut {
			r.cutting, nextCut, nextWatch = true, never, now
		}
		if now >= nextWatch {
			r.endRequests(now)
			nextWatch = now + interval
		}
		timer.Reset(time.Duration(max(0, min(nextTake, nextWatch, nextCut)-r.clock.now())))
	}
}

// halt makes the workers leave after the request that they have in flight.
func (r *run) halt() {
	r.stoppedAt.Store(r.clock.now())
	r.stopped.Store(true)
	close(r.stop)
	r.loop.halt()
}

// endRequests ends the contexts of requests past their deadlines, or of all
// when cutting, and gives up those that went on for stuckGrace after that.
func (r *run) endRequests(now int64) {
	r.mu.Lock()
	workers := slices.Clone(r.workers)
	r.mu.Unlock()
	for _, w := range workers {
		c := w.ctx.Load()
		if c.expire(now) || r.cutting && c.cut() {
			w.endedAt = now
		} else if now-w.endedAt >= int64(stuckGrace) {
			if was, ok := c.abandon(); ok {
				r.abandon(w, was, now)
			}
		}
	}
}

// abandon records the request of a stuck worker and goes on without the worker.
func (r *run) abandon(w *worker, was, now int64) {
	t := timing{due: w.due, sent: w.sent, end: now}
	if was == stateCut {
		w.recorder.cancel(t, true)
	} else {
		w.recorder.fail(t, ClassStuck, func() string {
			return "no answer within " + r.load.Timeout.String() + ", and the request went on when it was ended"
		})
	}
	r.runner.forget(w.index)
	r.loop.abandoned(w)
	r.mu.Lock()
	r.workers = slices.DeleteFunc(r.workers, func(other *worker) bool { return other == w })
	r.mu.Unlock()
	r.leave()
}

// take adds what was recorded since the last call to the total and the series.
func (r *run) take() Progress {
	now := r.clock.now()
	s := &r.second
	for _, rec := range r.recorders {
		rec.take(s)
	}
	width := time.Duration(now - r.lastTake)
	p99 := time.Duration(s.response.quantile(0.99))
	if width > 0 || s.finished() > 0 {
		r.series.add(Second{
			Start: time.Duration(r.lastTake - r.origin), Width: width,
			Completed: s.completed, Failed: s.failed, Inferences: s.inferences,
			P50: time.Duration(s.response.quantile(0.5)), P99: p99, Max: time.Duration(s.response.max),
			Mean: time.Duration(s.response.mean()), Deviation: time.Duration(s.response.deviation()),
		})
	}
	rate := perSecond(s.completed, width)
	r.total.merge(s)
	s.reset()
	r.lastTake = now
	issued := r.issued()
	return Progress{
		Elapsed: time.Duration(now - r.origin), Total: r.load.Duration, TotalRequests: r.load.Requests,
		Issued: issued, Completed: r.total.completed, Failed: r.total.failed, InFlight: issued - r.total.finished(),
		RatePerSecond: rate, P99: p99,
	}
}

func (r *run) issued() uint64 {
	var n uint64
	for _, rec := range r.recorders {
		n += rec.issued.Load()
	}
	return n
}

func (r *run) result(interrupted bool) *Result {
	t := &r.total
	res := &Result{
		Start: r.started, Load: r.load, Interrupted: interrupted,
		Elapsed: max(0, time.Duration(t.lastEnd-r.origin)),
		Issued:  r.issued(), Completed: t.completed, Failed: t.failed, Canceled: t.canceled, Stuck: t.stuck,
		Inferences: t.inferences, Paused: t.paused,
		Response: Latency{t.response}, Service: Latency{t.service}, SendLag: Latency{t.sendLag},
		FailedResponse: Latency{t.failedResponse},
		Stream:         t.stream.result(),
		Errors:         t.errors.sorted(), Series: r.series.all(),
	}
	if !r.load.Open() {
		res.Service = res.Response
	}
	r.loop.fill(res)
	if r.load.Open() {
		res.Elapsed = max(res.Elapsed, res.Offered)
	}
	if after, ok := r.runner.usage(); ok && r.usageKnown {
		res.CPU = clientCPU(r.usage, after, res.Completed)
	}
	res.Stability = stabilityOf(res.Series, res.Offered)
	res.End = res.Start.Add(res.Elapsed)
	return res
}
