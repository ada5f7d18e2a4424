package metrics

import "time"

// track is what is kept of one figure's samples, whatever their number. Two
// tracks that follow each other in time merge into one without loss, so that
// averages, peaks and counter differences of a window stay exact.
type track struct {
	n, changes, resets, outOfRange int
	sum, max                       float64
	firstAt, lastAt                int64 // ns since 1970
	first, last                    float64
	increase                       float64 // sum of the counter's rises, resets bridged
	integral                       float64 // trapezoids, in the figure's unit times seconds
}

func sampleTrack(at int64, v float64, ok bool) track {
	t := track{n: 1, sum: v, max: v, firstAt: at, lastAt: at, first: v, last: v}
	if !ok {
		t.outOfRange = 1
	}
	return t
}

// then merges a with b, which must not begin before a ends.
func (a track) then(b track) track {
	if a.n == 0 {
		return b
	}
	if b.n == 0 {
		return a
	}
	rise := b.first - a.last
	if rise < 0 { // a counter that restarted at zero has counted b.first since
		rise = b.first
		a.resets++
	}
	if a.last != b.first {
		a.changes++
	}
	a.integral += b.integral + (a.last+b.first)/2*time.Duration(b.firstAt-a.lastAt).Seconds()
	a.increase += b.increase + rise
	a.n += b.n
	a.changes += b.changes
	a.resets += b.resets
	a.outOfRange += b.outOfRange
	a.sum += b.sum
	a.max = max(a.max, b.max)
	a.last, a.lastAt = b.last, b.lastAt
	return a
}

func (a track) span() time.Duration { return time.Duration(a.lastAt - a.firstAt) }

// tracks are the tracks of one GPU by meaning.
type tracks [meaningCount]track

func (a *tracks) then(b *tracks) {
	for m := range a {
		a[m] = a[m].then(b[m])
	}
}

// bounds is the time from the first to the last sample of any figure, and the
// largest sample count.
func (a *tracks) bounds() (first, last int64, n int) {
	for m := range a {
		t := &a[m]
		if t.n == 0 {
			continue
		}
		if n == 0 || t.firstAt < first {
			first = t.firstAt
		}
		if n == 0 || t.lastAt > last {
			last = t.lastAt
		}
		n = max(n, t.n)
	}
	return first, last, n
}
