package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// steppingClock is a virtual clock whose wall time somebody sets back at every
// reading but the first.
type steppingClock struct {
	systemClock
	readings *atomic.Int64
}

func (c steppingClock) wall() time.Time {
	return c.systemClock.wall().Add(-time.Duration(c.readings.Add(1)-1) * time.Hour)
}

func TestClockStepsChangeNothing(t *testing.T) {
	for _, l := range []Load{{Concurrency: 2}, {RatePerSecond: 100}} {
		synctest.Test(t, func(t *testing.T) {
			l.Duration = 10 * time.Second
			r := newVirtual(always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 20*time.Millisecond) }))
			r.clock = steppingClock{newSystemClock(), &atomic.Int64{}}
			begin := time.Now()
			res, err := r.Run(t.Context(), l, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCounts(t, res)
			if res.Response.Min() != 20*time.Millisecond || res.Response.Max() != 20*time.Millisecond || res.Completed != 1000 || !res.Start.Equal(begin) || res.Elapsed > 10020*time.Millisecond {
				t.Errorf("got %+v", res)
			}
		})
	}
}

func TestConnectionsAreKeptBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made, open atomic.Int64
		r := newVirtual(func(int) (Requester, error) {
			made.Add(1)
			open.Add(1)
			return closing{open: &open, requester: func(ctx context.Context, _ uint64) (int, error) { return after(ctx, time.Millisecond) }}, nil
		})
		for range 3 {
			if _, err := r.Run(t.Context(), Load{Concurrency: 4, Requests: 40}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if made.Load() != 4 {
			t.Errorf("3 runs of 4 workers made %d requesters", made.Load())
		}
		if err := r.Close(); err != nil || open.Load() != 0 {
			t.Errorf("%d requesters are open after Close: %v", open.Load(), err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
		if _, err := r.Run(t.Context(), Load{Concurrency: 1, Requests: 1}, nil); err == nil {
			t.Error("a closed runner runs")
		}
	})
}

// TestTheWorkerThatWasBusyLastGoesFirst: after a burst that took 30 workers, a
// load that one connection can carry stays on two, one of them to keep time, so
// that a connection is either warm or unused.
func TestTheWorkerThatWasBusyLastGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		made, late := map[int]bool{}, map[int]bool{}
		res := runVirtual(t, t.Context(), func(worker int) (Requester, error) {
			return requester(func(ctx context.Context, seq uint64) (int, error) {
				mu.Lock()
				made[worker] = true
				if seq > 100 {
					late[worker] = true
				}
				mu.Unlock()
				if seq < 30 {
					return after(ctx, 295*time.Millisecond)
				}
				return after(ctx, time.Millisecond)
			}), nil
		}, Load{RatePerSecond: 100, Duration: 10 * time.Second})
		if len(made) < 30 || len(late) > 2 || res.MaxInFlightReached != 30 || res.Completed != 1000 {
			t.Errorf("%d workers were used, %d of them after the burst, %d in flight, %d completed", len(made), len(late), res.MaxInFlightReached, res.Completed)
		}
	})
}

func TestRunnerRefusesToBeShared(t *testing.T) {
	var r *Runner
	var runErr, closeErr error
	r = NewRunner(always(func(ctx context.Context, _ uint64) (int, error) {
		_, runErr = r.Run(ctx, Load{Concurrency: 1, Requests: 1}, nil)
		closeErr = r.Close()
		return 1, nil
	}))
	if _, err := r.Run(t.Context(), Load{Concurrency: 1, Requests: 1}, nil); err != nil || runErr == nil || closeErr == nil {
		t.Errorf("the run: %v; a second one: %v; closing: %v", err, runErr, closeErr)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

type unclosable struct{ noop }

func (unclosable) Close() error { return errors.New("half open") }

func TestCloseReportsErrors(t *testing.T) {
	r := NewRunner(func(int) (Requester, error) { return unclosable{}, nil })
	if _, err := r.Run(t.Context(), Load{Concurrency: 1, Requests: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err == nil || err.Error() != "could not close the connection of worker 0: half open" {
		t.Errorf("got %v", err)
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtual(always(func(ctx context.Context, seq uint64) (int, error) {
			if seq%4 == 0 {
				return 0, errors.New("odd")
			}
			return after(ctx, 30*time.Millisecond)
		}))
		var got []Progress
		res, err := r.Run(t.Context(), Load{RatePerSecond: 100, Duration: 5500 * time.Millisecond}, func(p Progress) { got = append(got, p) })
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 6 {
			t.Fatalf("%d calls: %+v", len(got), got)
		}
		for i, p := range got[:5] {
			if p.Elapsed != time.Duration(i+1)*time.Second || p.Final || p.Total != 5500*time.Millisecond || p.Issued != p.Completed+p.Failed+p.InFlight || p.P99 != 30*time.Millisecond || p.RatePerSecond < 70 || p.RatePerSecond > 77 {
				t.Errorf("call %d: %+v", i, p)
			}
		}
		last := got[5]
		if !last.Final || last.InFlight != 0 || last.Issued != 550 || last.Completed != res.Completed || last.Failed != res.Failed || last.RatePerSecond != res.RequestRate() {
			t.Errorf("the last call: %+v", last)
		}
		_ = r.Close()
	})
}

// TestSlowProgressDelaysNothing: a terminal that stands still for most of the
// run misses some calls; the load goes on.
func TestSlowProgressDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtual(always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, time.Millisecond) }))
		var calls []Progress
		res, err := r.Run(t.Context(), Load{RatePerSecond: 100, Duration: 10 * time.Second}, func(p Progress) {
			calls = append(calls, p)
			time.Sleep(3500 * time.Millisecond)
		})
		if err != nil {
			t.Fatal(err)
		}
		if res.SendLag.Max() != 0 || res.Completed != 1000 || len(res.Series) != 10 || len(calls) > 5 || !calls[len(calls)-1].Final {
			t.Errorf("lag %s, %d intervals, %d calls", res.SendLag, len(res.Series), len(calls))
		}
		_ = r.Close()
	})
}

// TestLongRunsTakeNoMoreMemory: three virtual hours fit into the series.
func TestLongRunsTakeNoMoreMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 20*time.Millisecond) }),
			Load{RatePerSecond: 7, Duration: 3 * time.Hour})
		if res.Completed != 7*3*3600 || len(res.Series) > maxSeconds || res.Series[0].Width != 4*time.Second || res.SendLag.Max() != 0 {
			t.Errorf("%d completed, %d intervals, the first %+v, lag %s", res.Completed, len(res.Series), res.Series[0], res.SendLag)
		}
	})
}
