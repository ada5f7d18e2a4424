package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Arrival is how the due times of an open loop are spaced.
type Arrival string

const (
	// Constant spaces due times evenly: request i is due at start + i/rate.
	Constant Arrival = "constant"
	// Poisson draws independent exponential gaps of mean 1/rate, as many
	// unrelated users would produce.
	Poisson Arrival = "poisson"
	// Intervals takes the gaps from Load.Intervals, round and round.
	Intervals Arrival = "intervals"
)

const (
	// DefaultMaxInFlight bounds the requests in flight of an open loop.
	DefaultMaxInFlight = 1024
	// DefaultInterruptDrain is how long requests in flight may go on after an
	// interrupt.
	DefaultInterruptDrain = time.Second

	// maxDuration keeps every due time within an int64 of nanoseconds.
	maxDuration = 365 * 24 * time.Hour
)

// Load is the load of one run. Exactly one of Concurrency and RatePerSecond is
// above zero, and at least one of Duration and Requests.
type Load struct {
	// Concurrency is the number of workers of a closed loop: each sends its
	// next request when the previous one is answered.
	Concurrency int
	// RatePerSecond is the rate of an open loop.
	RatePerSecond float64
	// Arrival spaces the requests of an open loop; the zero value is Constant.
	Arrival Arrival
	// Pacing waits for the due times; the zero value is Precise.
	Pacing Pacing
	// Intervals are the times from one request to the next for that Arrival; the
	// first request is due at the start. RatePerSecond is their mean rate then,
	// see IntervalRate.
	Intervals []time.Duration
	// MaxInFlight bounds the requests in flight of an open loop. When it is
	// reached, requests start late. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// Duration is how long requests are started; those in flight at its end
	// complete and count. 0 means no limit.
	Duration time.Duration
	// Requests is the number of requests after which the run ends. 0 means no
	// limit. With Duration set too, whichever comes first ends the run.
	Requests uint64
	// Timeout bounds one request, from its send. A request that took longer
	// has failed, whatever came back. 0 means no limit; a run may then last as
	// long as its slowest request.
	Timeout time.Duration
	// Seed makes Poisson arrivals repeatable.
	Seed uint64
	// InterruptDrain is how long requests in flight may go on after the
	// context of Run ended; they are cut and counted as Canceled then. 0 means
	// DefaultInterruptDrain, a negative value cuts at once.
	InterruptDrain time.Duration
}

// Open tells whether the load is an open loop.
func (l Load) Open() bool { return l.RatePerSecond > 0 }

// Validate says in a sentence what is wrong with the load.
func (l Load) Validate() error {
	switch {
	case math.IsNaN(l.RatePerSecond) || math.IsInf(l.RatePerSecond, 0) || l.RatePerSecond < 0:
		return fmt.Errorf("the rate is %v requests per second; it must be a number above 0", l.RatePerSecond)
	case l.Concurrency < 0:
		return fmt.Errorf("the concurrency is %d; it must be above 0", l.Concurrency)
	case l.Concurrency > 0 && l.RatePerSecond > 0:
		return errors.New("a load has either a concurrency (closed loop) or a rate (open loop), not both; remove one")
	case l.Concurrency == 0 && l.RatePerSecond == 0:
		return errors.New("a load needs a concurrency (closed loop) or a rate (open loop); set one above 0")
	case l.Duration < 0 || l.Duration > maxDuration:
		return fmt.Errorf("the duration is %s; it must be between 0 and %s", l.Duration, maxDuration)
	case l.Duration == 0 && l.Requests == 0:
		return errors.New("a load without a duration and without a number of requests would never end; set one of them")
	case l.Timeout < 0 || l.Timeout > maxDuration:
		return fmt.Errorf("the timeout is %s; it must be between 0 (none) and %s", l.Timeout, maxDuration)
	case l.MaxInFlight < 0:
		return fmt.Errorf("at most %d requests in flight is impossible; it must be above 0, or 0 for %d", l.MaxInFlight, DefaultMaxInFlight)
	case l.Pacing != "" && l.Pacing != Precise && l.Pacing != Coalesced && l.Pacing != Spin:
		return fmt.Errorf("the pacing is %q; it must be %q, %q or %q", l.Pacing, Precise, Coalesced, Spin)
	case l.Arrival != "" && l.Arrival != Constant && l.Arrival != Poisson && l.Arrival != Intervals:
		return fmt.Errorf("the arrival is %q; it must be %q, %q or %q", l.Arrival, Constant, Poisson, Intervals)
	case (l.Arrival == Intervals) != (len(l.Intervals) > 0):
		return fmt.Errorf("%d intervals are given for arrival %q; they belong to %q", len(l.Intervals), l.Arrival, Intervals)
	case slices.ContainsFunc(l.Intervals, func(d time.Duration) bool { return d < 0 || d > maxDuration }):
		return fmt.Errorf("an interval is outside of 0 to %s", maxDuration)
	case len(l.Intervals) > 0 && IntervalRate(l.Intervals) == 0:
		return errors.New("the intervals take no time, so that all requests would be due at once; make one of them longer than 0")
	case l.Open() && l.RatePerSecond > 1e9:
		return fmt.Errorf("the rate is %v requests per second; due times are whole nanoseconds, so at most 1e9", l.RatePerSecond)
	case l.Open() && l.Requests > 0 && l.Duration == 0 && float64(l.Requests)/l.RatePerSecond > maxDuration.Seconds():
		return fmt.Errorf("%d requests at %v per second would take more than %s; ask for fewer, or faster", l.Requests, l.RatePerSecond, maxDuration)
	}
	return nil
}

// IntervalRate is the mean rate of requests at the given intervals, 0 if they
// take no time.
func IntervalRate(intervals []time.Duration) (perSecond float64) {
	var sum float64
	for _, d := range intervals {
		sum += d.Seconds()
	}
	if sum <= 0 {
		return 0
	}
	return float64(len(intervals)) / sum
}

func (l Load) withDefaults() Load {
	if l.Open() {
		if l.Arrival == "" {
			l.Arrival = Constant
		}
		if l.Pacing == "" {
			l.Pacing = Precise
		}
		if l.MaxInFlight == 0 {
			l.MaxInFlight = DefaultMaxInFlight
		}
	}
	if l.InterruptDrain == 0 {
		l.InterruptDrain = DefaultInterruptDrain
	}
	l.InterruptDrain = max(0, l.InterruptDrain)
	return l
}

// maxWorkers is the most requests that can be in flight at once.
func (l Load) maxWorkers() int {
	n := l.Concurrency
	if l.Open() {
		n = l.MaxInFlight
	}
	if l.Requests > 0 && l.Requests < uint64(n) {
		n = int(l.Requests)
	}
	return n
}
