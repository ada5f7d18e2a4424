package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requester makes a Requester of a function.
type requester func(ctx context.Context, seq uint64) (int, error)

func (f requester) Do(ctx context.Context, seq uint64) (int, error) { return f(ctx, seq) }
func (requester) Close() error                                      { return nil }

func always(f requester) Factory { return func(int) (Requester, error) { return f, nil } }

// after answers one inference after a time, unless the context ends before.
func after(ctx context.Context, d time.Duration) (int, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// newVirtual is a Runner that paces on timers, which in a synctest bubble are
// exact and take no real time, and knows nothing of the real machine's load.
func newVirtual(f Factory) *Runner {
	r := NewRunner(f)
	r.pacer = func(_ Pacing, c clock) pacer { return newTimerPacer(c) }
	r.usage = func() (usage, bool) { return usage{}, false }
	return r
}

func runVirtual(t *testing.T, ctx context.Context, f Factory, l Load) *Result { //nolint:revive // as in testing.T.Run
	t.Helper()
	r := newVirtual(f)
	res, err := r.Run(ctx, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	checkCounts(t, res)
	return res
}

// checkCounts checks what holds of every Result.
func checkCounts(t *testing.T, r *Result) {
	t.Helper()
	if r.Issued != r.Completed+r.Failed+r.Canceled {
		t.Errorf("%d issued, but %d completed + %d failed + %d canceled", r.Issued, r.Completed, r.Failed, r.Canceled)
	}
	if r.Response.Count() != r.Completed || r.Service.Count() != r.Completed || r.FailedResponse.Count() != r.Failed {
		t.Errorf("%d completed, %d failed, but times are %s, %s, failed %s", r.Completed, r.Failed, r.Response, r.Service, r.FailedResponse)
	}
	if r.Load.Open() && r.SendLag.Count() != r.Issued {
		t.Errorf("%d issued, but %d send lags", r.Issued, r.SendLag.Count())
	}
	if r.Response.Min() < r.Service.Min() || r.Response.Max() < r.Service.Max() || r.Response.Mean() < r.Service.Mean() {
		t.Errorf("response %s is shorter than service %s", r.Response, r.Service)
	}
	var classes uint64
	for _, e := range r.Errors {
		classes += e.Count
		if e.Count == 0 || e.First == "" || e.FirstAt < 0 || e.FirstAt > r.Elapsed {
			t.Errorf("in %s: %+v", r.Elapsed, e)
		}
	}
	var sum Second
	for i, s := range r.Series {
		if i > 0 && s.Start != sum.Width {
			t.Errorf("interval %d starts at %s, the one before ends at %s", i, s.Start, sum.Width)
		}
		sum = join(sum, s)
	}
	if classes != r.Failed || sum.Completed != r.Completed || sum.Failed != r.Failed || sum.Inferences != r.Inferences || sum.Max != r.Response.Max() {
		t.Errorf("%d errors by class, series %+v, for %d completed, %d failed, max %s", classes, sum, r.Completed, r.Failed, r.Response.Max())
	}
	if r.Load.Requests > 0 && r.Issued > r.Load.Requests || r.MaxInFlightReached > r.Issued || r.MaxInFlightReached > uint64(r.Load.maxWorkers()) {
		t.Errorf("%d issued, %d in flight with load %+v", r.Issued, r.MaxInFlightReached, r.Load)
	}
	if !r.End.Equal(r.Start.Add(r.Elapsed)) {
		t.Errorf("started %s, ended %s, elapsed %s", r.Start, r.End, r.Elapsed)
	}
}

func TestRequestsAreExact(t *testing.T) {
	for _, n := range []uint64{1, 2, 7, 100, 1001} {
		for _, l := range []Load{
			{Concurrency: 1}, {Concurrency: 8}, {Concurrency: 200},
			{RatePerSecond: 200_000}, {RatePerSecond: 200_000, Arrival: Poisson, MaxInFlight: 1},
		} {
			l.Requests = n
			var calls atomic.Uint64
			r := NewRunner(always(func(context.Context, uint64) (int, error) { calls.Add(1); return 3, nil }))
			res, err := r.Run(t.Context(), l, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCounts(t, res)
			if calls.Load() != n || res.Issued != n || res.Completed != n || res.Inferences != 3*n || res.Interrupted || res.Unsent != 0 {
				t.Errorf("%+v: %d calls, %+v", l, calls.Load(), res)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDurationIsExactInAnOpenLoop(t *testing.T) {
	for _, tc := range []struct {
		load   Load
		issued uint64
		span   time.Duration
	}{
		{Load{RatePerSecond: 500, Duration: 3 * time.Second}, 1500, 3 * time.Second},
		{Load{RatePerSecond: 7, Duration: 10 * time.Second}, 70, 10 * time.Second},
		{Load{RatePerSecond: 1000, Duration: 3 * time.Second, Requests: 100}, 100, 100 * time.Millisecond},
		{Load{RatePerSecond: 0.5, Duration: time.Second}, 1, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 3*time.Millisecond) }), tc.load)
			rate := float64(tc.issued) / tc.span.Seconds()
			if res.Completed != tc.issued || res.Offered != tc.span || !res.ScheduleKept() || res.OfferedRate() != rate {
				t.Errorf("%+v: %d of %d completed in %s, offered in %s", tc.load, res.Completed, tc.issued, res.Elapsed, res.Offered)
			}
			if res.SendLag.Max() != 0 || res.Response.Max() != 3*time.Millisecond || res.Response.Min() != 3*time.Millisecond {
				t.Errorf("%+v: lag %s, response %s", tc.load, res.SendLag, res.Response)
			}
		})
	}
}

// TestClosedLoop: 4 workers, 10 ms each, 1 s: 400 requests.
func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 10*time.Millisecond) }),
			Load{Concurrency: 4, Duration: time.Second, Timeout: time.Minute})
		if res.Completed != 400 || res.Elapsed != time.Second || res.RequestRate() != 400 || res.InferenceRate() != 400 || res.MaxInFlightReached != 4 {
			t.Errorf("got %+v", res)
		}
	})
}

// TestTailOfADurationCounts: requests in flight at the end are neither errors
// nor lost, and what was sent late does not prolong the run.
func TestTailOfADurationCounts(t *testing.T) {
	for _, l := range []Load{{Concurrency: 3}, {RatePerSecond: 1}} {
		synctest.Test(t, func(t *testing.T) {
			l.Duration, l.Timeout = 2500*time.Millisecond, 30*time.Second
			res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 10*time.Second) }), l)
			if res.Completed != 3 || res.Failed != 0 || res.Interrupted || res.Unsent != 0 {
				t.Errorf("got %+v", res)
			}
		})
	}
}

func TestOverloadIsNotHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 100*time.Millisecond) }),
			Load{RatePerSecond: 1000, MaxInFlight: 4, Duration: 2 * time.Second})
		// 4 every 100 ms from 0, 1, 2 and 3 ms on; the last is sent at 2.1 s,
		// just within lateStart of the end, and was due at 84 ms.
		if res.Issued != 85 || res.Issued+res.Unsent != 2000 || res.ScheduleKept() || res.MaxInFlightReached != 4 || res.OfferedRate() != 1000 {
			t.Errorf("issued %d, unsent %d, in flight %d, offered %v", res.Issued, res.Unsent, res.MaxInFlightReached, res.OfferedRate())
		}
		if res.SendLag.Max() != 2016*time.Millisecond || res.Service.Max() != 100*time.Millisecond || res.Response.Max() != 2116*time.Millisecond {
			t.Errorf("lag %s, service %s, response %s", res.SendLag, res.Service, res.Response)
		}
	})
}

// TestLateRequestsAreAllSentWithoutADuration: no end, no backlog left.
func TestLateRequestsAreAllSentWithoutADuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := runVirtual(t, t.Context(), always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 100*time.Millisecond) }),
			Load{RatePerSecond: 1000, MaxInFlight: 2, Requests: 100})
		// 50 each, from 0 and from 1 ms on.
		if res.Completed != 100 || res.Elapsed != 5001*time.Millisecond || res.Offered != 100*time.Millisecond {
			t.Errorf("got %+v", res)
		}
	})
}

// TestConservation runs random loads against a random server, with interrupts
// at random moments; checkCounts holds what must be true of each.
func TestConservation(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			upTo := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
			load := Load{Concurrency: 1 + rng.IntN(20), Timeout: upTo(500 * time.Millisecond), Seed: seed, InterruptDrain: upTo(time.Second) - 100*time.Millisecond}
			if rng.IntN(2) == 0 {
				load.Concurrency, load.RatePerSecond, load.MaxInFlight = 0, rng.Float64()*2000+0.1, rng.IntN(30)
				load.Arrival = []Arrival{Constant, Poisson}[rng.IntN(2)]
			}
			if rng.IntN(3) > 0 {
				load.Requests = uint64(1 + rng.IntN(2000))
			}
			if load.Requests == 0 || rng.IntN(2) == 0 {
				load.Duration = 1 + upTo(4*time.Second)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if rng.IntN(2) == 0 {
				stop := time.AfterFunc(upTo(3*time.Second), cancel)
				defer stop.Stop()
			}
			var calls, active atomic.Uint64
			f := func(worker int) (Requester, error) {
				if (seed+uint64(worker))%11 == 0 && calls.Add(1)%3 == 0 {
					return nil, classed("connect")
				}
				return requester(func(ctx context.Context, seq uint64) (int, error) {
					active.Add(1)
					defer active.Add(^uint64(0))
					r := rand.New(rand.NewPCG(seed, seq))
					if r.IntN(20) == 0 {
						time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second)))) // deaf to its context
						return 1, nil
					}
					n, err := after(ctx, time.Duration(r.ExpFloat64()*float64(20*time.Millisecond)))
					if err == nil && r.IntN(10) == 0 {
						return 0, classed([]string{"http 503", "connection lost"}[r.IntN(2)])
					}
					return n, err
				}), nil
			}
			res := runVirtual(t, ctx, f, load)
			if !res.Interrupted && res.Canceled > 0 {
				t.Errorf("%d canceled without an interrupt", res.Canceled)
			}
			if !res.Interrupted && load.Duration == 0 && res.Issued != load.Requests {
				t.Errorf("%d of %d requests issued", res.Issued, load.Requests)
			}
			if active.Load() > res.Stuck {
				t.Errorf("%d requests go on, %d are reported as stuck", active.Load(), res.Stuck)
			}
			time.Sleep(3 * time.Second) // what is stuck returns
			if t.Failed() {
				t.Fatalf("seed %d: load %+v", seed, load)
			}
		})
	}
}

func TestSequenceNumbersAreUniqueAcrossRuns(t *testing.T) {
	for _, l := range []Load{{Concurrency: 32, Requests: 2500}, {RatePerSecond: 1e6, Requests: 2500}} {
		var seen [5000]atomic.Bool
		r := NewRunner(always(func(_ context.Context, seq uint64) (int, error) {
			if seen[seq].Swap(true) {
				return 0, errors.New("sent twice")
			}
			return 1, nil
		}))
		for range 2 {
			res, err := r.Run(t.Context(), l, nil)
			if err != nil || res.Completed != 2500 {
				t.Fatal(res, err)
			}
		}
		_ = r.Close()
	}
}
