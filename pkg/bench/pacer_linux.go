package bench

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Waits longer than longWaitNS begin on the runtime's timers, which hold no
	// thread and heed an interrupt at once, and end sleepTailNS before the due
	// time, more than those timers are ever late on a healthy machine.
	longWaitNS  = int64(20 * time.Millisecond)
	sleepTailNS = int64(5 * time.Millisecond)
)

// sleepPacer sleeps in the kernel until an absolute time of CLOCK_MONOTONIC,
// the clock behind Go's monotonic readings: clock_nanosleep(2).
type sleepPacer struct {
	long *timerPacer
	// offset is CLOCK_MONOTONIC − clock.now(), a constant.
	offset int64
}

func newPacer(c clock) pacer {
	long := newTimerPacer(c)
	offset, ok := monotonicOffset(c)
	if !ok {
		return long
	}
	return &sleepPacer{long: long, offset: offset}
}

// monotonicOffset reads both clocks several times and keeps the closest pair.
func monotonicOffset(c clock) (offset int64, ok bool) {
	best := int64(1 << 62)
	for range 16 {
		var ts unix.Timespec
		before := c.now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			return 0, false
		}
		after := c.now()
		if after-before < best {
			best = after - before
			offset = unix.TimespecToNsec(ts) - before - (after-before)/2
		}
	}
	return offset, true
}

func (p *sleepPacer) wait(due int64, stop <-chan struct{}) {
	d := due - p.long.clock.now()
	if d <= 0 {
		return
	}
	if d > longWaitNS {
		p.long.wait(due-sleepTailNS, stop)
		select {
		case <-stop:
			return
		default:
		}
	}
	// A thread's default timer slack makes it 50 µs late. The goroutine may be
	// on another thread each time, so it is lowered each time; it costs less
	// than binding a thread does.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	ts := unix.NsecToTimespec(due + p.offset)
	for p.long.clock.now() < due {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			p.long.wait(due, stop)
			return
		}
	}
}

func (p *sleepPacer) close() error { return p.long.close() }
