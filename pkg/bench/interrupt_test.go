package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestInterrupt(t *testing.T) {
	for _, tc := range []struct {
		name                        string
		load                        Load
		takes                       time.Duration
		completed, canceled, unsent uint64
		elapsed                     time.Duration
	}{
		{"in flight within the drain", Load{Concurrency: 4}, 900 * time.Millisecond, 8, 0, 0, 1800 * time.Millisecond},
		{"in flight beyond the drain", Load{Concurrency: 4}, 2500 * time.Millisecond, 0, 4, 0, 2050 * time.Millisecond},
		{"a longer drain", Load{Concurrency: 4, InterruptDrain: 2 * time.Second}, 2500 * time.Millisecond, 4, 0, 0, 2500 * time.Millisecond},
		{"no drain", Load{Concurrency: 4, InterruptDrain: -1}, 1500 * time.Millisecond, 0, 4, 0, 1050 * time.Millisecond},
		{"open", Load{RatePerSecond: 10}, 500 * time.Millisecond, 11, 0, 0, 1500 * time.Millisecond},
		{"open with a backlog", Load{RatePerSecond: 10, MaxInFlight: 1}, 500 * time.Millisecond, 3, 0, 8, 1500 * time.Millisecond},
		{"open and cut", Load{RatePerSecond: 10}, 10 * time.Second, 0, 11, 0, 2050 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			tc.load.Duration = time.Minute
			ctx, cancel := context.WithTimeout(t.Context(), 1050*time.Millisecond)
			defer cancel()
			res := runVirtual(t, ctx, always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, tc.takes) }), tc.load)
			if !res.Interrupted || res.Completed != tc.completed || res.Canceled != tc.canceled || res.Unsent != tc.unsent || res.Failed != 0 || res.Elapsed != tc.elapsed {
				t.Errorf("%s: %+v", tc.name, res)
			}
			if tc.load.Open() && res.Offered != 1050*time.Millisecond {
				t.Errorf("%s: offered in %s", tc.name, res.Offered)
			}
		})
	}
}

// TestInterruptAfterTheDuration: nothing was offered after its end, when the run
// only waited for what was in flight.
func TestInterruptAfterTheDuration(t *testing.T) {
	for _, inFlight := range []int{1, 2, 100} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			load := Load{RatePerSecond: 10, MaxInFlight: inFlight, Duration: time.Second}
			res := runVirtual(t, ctx, always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, time.Minute) }), load)
			if !res.Interrupted || res.Offered != time.Second || res.OfferedRate() != 10 || res.Canceled != uint64(min(inFlight, 10)) || res.Issued+res.Unsent != 10 {
				t.Errorf("%d in flight: offered %v/s in %s: %+v", inFlight, res.OfferedRate(), res.Offered, res)
			}
		})
	}
}

// TestInterruptOfStuckRequests: Run returns after the drain and the grace.
func TestInterruptOfStuckRequests(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests = 3
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			release := make(chan struct{})
			begin := time.Now()
			res := runVirtual(t, ctx, always(func(context.Context, uint64) (int, error) { <-release; return 1, nil }), l)
			if took := time.Since(begin); took > 3*time.Second+2*maxWatchInterval || res.Canceled != 3 || res.Stuck != 3 || !res.Interrupted {
				t.Errorf("took %s: %+v", took, res)
			}
			close(release)
		})
	}
}

func TestInterruptBeforeTheStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, l := range bothLoops {
		l.Requests = 10
		r := NewRunner(newNoop)
		res, err := r.Run(ctx, l, nil)
		if err != nil || !res.Interrupted || res.Issued != 0 || res.Elapsed != 0 && !l.Open() {
			t.Errorf("%v: %+v", err, res)
		}
		_ = r.Close()
	}
}

// TestInterruptAtAnyMoment interrupts real runs after each number of requests in
// turn, on the real clock and pacer.
func TestInterruptAtAnyMoment(t *testing.T) {
	for _, l := range []Load{
		{Concurrency: 4, Timeout: time.Second}, {RatePerSecond: 20_000, MaxInFlight: 3}, {RatePerSecond: 50, Arrival: Poisson},
	} {
		l.Duration = time.Minute
		for at := range uint64(8) {
			ctx, cancel := context.WithCancel(t.Context())
			r := NewRunner(always(func(_ context.Context, seq uint64) (int, error) {
				if seq%8 == at {
					cancel()
				}
				return 1, nil
			}))
			res, err := r.Run(ctx, l, nil)
			if err != nil || !res.Interrupted || res.Failed+res.Canceled != 0 || res.Issued == 0 {
				t.Errorf("%v: %+v", err, res)
			}
			checkCounts(t, res)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}
	goleak.VerifyNone(t)
}
