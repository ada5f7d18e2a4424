package bench

import (
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// A histogram holds 1 ns to 1 h with three significant digits: a value is
	// off by at most 1/1024 of itself.
	lowestNS          = 1
	highestNS         = int64(time.Hour)
	significantDigits = 3
)

// Latency is an immutable distribution of times. Count, Min, Mean and Max are
// exact; quantiles, standard deviation and buckets come from an HDR histogram
// of three significant digits (error at most 0.1 %). Times above one hour count
// as one hour in the histogram. The zero value is an empty distribution.
type Latency struct{ d distribution }

// LatencyOf is the distribution of the given times; negative ones count as 0.
func LatencyOf(times ...time.Duration) Latency {
	var l Latency
	for _, t := range times {
		l.d.record(int64(t))
	}
	return l
}

// Count is the number of times recorded.
func (l Latency) Count() uint64 { return l.d.count }

// Min is the shortest time, 0 if there is none.
func (l Latency) Min() time.Duration { return time.Duration(l.d.min) }

// Max is the longest time, 0 if there is none.
func (l Latency) Max() time.Duration { return time.Duration(l.d.max) }

// Mean is the arithmetic mean, 0 if there is none.
func (l Latency) Mean() time.Duration {
	if l.d.count == 0 {
		return 0
	}
	return time.Duration(math.Round(l.d.sum / float64(l.d.count)))
}

// StdDev is the population's standard deviation.
func (l Latency) StdDev() time.Duration {
	if l.d.count == 0 {
		return 0
	}
	return time.Duration(math.Round(l.d.histogram.StdDev()))
}

// Quantile is the time that a share q (0 to 1) of all did not exceed: 0.99 for
// p99. It is 0 for an empty distribution.
func (l Latency) Quantile(q float64) time.Duration { return time.Duration(l.d.quantile(q)) }

// Bucket is the number of times in (From, To], or [0, To] for From 0.
type Bucket struct {
	From, To time.Duration
	Count    uint64
}

// Buckets returns the non-empty buckets of the histogram in ascending order.
func (l Latency) Buckets() []Bucket {
	if l.d.count == 0 {
		return nil
	}
	var buckets []Bucket
	for _, bar := range l.d.histogram.Distribution() {
		if bar.Count > 0 {
			buckets = append(buckets, Bucket{From: time.Duration(max(0, bar.From-1)), To: time.Duration(bar.To), Count: uint64(bar.Count)})
		}
	}
	return buckets
}

// Merge is the distribution of both: the same as if all times had been recorded
// in one. Neither l nor other is changed.
func (l Latency) Merge(other Latency) Latency {
	var m Latency
	m.d.merge(&l.d)
	m.d.merge(&other.d)
	return m
}

// String is a short form for logs and test failures.
func (l Latency) String() string {
	if l.d.count == 0 {
		return "no times"
	}
	return fmt.Sprintf("n=%d mean=%s p50=%s p99=%s max=%s", l.Count(), l.Mean(), l.Quantile(0.5), l.Quantile(0.99), l.Max())
}

// distribution is the mutable form: a histogram made when first needed, and
// exact extremes and sum.
type distribution struct {
	histogram *hdrhistogram.Histogram
	count     uint64
	min, max  int64
	sum       float64
}

func (d *distribution) record(ns int64) {
	ns = max(0, ns)
	if d.histogram == nil {
		d.histogram = hdrhistogram.New(lowestNS, highestNS, significantDigits)
	}
	if d.count == 0 || ns < d.min {
		d.min = ns
	}
	d.max = max(d.max, ns)
	d.sum += float64(ns)
	d.count++
	// The value is in range, which is the only thing that can be wrong.
	_ = d.histogram.RecordValue(min(ns, highestNS))
}

func (d *distribution) quantile(q float64) int64 {
	if d.count == 0 {
		return 0
	}
	if q <= 0 {
		return d.min
	}
	return min(max(d.histogram.ValueAtPercentile(q*100), d.min), d.max)
}

func (d *distribution) merge(from *distribution) {
	if from.count == 0 {
		return
	}
	if d.histogram == nil {
		d.histogram = hdrhistogram.New(lowestNS, highestNS, significantDigits)
	}
	if d.count == 0 || from.min < d.min {
		d.min = from.min
	}
	d.max = max(d.max, from.max)
	d.sum += from.sum
	d.count += from.count
	d.histogram.Merge(from.histogram)
}

func (d *distribution) reset() {
	if d.count == 0 {
		return
	}
	d.histogram.Reset()
	*d = distribution{histogram: d.histogram}
}
