package bench

import (
	"math"
	"time"
)

// maxSeconds is the most intervals that a series keeps.
const maxSeconds = 3600

// Second is one interval of the time series; requests belong to the interval in
// which they ended. Intervals are one second wide, and twice as wide each time
// the run outgrows the series. Their boundaries are where the recording was
// really cut, a little after the full second, so a rate is Completed/Width.
type Second struct {
	Start, Width                  time.Duration // from the start of the run
	Completed, Failed, Inferences uint64
	// P50, P99 and Max are response times of completed requests. Where two
	// intervals were joined, P50 and P99 are the larger of the two: an upper
	// bound of the joint one.
	P50, P99, Max time.Duration
	// Mean of the same response times, exact also where intervals were joined.
	Mean time.Duration
	// Deviation is their standard deviation, likewise.
	Deviation time.Duration
}

// series collects seconds in bounded memory.
type series struct {
	list  []Second
	width int    // seconds per interval
	part  Second // the interval being filled
	parts int
}

func (s *series) add(next Second) {
	if s.parts == 0 {
		s.part = next
	} else {
		s.part = join(s.part, next)
	}
	if s.parts++; s.parts < max(1, s.width) {
		return
	}
	s.list, s.parts = append(s.list, s.part), 0
	if len(s.list) < maxSeconds {
		return
	}
	for i := range len(s.list) / 2 {
		s.list[i] = join(s.list[2*i], s.list[2*i+1])
	}
	s.list = s.list[:len(s.list)/2]
	s.width = 2 * max(1, s.width)
}

func (s *series) all() []Second {
	if s.parts > 0 {
		return append(s.list[:len(s.list):len(s.list)], s.part)
	}
	return s.list
}

func join(a, b Second) Second {
	return Second{
		Start: a.Start, Width: a.Width + b.Width,
		Completed: a.Completed + b.Completed, Failed: a.Failed + b.Failed, Inferences: a.Inferences + b.Inferences,
		P50: max(a.P50, b.P50), P99: max(a.P99, b.P99), Max: max(a.Max, b.Max),
		Mean: meanOf(a, b), Deviation: deviationOf(a, b),
	}
}

func deviationOf(a, b Second) time.Duration {
	n := float64(a.Completed + b.Completed)
	if n == 0 {
		return 0
	}
	part := func(s Second) float64 {
		off := float64(s.Mean - meanOf(a, b))
		return (float64(s.Deviation)*float64(s.Deviation) + off*off) * float64(s.Completed) / n
	}
	return time.Duration(math.Sqrt(part(a) + part(b)))
}

func meanOf(a, b Second) time.Duration {
	n := a.Completed + b.Completed
	if n == 0 {
		return 0
	}
	return time.Duration((float64(a.Mean)*float64(a.Completed) + float64(b.Mean)*float64(b.Completed)) / float64(n))
}
