package bench

import (
	"testing"
	"time"
)

func TestSeriesIsBounded(t *testing.T) {
	for _, n := range []int{1, 3599, 3600, 3601, 7200, 50_000} {
		var s series
		for i := range n {
			s.add(Second{
				Start: time.Duration(i) * time.Second, Width: time.Second,
				Completed: uint64(i), Failed: 1, Inferences: 2 * uint64(i),
				P50: time.Duration(i), P99: time.Duration(n - i), Max: time.Duration(i % 10),
			})
		}
		list := s.all()
		if len(list) > maxSeconds || n >= maxSeconds && len(list) < maxSeconds/2 {
			t.Errorf("%d seconds became %d intervals", n, len(list))
		}
		var next time.Duration
		var sum Second
		for _, i := range list {
			if i.Start != next {
				t.Fatalf("%d seconds: an interval starts at %s, want %s", n, i.Start, next)
			}
			next += i.Width
			sum = join(sum, i)
		}
		want := uint64(n) * uint64(n-1) / 2
		if next != time.Duration(n)*time.Second || sum.Completed != want || sum.Failed != uint64(n) || sum.Inferences != 2*want || sum.P99 != time.Duration(n) {
			t.Errorf("%d seconds sum up to %+v", n, sum)
		}
	}
}
