package bench

import (
	"math"
	"math/rand/v2"
	"time"
)

// schedule yields the due times of an open loop as nanoseconds after its start.
type schedule struct {
	rate     float64
	requests uint64 // 0: no limit
	duration int64  // 0: no limit
	issued   uint64
	next     int64

	intervals []time.Duration
	random    *rand.Rand // nil: constant, or by intervals
	// fraction is the part of a nanosecond that next does not hold, so that
	// random gaps add up without rounding.
	fraction float64
}

func newSchedule(l Load) *schedule {
	s := &schedule{rate: l.RatePerSecond, requests: l.Requests, duration: int64(l.Duration), intervals: l.Intervals}
	if l.Arrival == Poisson {
		s.random = rand.New(rand.NewPCG(l.Seed, 0x6b756265))
		s.advance()
	}
	return s
}

// peek returns the next due time, or false when no further request is due.
func (s *schedule) peek() (int64, bool) {
	if s.requests > 0 && s.issued >= s.requests || s.duration > 0 && s.next >= s.duration {
		return 0, false
	}
	return s.next, true
}

// pop takes the next due time.
func (s *schedule) pop() {
	s.issued++
	s.advance()
}

func (s *schedule) advance() {
	if n := uint64(len(s.intervals)); n > 0 {
		s.add(int64(s.intervals[(s.issued-1)%n]))
		return
	}
	if s.random == nil {
		// From the request's number each time: nothing accumulates, and the
		// error stays below a nanosecond for as long as an int64 lasts.
		s.next = s.constant(s.issued)
		return
	}
	gap := s.random.ExpFloat64()*1e9/s.rate + s.fraction
	whole := math.Floor(gap)
	s.fraction = gap - whole
	s.add(int64(min(whole, math.MaxInt64/2)))
}

// constant is when request i of a constant rate is due, at most at the end of time.
func (s *schedule) constant(i uint64) int64 {
	const end = 1 << 62 // a float64 has it exactly
	return int64(min(math.Round(float64(i)*1e9/s.rate), end))
}

// add moves the next due time, at most to the end of time.
func (s *schedule) add(gap int64) { s.next += min(gap, math.MaxInt64-s.next) }

// skipUntil takes every request due before t and returns how many there were.
func (s *schedule) skipUntil(t int64) uint64 {
	var n uint64
	if s.random == nil && len(s.intervals) == 0 {
		n = s.jump(t)
	}
	for {
		due, ok := s.peek()
		if !ok || due >= t {
			return n
		}
		s.pop()
		n++
	}
}

// jump takes most of the requests of a constant rate that are due before t, as
// a backlog may be too long to be counted one by one.
func (s *schedule) jump(t int64) (n uint64) {
	if s.duration > 0 {
		t = min(t, s.duration)
	}
	// A little less than there are, so that rounding takes none too many.
	n = uint64(max(0, float64(t-s.next)*s.rate/1e9*(1-1e-9)-1))
	if s.requests > 0 {
		n = min(n, s.requests-min(s.issued, s.requests))
	}
	s.issued += n
	s.advance()
	return n
}

// span is the time over which the requests taken so far were offered: up to the
// next due time, or to the end of the duration.
func (s *schedule) span() time.Duration {
	if s.duration > 0 && s.next >= s.duration {
		return time.Duration(s.duration)
	}
	return time.Duration(s.next)
}
