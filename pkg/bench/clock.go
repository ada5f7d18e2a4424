package bench

import "time"

// clock gives monotonic nanoseconds since an origin of its own. The wall clock
// is read once per run, so that a step of it changes no measured time.
type clock interface {
	now() int64
	// at is the moment now() returned ns, with a monotonic reading.
	at(ns int64) time.Time
	wall() time.Time
}

type systemClock struct{ origin time.Time }

func newSystemClock() systemClock { return systemClock{origin: time.Now()} }

func (c systemClock) now() int64            { return int64(time.Since(c.origin)) }
func (c systemClock) at(ns int64) time.Time { return c.origin.Add(time.Duration(ns)) }
func (c systemClock) wall() time.Time       { return time.Now() }
