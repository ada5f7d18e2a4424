package metrics

import (
	"fmt"
	"slices"
	"time"
)

// gap is a span of a window without samples, in ns since 1970.
type gap struct{ from, to int64 }

// gapTolerance is how many intervals may pass between samples unremarked.
const gapTolerance = 2.5

// findGaps finds the spans of [start, end] without any of the times, which
// must be in order.
func findGaps(times []int64, start, end int64, interval time.Duration) []gap {
	if interval <= 0 {
		return nil
	}
	limit := int64(float64(interval) * gapTolerance)
	var gaps []gap
	previous := start
	for _, t := range append(slices.Clone(times), end) {
		if t-previous > limit {
			gaps = append(gaps, gap{previous, t})
		}
		previous = t
	}
	return gaps
}

// clip cuts a gap to the window; false when nothing is left.
func (g gap) clip(start, end int64) (gap, bool) {
	g.from, g.to = max(g.from, start), min(g.to, end)
	return g, g.to > g.from
}

// describe says how long a gap is and where it lies in a window.
func (g gap) describe(start int64) string {
	text := "for " + rounded(time.Duration(g.to-g.from))
	if offset := time.Duration(g.from - start); offset > 0 {
		return text + fmt.Sprintf(", from %s after the start", rounded(offset))
	}
	return text + ", from the start"
}

// medianSpacing is the typical time between ordered samples; 0 for fewer than 3.
func medianSpacing(times []int64) time.Duration {
	if len(times) < 3 {
		return 0
	}
	spacings := make([]int64, 0, len(times)-1)
	for i := 1; i < len(times); i++ {
		spacings = append(spacings, times[i]-times[i-1])
	}
	slices.Sort(spacings)
	return time.Duration(spacings[len(spacings)/2])
}
