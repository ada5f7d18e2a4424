package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// seconds is a series of full seconds with these counts and mean times.
func seconds(counts []uint64, means []time.Duration) []Second {
	var list []Second
	for i := range counts {
		list = append(list, Second{Start: time.Duration(i) * time.Second, Width: time.Second, Completed: counts[i], Mean: means[i]})
	}
	return list
}

// deviating gives the times of each second this standard deviation.
func deviating(by time.Duration, list []Second) []Second {
	for i := range list {
		list[i].Deviation = by
	}
	return list
}

func repeat[T any](n int, v T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func TestStability(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name    string
		series  []Second
		offered time.Duration
		windows int
		steady  bool
		from    time.Duration
		rate    float64 // spreads
		latency float64
	}{
		{"even", seconds(repeat(10, uint64(10_000)), repeat(10, 10*ms)), 10 * time.Second, 10, true, 0, 0, 0},
		{"30 s in windows of 3", seconds(repeat(30, uint64(10_000)), repeat(30, 10*ms)), 30 * time.Second, 10, true, 0, 0, 0},
		{"a slow beginning", seconds([]uint64{1000, 5000, 10_000, 10_000, 10_000, 10_000}, repeat(6, 10*ms)), 6 * time.Second, 6, true, 2 * time.Second, 0, 0},
		{"throughput falls", seconds([]uint64{10_000, 10_000, 10_000, 9000, 6000}, repeat(5, 10*ms)), 5 * time.Second, 5, false, 0, 0.28, 0},
		{"latency climbs", seconds(repeat(4, uint64(10_000)), []time.Duration{10 * ms, 10 * ms, 20 * ms, 30 * ms}), 4 * time.Second, 4, false, 0, 0, 0.5},
		{"just within", seconds([]uint64{9100, 10_000, 10_900}, repeat(3, 10*ms)), 3 * time.Second, 3, true, 0, 0.09, 0},
		{"too short", seconds(repeat(2, uint64(10_000)), repeat(2, 10*ms)), 2 * time.Second, 0, false, 0, 0, 0},
		{"the tail is no window", append(seconds(repeat(3, uint64(10_000)), repeat(3, 10*ms)), Second{Start: 3 * time.Second, Width: time.Second, Completed: 1, Mean: time.Second}), 3 * time.Second, 3, true, 0, 0, 0},
		{"few requests, as chance has it", seconds([]uint64{20, 30, 25}, repeat(3, 10*ms)), 3 * time.Second, 3, true, 0, 0.2, 0},
		{"few requests, more than chance", seconds([]uint64{5, 40, 30}, repeat(3, 10*ms)), 3 * time.Second, 3, false, 0, 0.8, 0},
		{"times that differ by themselves", deviating(6*ms, seconds(repeat(3, uint64(25)), []time.Duration{8 * ms, 10 * ms, 12 * ms})), 3 * time.Second, 3, true, 0, 0, 0.2},
		{"a queue that grows", deviating(6*ms, seconds(repeat(3, uint64(25)), []time.Duration{60 * ms, 100 * ms, 140 * ms})), 3 * time.Second, 3, false, 0, 0, 0.4},
		{"nothing completed", seconds(repeat(4, uint64(0)), repeat(4, 0*ms)), 4 * time.Second, 4, true, 0, 0, 0},
	} {
		s := stabilityOf(tc.series, tc.offered)
		if s == nil {
			if tc.windows != 0 {
				t.Errorf("%s: no stability", tc.name)
			}
			continue
		}
		near := func(got, want float64) bool { return got > want-1e-9 && got < want+1e-9 }
		if len(s.Windows) != tc.windows || s.Steady != tc.steady || s.SteadyFrom != tc.from || !near(s.RateSpread, tc.rate) || !near(s.ResponseSpread, tc.latency) {
			t.Errorf("%s: %+v", tc.name, s)
		}
	}
}

// TestStabilityOfARun: a server that slows down is called unsteady, and the
// result is whole all the same.
func TestStabilityOfARun(t *testing.T) {
	for _, tc := range []struct {
		name   string
		slower time.Duration // per second of the run
		steady bool
	}{{"even", 0, true}, {"slower by the second", 5 * time.Millisecond, false}} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			answer := func(ctx context.Context, _ uint64) (int, error) {
				return after(ctx, 10*time.Millisecond+time.Duration(time.Since(begin).Seconds()*float64(tc.slower)))
			}
			res := runVirtual(t, t.Context(), always(answer), Load{Concurrency: 4, Duration: 8 * time.Second, Timeout: time.Second})
			s := res.Stability
			if s == nil || s.Steady != tc.steady || len(s.Windows) != 8 || res.Completed == 0 {
				t.Errorf("%s: %+v", tc.name, s)
			}
		})
	}
}
