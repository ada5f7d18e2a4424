package bench

import "time"

// Pacing is how the due times of an open loop are waited for: accuracy costs
// CPU time.
type Pacing string

const (
	// Precise sleeps in the kernel until each due time: late by about 0.1 ms.
	Precise Pacing = "precise"
	// Coalesced waits on the runtime's timers, which are up to a millisecond
	// late, so that what is due meanwhile is sent together: the cheapest.
	Coalesced Pacing = "coalesced"
	// Spin sleeps until shortly before each due time and then watches the
	// clock: late by microseconds, at the price of up to a whole core.
	Spin Pacing = "spin"
)

func (p Pacing) pacer(c clock) pacer {
	switch p {
	case Coalesced:
		return newTimerPacer(c)
	case Spin:
		return &spinPacer{pacer: newPacer(c), clock: c}
	default:
		return newPacer(c)
	}
}

// waiters is how many workers wait for due times at once. It spares wake-ups, at
// the price of a thread each, and for Spin of a core.
func (p Pacing) waiters() int {
	if p == Precise {
		return 2
	}
	return 1
}

// spinTime is longer than a sleeping thread needs to be woken.
const spinTime = int64(250 * time.Microsecond)

// spinPacer leaves the last part of each wait to the clock.
type spinPacer struct {
	pacer
	clock clock
}

func (p *spinPacer) wait(due int64, stop <-chan struct{}) {
	p.pacer.wait(due-spinTime, stop)
	select {
	case <-stop:
		return
	default:
	}
	for p.clock.now() < due {
	}
}
