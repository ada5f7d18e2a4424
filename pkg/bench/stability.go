package bench

import (
	"math"
	"time"
)

const (
	// stabilityWindows is how many windows a run is divided into, none shorter
	// than a second.
	stabilityWindows = 10
	// comparedWindows at the end of a run have to agree, as perf_analyzer asks.
	comparedWindows = 3
	// stabilityLimit is how far a window may be from their mean.
	stabilityLimit = 0.1
)

// Stability tells whether the rate of completed requests and their mean response
// time held still. It qualifies a Result and never replaces it.
type Stability struct {
	// Windows of the offered time, equally wide but for whole seconds.
	Windows []Window
	// Compared is how many of them, at the end, were compared.
	Compared int
	// RateSpread and ResponseSpread are the largest distance of a compared window
	// from the mean of all compared, as a ratio of that mean.
	RateSpread, ResponseSpread float64
	// Steady: both spreads are within Limit, a ratio.
	Steady bool
	Limit  float64
	// SteadyFrom is the time from the start after which every window was within
	// the limit of the compared ones' mean; 0 if all were.
	SteadyFrom time.Duration
}

// Window is a part of a run.
type Window struct {
	Start, Width  time.Duration
	RatePerSecond float64       // of completed requests
	Response      time.Duration // mean
}

// stabilityOf is nil for a series too short to be compared.
func stabilityOf(series []Second, offered time.Duration) *Stability {
	windows := windowsOf(series, offered)
	if len(windows) < comparedWindows {
		return nil
	}
	s := &Stability{Windows: windows, Compared: comparedWindows, Limit: stabilityLimit}
	last := windows[len(windows)-comparedWindows:]
	rate, response := meansOf(last)
	for _, w := range last {
		s.RateSpread = max(s.RateSpread, distance(w.RatePerSecond, rate))
		s.ResponseSpread = max(s.ResponseSpread, distance(float64(w.Response), response))
	}
	s.Steady = s.RateSpread <= stabilityLimit && s.ResponseSpread <= stabilityLimit
	first := len(windows)
	for first > 0 && distance(windows[first-1].RatePerSecond, rate) <= stabilityLimit && distance(float64(windows[first-1].Response), response) <= stabilityLimit {
		first--
	}
	if s.Steady && first < len(windows) {
		s.SteadyFrom = windows[first].Start
	}
	return s
}

// windowsOf joins the intervals that lie within the offered time: what follows is
// the tail that drains.
func windowsOf(series []Second, offered time.Duration) []Window {
	// A boundary is cut a little after its second.
	const late = 250 * time.Millisecond
	n := 0
	for n < len(series) && series[n].Width >= time.Second-late && series[n].Start+series[n].Width <= offered+late {
		n++
	}
	per := max(1, (n+stabilityWindows-1)/stabilityWindows)
	var windows []Window
	// What doesn't fill a window is left out at the start, where it matters least.
	for i := n % per; i+per <= n; i += per {
		joined := series[i]
		for _, s := range series[i+1 : i+per] {
			joined = join(joined, s)
		}
		windows = append(windows, Window{Start: joined.Start, Width: joined.Width, RatePerSecond: perSecond(joined.Completed, joined.Width), Response: joined.Mean})
	}
	return windows
}

func meansOf(windows []Window) (rate, response float64) {
	for _, w := range windows {
		rate += w.RatePerSecond / float64(len(windows))
		response += float64(w.Response) / float64(len(windows))
	}
	return rate, response
}

// distance of v from mean as a ratio of mean; 0 of 0 is none.
func distance(v, mean float64) float64 {
	if v == mean {
		return 0
	}
	return math.Abs(v-mean) / mean
}
