package bench

import (
	"fmt"
	"math"
	"time"
)

// Latency is an immutable distribution of times. Count, Min, Mean and Max are
// exact; quantiles, standard deviation and buckets come from an HDR histogram
// of three significant digits (error at most 0.1 %). The zero value is an empty
// distribution.
type Latency struct{ h histogram }

// LatencyOf is the distribution of the given times; negative ones count as 0.
func LatencyOf(times ...time.Duration) Latency {
	var l Latency
	for _, t := range times {
		l.h.record(int64(t))
	}
	return l
}

// Count is the number of times recorded.
func (l Latency) Count() uint64 { return l.h.count }

// Min is the shortest time, 0 if there is none.
func (l Latency) Min() time.Duration { return time.Duration(l.h.min) }

// Max is the longest time, 0 if there is none.
func (l Latency) Max() time.Duration { return time.Duration(l.h.max) }

// Mean is the arithmetic mean, 0 if there is none.
func (l Latency) Mean() time.Duration { return time.Duration(math.Round(l.h.mean())) }

// StdDev is the population's standard deviation.
func (l Latency) StdDev() time.Duration { return time.Duration(math.Round(l.h.deviation())) }

// Quantile is the time that a share q (0 to 1) of all did not exceed: 0.99 for
// p99. It is 0 for an empty distribution.
func (l Latency) Quantile(q float64) time.Duration { return time.Duration(l.h.quantile(q)) }

// Bucket is the number of times in (From, To], or [0, To] for From 0.
type Bucket struct {
	From, To time.Duration
	Count    uint64
}

// Buckets returns the non-empty buckets of the histogram in ascending order.
func (l Latency) Buckets() []Bucket {
	if l.h.count == 0 {
		return nil
	}
	var buckets []Bucket
	for b := l.h.lo; b <= l.h.hi; b++ {
		if n := l.h.counts[b]; n > 0 {
			from, to := bucketRange(b)
			buckets = append(buckets, Bucket{From: time.Duration(max(0, from-1)), To: time.Duration(to), Count: n})
		}
	}
	return buckets
}

// Merge is the distribution of both: the same as if all times had been recorded
// in one. Neither l nor other is changed.
func (l Latency) Merge(other Latency) Latency {
	var m Latency
	m.h.merge(&l.h)
	m.h.merge(&other.h)
	return m
}

// String is a short form for logs and test failures.
func (l Latency) String() string {
	if l.h.count == 0 {
		return "no times"
	}
	return fmt.Sprintf("n=%d mean=%s p50=%s p99=%s max=%s", l.Count(), l.Mean(), l.Quantile(0.5), l.Quantile(0.99), l.Max())
}
