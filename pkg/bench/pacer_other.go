//go:build !linux

package bench

// newPacer returns the best pacer of the platform: the runtime's timers.
func newPacer(c clock) pacer { return newTimerPacer(c) }
