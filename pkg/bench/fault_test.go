package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var bothLoops = []Load{{Concurrency: 3}, {RatePerSecond: 1000}}

func TestErrorsAreCountedByClass(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests = 1000
			res := runVirtual(t, t.Context(), always(func(ctx context.Context, seq uint64) (int, error) {
				switch seq % 10 {
				case 0:
					return 0, classed("http 503")
				case 1, 2:
					return 9, fmt.Errorf("odd request %d", seq)
				}
				return after(ctx, time.Millisecond)
			}), l)
			if len(res.Errors) != 2 || res.Errors[0].Class != ClassOther || res.Errors[0].Count != 200 || res.Errors[1].Class != "http 503" || res.Errors[1].Count != 100 {
				t.Errorf("errors are %+v", res.Errors)
			}
			if res.Errors[1].First != "failed as http 503" || res.Errors[1].FirstAt != 0 || res.Inferences != 700 || res.Response.Min() != time.Millisecond || res.ErrorRatio() != 0.3 {
				t.Errorf("got %+v", res)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   requester
		want string
	}{
		{"heeds its context", func(ctx context.Context, _ uint64) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, "no answer within 50ms"},
		{"a context derived from it ends too", func(ctx context.Context, _ uint64) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}, "no answer within 50ms"},
		{"has its own words", func(ctx context.Context, _ uint64) (int, error) {
			<-ctx.Done()
			return 0, classed("grpc CANCELED")
		}, "no answer within 50ms: failed as grpc CANCELED"},
		{"keeps the deadline itself", func(ctx context.Context, _ uint64) (int, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return 0, errors.New("no deadline")
			}
			time.Sleep(time.Until(deadline) + 1)
			return 0, errors.New("i/o timeout")
		}, "no answer within 50ms: i/o timeout"},
		{"answers too late", func(context.Context, uint64) (int, error) {
			time.Sleep(51 * time.Millisecond)
			return 1, nil
		}, "answered after 51ms, later than the timeout of 50ms"},
	} {
		for _, l := range bothLoops {
			synctest.Test(t, func(t *testing.T) {
				l.Requests, l.Timeout = 20, 50*time.Millisecond
				var n atomic.Uint64
				res := runVirtual(t, t.Context(), always(func(ctx context.Context, seq uint64) (int, error) {
					if n.Add(1)%2 == 0 { // the context is good again after a timeout
						return after(ctx, 49*time.Millisecond)
					}
					return tc.do(ctx, seq)
				}), l)
				if res.Completed != 10 || res.Failed != 10 || len(res.Errors) != 1 || res.Errors[0].Class != ClassTimeout || res.Errors[0].First != tc.want || res.Stuck != 0 {
					t.Errorf("%s: got %+v", tc.name, res)
				}
				if longest := res.FailedResponse.Max(); longest < 50*time.Millisecond || longest > 60*time.Millisecond {
					t.Errorf("%s: it took %s to fail", tc.name, longest)
				}
			})
		}
	}
}

// closing counts Requesters that were made and closed.
type closing struct {
	requester
	open *atomic.Int64
}

func (c closing) Close() error { c.open.Add(-1); return nil }

// TestStuckRequestsAreGivenUp: the first requests never return; the run goes on
// without them and ends on time.
// TestAnAnswerInTimeIsNoTimeout: the supervisor may see the deadline pass between
// the answer and its record.
func TestAnAnswerInTimeIsNoTimeout(t *testing.T) {
	const timeout = 50 * time.Millisecond
	for took, completed := range map[time.Duration]uint64{timeout - 1: 1, timeout: 1, timeout + 1: 0} {
		rec := newRecorder(false, 0)
		w := &worker{run: &run{load: Load{Timeout: timeout}}, recorder: rec}
		w.record(timing{end: int64(took)}, stateTimedOut, 1, nil, nil)
		if c := rec.current; c.completed != completed || c.failed != 1-completed {
			t.Errorf("an answer after %s of %s: %d completed, %d failed", took, timeout, c.completed, c.failed)
		}
	}
}

func TestStuckRequestsAreGivenUp(t *testing.T) {
	for _, l := range []Load{{Concurrency: 3}, {RatePerSecond: 100, MaxInFlight: 3}} {
		synctest.Test(t, func(t *testing.T) {
			l.Duration, l.Timeout = 5*time.Second, 100*time.Millisecond
			release := make(chan struct{})
			var open atomic.Int64
			r := newVirtual(func(int) (Requester, error) {
				open.Add(1)
				return closing{open: &open, requester: func(ctx context.Context, seq uint64) (int, error) {
					if seq < 3 {
						<-release
						return 1, nil
					}
					return after(ctx, 10*time.Millisecond)
				}}, nil
			})
			begin := time.Now()
			res, err := r.Run(t.Context(), l, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCounts(t, res)
			if took := time.Since(begin); took > 5*time.Second+lateStart+20*time.Millisecond {
				t.Errorf("the run took %s", took)
			}
			if res.Stuck != 3 || res.Failed != 3 || res.Errors[0].Class != ClassStuck || res.Completed < 300 {
				t.Errorf("got %+v", res)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if open.Load() != 3 {
				t.Errorf("%d requesters are open, want the 3 stuck ones", open.Load())
			}
			close(release)
			synctest.Wait()
			if open.Load() != 0 {
				t.Errorf("%d requesters were not closed when they returned", open.Load())
			}
		})
	}
}

func TestAllStuckEndsTheRun(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests, l.Timeout = 3, time.Second
			release := make(chan struct{})
			begin := time.Now()
			res := runVirtual(t, t.Context(), always(func(context.Context, uint64) (int, error) { <-release; return 0, nil }), l)
			if took := time.Since(begin); took > 2200*time.Millisecond || res.Stuck != 3 || res.Failed != 3 {
				t.Errorf("took %s: %+v", took, res)
			}
			close(release)
		})
	}
}

// TestFactoryErrorsAreResults: a server that can't be reached is no abort, and
// no hot loop either.
func TestFactoryErrorsAreResults(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests, l.Timeout = 200, time.Second
			res := runVirtual(t, t.Context(), func(worker int) (Requester, error) {
				return nil, fmt.Errorf("worker %d: refused", worker)
			}, l)
			if res.Failed != 200 || res.Errors[0].Class != ClassConnect || !strings.HasSuffix(res.Errors[0].First, "refused") {
				t.Errorf("got %+v", res)
			}
			if l.Open() != (res.Paused == 0) {
				t.Errorf("paused for %s", res.Paused)
			}
			if !l.Open() && (res.Elapsed < 5*time.Second || res.Elapsed > 7*time.Second) {
				t.Errorf("200 refusals of 3 workers with up to 100 ms between took %s", res.Elapsed)
			}
		})
	}
}

func TestPausesEndWithTheFailures(t *testing.T) {
	for _, class := range []string{ClassConnect, ClassConnectionLost, "http 503"} {
		synctest.Test(t, func(t *testing.T) {
			res := runVirtual(t, t.Context(), always(func(_ context.Context, seq uint64) (int, error) {
				if seq%10 < 3 {
					return 0, classed(class)
				}
				return 1, nil
			}), Load{Concurrency: 1, Requests: 100})
			want := 10 * 7 * time.Millisecond // 1 + 2 + 4 ms each time
			if class == "http 503" {
				want = 0 // an answer
			}
			if res.Paused != want || res.Failed != 30 || res.Completed != 70 {
				t.Errorf("%s: paused for %s: %+v", class, res.Paused, res)
			}
		})
	}
}

// TestReconnect: the factory fails at first, then works; workers ask it again.
func TestReconnect(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests = 100
			var made atomic.Uint64
			res := runVirtual(t, t.Context(), func(int) (Requester, error) {
				if made.Add(1) <= 5 {
					return nil, errors.New("not yet")
				}
				return noop{}, nil
			}, l)
			if res.Failed != 5 || res.Completed != 95 {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// TestSlowFactory: connecting is send lag, not service time, and is bounded by
// the timeout as a request is.
func TestSlowFactory(t *testing.T) {
	for _, l := range bothLoops {
		synctest.Test(t, func(t *testing.T) {
			l.Requests, l.Timeout = 1, time.Second
			for _, connect := range []time.Duration{900 * time.Millisecond, 1500 * time.Millisecond} {
				res := runVirtual(t, t.Context(), func(int) (Requester, error) {
					time.Sleep(connect)
					return requester(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, 300*time.Millisecond) }), nil
				}, l)
				switch {
				case connect > l.Timeout:
					if res.Failed != 1 || res.Errors[0].Class != ClassTimeout {
						t.Errorf("connecting for %s: %+v", connect, res)
					}
				case res.Completed != 1 || res.Service.Max() != 300*time.Millisecond || l.Open() && res.SendLag.Max() != connect:
					t.Errorf("connecting for %s: %+v", connect, res)
				}
			}
		})
	}
}
