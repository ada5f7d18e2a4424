package bench

import (
	"math"
	"math/bits"
)

const (
	// Values below subBuckets have a bucket each; from there on each power of
	// two has halfBuckets of them, so a bucket is never wider than 1/1024 of
	// its values: three significant digits.
	subBucketBits = 11
	subBuckets    = 1 << subBucketBits
	halfBuckets   = subBuckets / 2
)

// histogram counts times in nanoseconds in the buckets of an HDR histogram
// (hdrhistogram.org) of unit 1 ns and three significant digits, and keeps exact
// extremes and sum. It grows with its largest value. Merging and clearing touch
// only the range of buckets in use, which makes it cheap to take one away from
// every recorder each second; a general library visits all of them.
type histogram struct {
	counts []uint64
	// lo and hi bound the buckets in use, if count is not 0.
	lo, hi   int
	count    uint64
	min, max int64
	sum      float64
}

func bucketOf(ns int64) int {
	shift := max(0, bits.Len64(uint64(ns))-subBucketBits)
	return shift*halfBuckets + int(ns>>shift)
}

// bucketRange is the smallest and largest value of a bucket.
func bucketRange(bucket int) (from, to int64) {
	shift := max(0, bucket/halfBuckets-1)
	from = int64(bucket-shift*halfBuckets) << shift
	return from, from + 1<<shift - 1
}

func (h *histogram) record(ns int64) {
	ns = max(0, ns)
	b := bucketOf(ns)
	h.cover(b, b, ns, ns)
	h.counts[b]++
	h.count++
	h.sum += float64(ns)
}

// cover extends the extremes and the buckets in use.
func (h *histogram) cover(lo, hi int, minimum, maximum int64) {
	if hi >= len(h.counts) {
		grown := make([]uint64, (hi/halfBuckets+1)*halfBuckets)
		copy(grown, h.counts)
		h.counts = grown
	}
	if h.count == 0 {
		h.lo, h.hi, h.min, h.max = lo, hi, minimum, maximum
		return
	}
	h.lo, h.hi = min(h.lo, lo), max(h.hi, hi)
	h.min, h.max = min(h.min, minimum), max(h.max, maximum)
}

func (h *histogram) merge(from *histogram) {
	if from.count == 0 {
		return
	}
	h.cover(from.lo, from.hi, from.min, from.max)
	to := h.counts[from.lo : from.hi+1]
	for i, n := range from.counts[from.lo : from.hi+1] {
		to[i] += n
	}
	h.count += from.count
	h.sum += from.sum
}

func (h *histogram) reset() {
	if h.count > 0 {
		clear(h.counts[h.lo : h.hi+1])
	}
	*h = histogram{counts: h.counts}
}

// quantile is the largest value of the bucket that holds the smallest recorded
// value which a share q of all do not exceed.
func (h *histogram) quantile(q float64) int64 {
	if h.count == 0 {
		return 0
	}
	// The tiny reduction keeps 0.07 × 100 from becoming the eighth value.
	rank := uint64(max(1, math.Ceil(min(1, q)*float64(h.count)*(1-1e-14))))
	var n uint64
	for b := h.lo; b < h.hi; b++ {
		if n += h.counts[b]; n >= rank {
			_, to := bucketRange(b)
			return min(max(to, h.min), h.max)
		}
	}
	return h.max
}

func (h *histogram) mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.sum / float64(h.count)
}

// deviation is the population's standard deviation, each value taken as the
// middle of its bucket.
func (h *histogram) deviation() float64 {
	if h.count == 0 {
		return 0
	}
	mean, squares := h.mean(), 0.0
	for b := h.lo; b <= h.hi; b++ {
		if n := h.counts[b]; n > 0 {
			from, to := bucketRange(b)
			off := (float64(from)+float64(to))/2 - mean
			squares += float64(n) * off * off
		}
	}
	return math.Sqrt(squares / float64(h.count))
}
