package bench

import "time"

// pacer waits for due times of a clock. It is used by one goroutine at a time,
// but by different ones one after the other.
type pacer interface {
	// wait returns when the clock has reached due, or earlier when stop is
	// closed.
	wait(due int64, stop <-chan struct{})
	close() error
}

// timerPacer waits on the runtime's timers. They pass through a poller, which
// makes them up to a millisecond late.
type timerPacer struct {
	clock clock
	timer *time.Timer
}

func newTimerPacer(c clock) *timerPacer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &timerPacer{clock: c, timer: t}
}

func (p *timerPacer) wait(due int64, stop <-chan struct{}) {
	for {
		d := due - p.clock.now()
		if d <= 0 {
			return
		}
		p.timer.Reset(time.Duration(d))
		select {
		case <-p.timer.C:
		case <-stop:
			p.timer.Stop()
			return
		}
	}
}

func (p *timerPacer) close() error {
	p.timer.Stop()
	return nil
}
