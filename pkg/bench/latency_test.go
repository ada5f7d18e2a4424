package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// samples are latencies over many orders of magnitude, as one seed gives them.
func samples(seed uint64, n int) []time.Duration {
	rng := rand.New(rand.NewPCG(seed, 1))
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Duration(math.Exp(rng.Float64()*22 + 2)) // 7 ns to 26 s
	}
	return list
}

func TestQuantilesAreWithinATenthOfAPercent(t *testing.T) {
	for seed := range uint64(20) {
		list := samples(seed, 1+int(seed)*997)
		l := LatencyOf(list...)
		slices.Sort(list)
		for _, q := range []float64{0, 0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			rank := max(1, int(math.Ceil(q*float64(len(list)))))
			want, got := list[rank-1], l.Quantile(q)
			if off := math.Abs(float64(got-want)) / float64(want); off > 0.001 {
				t.Errorf("seed %d: quantile %v is %s, want %s (%.3f %% off)", seed, q, got, want, 100*off)
			}
		}
		var sum, squares float64
		for _, d := range list {
			sum += float64(d)
		}
		mean := sum / float64(len(list))
		for _, d := range list {
			squares += (float64(d) - mean) * (float64(d) - mean)
		}
		deviation := math.Sqrt(squares / float64(len(list)))
		if l.Count() != uint64(len(list)) || l.Min() != list[0] || l.Max() != list[len(list)-1] || math.Abs(float64(l.Mean())-mean) > 1 {
			t.Errorf("seed %d: %s, min %s", seed, l, l.Min())
		}
		if math.Abs(float64(l.StdDev())-deviation) > 0.002*(deviation+mean) {
			t.Errorf("seed %d: standard deviation %s, want %s", seed, l.StdDev(), time.Duration(deviation))
		}
	}
}

func TestMergeEqualsRecordingAllInOne(t *testing.T) {
	for seed := range uint64(20) {
		a, b := samples(seed, 1000), samples(seed+100, int(seed)*50)
		merged, all := LatencyOf(a...).Merge(LatencyOf(b...)), LatencyOf(append(slices.Clone(a), b...)...)
		if merged.Count() != all.Count() || merged.Min() != all.Min() || merged.Max() != all.Max() || merged.Mean() != all.Mean() || merged.StdDev() != all.StdDev() {
			t.Errorf("seed %d: merged %s, all in one %s", seed, merged, all)
		}
		if !slices.Equal(merged.Buckets(), all.Buckets()) {
			t.Errorf("seed %d: the buckets differ", seed)
		}
	}
	l := LatencyOf(time.Second)
	if m := l.Merge(Latency{}); m.Count() != 1 || l.Merge(l).Count() != 2 || l.Count() != 1 {
		t.Errorf("merging changed its parts or lost something: %s, %s", l, m)
	}
}

func TestBucketsHoldEverything(t *testing.T) {
	list := samples(3, 5000)
	buckets := LatencyOf(list...).Buckets()
	var n uint64
	last := time.Duration(-1)
	for _, b := range buckets {
		var within uint64
		for _, d := range list {
			if d > b.From && d <= b.To {
				within++
			}
		}
		if b.From < last || b.To <= b.From || within != b.Count {
			t.Fatalf("bucket %+v holds %d times and begins after %s", b, within, last)
		}
		n, last = n+b.Count, b.To
	}
	if n != 5000 {
		t.Errorf("%d of 5000 times are in the buckets", n)
	}
}

func TestLatencyAtItsLimits(t *testing.T) {
	var zero Latency
	if zero.Count() != 0 || zero.Quantile(0.5) != 0 || zero.Mean() != 0 || zero.StdDev() != 0 || zero.Max() != 0 || zero.Buckets() != nil {
		t.Error("the zero value is not an empty distribution")
	}
	l := LatencyOf(-5, 0, 3*time.Hour)
	if l.Min() != 0 || l.Max() != 3*time.Hour || l.Count() != 3 || l.Mean() != time.Hour || l.Quantile(1) != 3*time.Hour || l.Quantile(-1) != 0 {
		t.Errorf("got %s", l)
	}
	if l := LatencyOf(math.MaxInt64); l.Quantile(0.5) != math.MaxInt64 {
		t.Errorf("got %s", l)
	}
}

// TestBucketsAreHDRBuckets holds our histogram against the reference library.
func TestBucketsAreHDRBuckets(t *testing.T) {
	reference := hdrhistogram.New(1, int64(time.Hour), 3)
	list := samples(5, 20_000)
	for _, d := range list {
		if err := reference.RecordValue(int64(d)); err != nil {
			t.Fatal(err)
		}
		from, to := bucketRange(bucketOf(int64(d)))
		if int64(d) < from || int64(d) > to {
			t.Fatalf("%d is in the bucket from %d to %d", d, from, to)
		}
	}
	var want []Bucket
	for _, bar := range reference.Distribution() {
		if bar.Count > 0 {
			want = append(want, Bucket{From: time.Duration(max(0, bar.From-1)), To: time.Duration(bar.To), Count: uint64(bar.Count)})
		}
	}
	l := LatencyOf(list...)
	if !slices.Equal(l.Buckets(), want) {
		t.Error("the buckets differ from the library's")
	}
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		if got, want := l.Quantile(q), reference.ValueAtPercentile(100*q); int64(got) != want {
			t.Errorf("quantile %v is %d, the library says %d", q, got, want)
		}
	}
}

// TestResetLeavesNothing: a histogram that is used again is as good as new.
func TestResetLeavesNothing(t *testing.T) {
	var h histogram
	for _, d := range samples(1, 1000) {
		h.record(int64(d))
	}
	h.reset()
	for _, d := range samples(2, 50) {
		h.record(int64(d))
	}
	if got, want := (Latency{h}), LatencyOf(samples(2, 50)...); !slices.Equal(got.Buckets(), want.Buckets()) || got.Min() != want.Min() || got.Mean() != want.Mean() {
		t.Errorf("got %s, want %s", got, want)
	}
}
