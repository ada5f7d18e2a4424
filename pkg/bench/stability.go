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
	// chance is how many standard errors are put down to chance: with few requests
	// in a window they are more than the limit.
	chance = 2
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
	// RateLimit and ResponseLimit are a tenth, or what chance does to as few
	// requests as a window has, if that is more.
	RateLimit, ResponseLimit float64
	// Steady: both spreads are within their limits.
	Steady bool
	// SteadyFrom is the time from the start after which every window was within
	// the limit of the compared ones' mean; 0 if all were.
	SteadyFrom time.Duration
}

// Window is a part of a run.
type Window struct {
	Start, Width  time.Duration
	RatePerSecond float64       // of completed requests
	Response      time.Duration // mean

	deviation time.Duration // of the response times in it
}

// stabilityOf is nil for a series too short to be compared.
func stabilityOf(series []Second, offered time.Duration) *Stability {
	windows := windowsOf(series, offered)
	if len(windows) < comparedWindows {
		return nil
	}
	s := &Stability{Windows: windows, Compared: comparedWindows}
	last := windows[len(windows)-comparedWindows:]
	rate, mean := meansOf(last)
	s.RateLimit, s.ResponseLimit = limitsOf(last, rate, mean)
	for _, w := range last {
		s.RateSpread = max(s.RateSpread, distance(w.RatePerSecond, rate))
		s.ResponseSpread = max(s.ResponseSpread, distance(float64(w.Response), mean))
	}
	s.Steady = s.RateSpread <= s.RateLimit && s.ResponseSpread <= s.ResponseLimit
	first := len(windows)
	for first > 0 && distance(windows[first-1].RatePerSecond, rate) <= s.RateLimit && distance(float64(windows[first-1].Response), mean) <= s.ResponseLimit {
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
		windows = append(windows, Window{Start: joined.Start, Width: joined.Width, RatePerSecond: perSecond(joined.Completed, joined.Width), Response: joined.Mean, deviation: joined.Deviation})
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

// limitsOf allows for chance: a count of n that came by itself has a standard error
// of √n, and a mean of n times that of one of them by √n. The times' deviation is that
// within a window: in the whole run's, a drift would excuse itself.
func limitsOf(windows []Window, rate, mean float64) (rateLimit, responseLimit float64) {
	rateLimit, responseLimit = stabilityLimit, stabilityLimit
	n, variance := 0.0, 0.0 // requests of a window, and their times'
	for _, w := range windows {
		variance += float64(w.deviation) * float64(w.deviation) / float64(len(windows))
		n += w.RatePerSecond * w.Width.Seconds() / float64(len(windows))
	}
	if n > 0 && rate > 0 {
		rateLimit = max(rateLimit, chance/math.Sqrt(n))
	}
	if n > 0 && mean > 0 {
		responseLimit = max(responseLimit, chance*math.Sqrt(variance)/mean/math.Sqrt(n))
	}
	return rateLimit, responseLimit
}

// distance of v from mean as a ratio of mean; 0 of 0 is none.
func distance(v, mean float64) float64 {
	if v == mean {
		return 0
	}
	return math.Abs(v-mean) / mean
}
