package bench

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

const (
	stallEvery = 2 * time.Second
	stallFor   = 200 * time.Millisecond
	unstalled  = 200 * time.Microsecond
)

// stalling is a server that answers in 200 µs and stops for 200 ms every 2 s.
func stalling(start time.Time) requester {
	return func(ctx context.Context, _ uint64) (int, error) {
		into := time.Since(start) % stallEvery
		wait := unstalled
		if from := stallEvery - stallFor; into >= from {
			wait += stallEvery - into
		}
		return after(ctx, wait)
	}
}

// TestStallIsReportedAsUsersFeelIt: one request in ten is due during a stall and
// waits for the rest of it, so the response times above p90 are spread evenly
// over 0 to 200 ms.
func TestStallIsReportedAsUsersFeelIt(t *testing.T) {
	analytic := func(q float64) time.Duration {
		return unstalled + max(0, time.Duration((q-0.9)/0.1*float64(stallFor)))
	}
	near := func(got, want time.Duration) bool {
		return math.Abs(float64(got-want)) <= math.Max(0.02*float64(want), float64(200*time.Microsecond))
	}
	for _, tc := range []struct {
		name        string
		load        Load
		serviceTrue bool // enough in flight: service times see the stall too
	}{
		{"500/s", Load{RatePerSecond: 500}, true},
		{"5000/s", Load{RatePerSecond: 5000, MaxInFlight: 2000}, true},
		{"5000/s, 64 in flight", Load{RatePerSecond: 5000, MaxInFlight: 64}, false},
		{"5000/s Poisson, 64 in flight", Load{RatePerSecond: 5000, MaxInFlight: 64, Arrival: Poisson, Seed: 1}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			tc.load.Duration, tc.load.Timeout = 20*time.Second, 10*time.Second
			res := runVirtual(t, t.Context(), always(stalling(time.Now())), tc.load)
			// What is left of 1000 requests with 64 in flight takes 3 ms more.
			for _, q := range []float64{0.5, 0.99, 0.999} {
				if got := res.Response.Quantile(q); !near(got, analytic(q)) {
					t.Errorf("%s: quantile %v of the response is %s, want %s", tc.name, q, got, analytic(q))
				}
			}
			if got := res.Response.Max(); !near(got, unstalled+stallFor) {
				t.Errorf("%s: the longest response is %s", tc.name, got)
			}
			p99 := res.Service.Quantile(0.99)
			if tc.serviceTrue != near(p99, analytic(0.99)) {
				t.Errorf("%s: p99 of the service time is %s", tc.name, p99)
			}
			if !tc.serviceTrue && (p99 > time.Millisecond || res.MaxInFlightReached != 64 || res.SendLag.Quantile(0.99) < 150*time.Millisecond) {
				t.Errorf("%s: service %s, %d in flight, lag %s", tc.name, res.Service, res.MaxInFlightReached, res.SendLag)
			}
			if !res.ScheduleKept() || math.Abs(res.RequestRate()/tc.load.RatePerSecond-1) > 0.02 {
				t.Errorf("%s: %d unsent, %v/s", tc.name, res.Unsent, res.RequestRate())
			}
		})
	}
}
