package bench

import (
	"math"
	"math/big"
	"testing"
	"time"
)

var oddRates = []float64{0.1, 1, 3, 7, 29.97, 333.333, 500, 1e3 / 7, 5000, 12345.678, 1e6, 999999.937}

// TestConstantScheduleDoesNotDrift compares due times with exact arithmetic
// hours into the schedule.
func TestConstantScheduleDoesNotDrift(t *testing.T) {
	for _, rate := range oddRates {
		s := newSchedule(Load{RatePerSecond: rate, Requests: math.MaxUint64})
		exactRate := new(big.Rat).SetFloat64(rate)
		for _, at := range []float64{0, 1, 59.9, 3600, 10 * 3600} {
			for i := uint64(at * rate); i < uint64(at*rate)+100; i++ {
				s.issued = i
				s.advance()
				due, ok := s.peek()
				exact := new(big.Rat).Quo(new(big.Rat).SetInt(new(big.Int).Mul(new(big.Int).SetUint64(i), big.NewInt(1e9))), exactRate)
				off, _ := new(big.Rat).Sub(new(big.Rat).SetInt64(due), exact).Float64()
				if !ok || math.Abs(off) > 0.51 {
					t.Fatalf("rate %v: request %d is due at %d ns, %v ns off", rate, i, due, off)
				}
			}
		}
	}
}

func TestScheduleHasTheExactCount(t *testing.T) {
	for _, rate := range oddRates {
		for _, d := range []time.Duration{time.Second, 1500 * time.Millisecond, 7 * time.Second, 10 * time.Second} {
			got := newSchedule(Load{RatePerSecond: rate, Duration: d}).skipUntil(math.MaxInt64)
			want := uint64(math.Ceil(math.Round(rate*d.Seconds()*1e6) / 1e6))
			if got != want {
				t.Errorf("rate %v for %s: %d requests, want %d", rate, d, got, want)
			}
		}
		if got := newSchedule(Load{RatePerSecond: rate, Requests: 1234}).skipUntil(math.MaxInt64); got != 1234 {
			t.Errorf("rate %v: %d of 1234 requests", rate, got)
		}
	}
	s := newSchedule(Load{RatePerSecond: 1000, Duration: time.Hour})
	if got := s.skipUntil(int64(100 * time.Millisecond)); got != 100 {
		t.Errorf("%d requests are due in the first 100 ms, want 100", got)
	}
	if got := s.span(); got != 100*time.Millisecond {
		t.Errorf("100 requests at 1000/s span %s", got)
	}
}

// TestPoissonArrivals checks mean and variance of the gaps, whose distribution
// is exponential: both moments follow from the rate.
func TestPoissonArrivals(t *testing.T) {
	const n = 200_000
	for _, rate := range []float64{0.5, 500, 5000, 1e6} {
		s := newSchedule(Load{RatePerSecond: rate, Requests: math.MaxUint64, Arrival: Poisson, Seed: 7})
		var sum, squares, longer float64
		last := int64(0)
		for range n {
			due, _ := s.peek()
			s.pop()
			if due < last {
				t.Fatal("due times go backwards")
			}
			gap := float64(due-last) * rate / 1e9
			last = due
			sum += gap
			squares += gap * gap
			if gap > 1 {
				longer++
			}
		}
		mean := sum / n
		variance := squares/n - mean*mean
		// Five standard errors of each estimate.
		if math.Abs(mean-1) > 5/math.Sqrt(n) || math.Abs(variance-1) > 5*math.Sqrt(8)/math.Sqrt(n) {
			t.Errorf("rate %v: mean %v, variance %v of the gaps, want 1 and 1", rate, mean, variance)
		}
		if share := longer / n; math.Abs(share-1/math.E) > 0.006 {
			t.Errorf("rate %v: %v of the gaps are longer than the mean, want 1/e", rate, share)
		}
	}
}

func TestPoissonIsRepeatable(t *testing.T) {
	at := func(seed uint64) int64 {
		s := newSchedule(Load{RatePerSecond: 100, Requests: 1000, Arrival: Poisson, Seed: seed})
		s.skipUntil(int64(time.Second))
		due, _ := s.peek()
		return due
	}
	first, again, other := at(1), at(1), at(2)
	if first != again || first == other {
		t.Error("the seed does not decide the arrivals")
	}
}

// TestIntervalsArePlayedRoundAndRound: due times are the sums of the intervals,
// exactly, however long the run.
func TestIntervalsArePlayedRoundAndRound(t *testing.T) {
	intervals := []time.Duration{10 * time.Millisecond, 0, 25 * time.Microsecond}
	s := newSchedule(Load{RatePerSecond: IntervalRate(intervals), Arrival: Intervals, Intervals: intervals, Duration: time.Hour})
	want := int64(0)
	n := 0
	for ; ; n++ {
		due, ok := s.peek()
		if !ok {
			break
		}
		if due != want {
			t.Fatalf("request %d is due at %d ns, want %d", n, due, want)
		}
		want += int64(intervals[n%3])
		s.pop()
	}
	// A round of three takes 10.025 ms.
	if rounds := int(time.Hour / (10025 * time.Microsecond)); n < 3*rounds || n > 3*(rounds+1) {
		t.Errorf("%d requests in an hour", n)
	}
	if rate := IntervalRate(intervals); math.Abs(rate-3/0.010025) > 1e-9 {
		t.Errorf("rate %v", rate)
	}
	if IntervalRate(nil) != 0 || IntervalRate([]time.Duration{0}) != 0 {
		t.Error("no time has a rate")
	}
}

// TestRareRequests: what is due after the end of time is not due at the start.
func TestRareRequests(t *testing.T) {
	for _, rate := range []float64{1e-9, 1e-10, 1e-11, 1e-300, math.SmallestNonzeroFloat64} {
		s := newSchedule(Load{RatePerSecond: rate, Duration: maxDuration})
		if n := s.skipUntil(10); n != 1 {
			t.Errorf("rate %v: %d requests are due at the start, want 1", rate, n)
		}
		if due, ok := s.peek(); ok {
			t.Errorf("rate %v: another request is due at %d ns", rate, due)
		}
	}
}

// TestABacklogIsCountedAtOnce: after an overload or an interrupt nobody waits for
// what was due and never sent.
func TestABacklogIsCountedAtOnce(t *testing.T) {
	const long = 1000 * time.Hour // in nanoseconds, a float64 has it exactly
	for _, tc := range []struct {
		load  Load
		until time.Duration
		want  uint64
	}{
		{Load{RatePerSecond: 1e9, Duration: long}, long, uint64(long)},
		{Load{RatePerSecond: 1e9, Duration: time.Hour}, long, uint64(time.Hour)},
		{Load{RatePerSecond: 1e9, Requests: 1e15, Duration: long}, long, 1e15},
		{Load{RatePerSecond: 1e9, Requests: 1e15, Duration: long}, time.Hour, uint64(time.Hour)},
		{Load{RatePerSecond: 3e8, Duration: long}, 10, 3},
	} {
		s := newSchedule(tc.load)
		if got := s.skipUntil(int64(tc.until)); got != tc.want {
			t.Errorf("%+v: %d requests are due within %s, want %d", tc.load, got, tc.until, tc.want)
		}
		if due, ok := s.peek(); ok && due < int64(tc.until) {
			t.Errorf("%+v: a request is left that is due at %d ns", tc.load, due)
		}
	}
}
