package bench

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var pacers = map[string]func(clock) pacer{
	"precise":   Precise.pacer,
	"coalesced": Coalesced.pacer,
	"spin":      Spin.pacer,
}

func TestPacerIsNeverEarly(t *testing.T) {
	for name, newOne := range pacers {
		c := newSystemClock()
		p := newOne(c)
		due := c.now()
		for i := range int64(300) {
			due += (i % 50) * 37_000
			p.wait(due, nil)
			if now := c.now(); now < due {
				t.Fatalf("%s: returned %d ns early", name, due-now)
			}
		}
		p.wait(c.now()+int64(longEnough), nil)
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}

// longEnough makes every pacer use its way of waiting for long.
const longEnough = 30 * time.Millisecond

func TestPacerHeedsStop(t *testing.T) {
	for name, newOne := range pacers {
		c := newSystemClock()
		p := newOne(c)
		stop := closedSoon(t)
		p.wait(c.now()+int64(time.Hour), stop)
		if c.now() > int64(time.Hour) {
			t.Errorf("%s: it did not stop", name)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}

// closedSoon is a channel that is closed while someone waits.
func closedSoon(t *testing.T) <-chan struct{} {
	stop := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { close(stop) })
	t.Cleanup(func() { <-stop })
	return stop
}

func TestTimerPacerIsExactInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSystemClock()
		p := newTimerPacer(c)
		for _, due := range []time.Duration{0, 1, time.Millisecond, time.Hour, 50 * time.Hour} {
			p.wait(int64(due), nil)
			if now := c.now(); now != int64(due) {
				t.Errorf("waited until %s instead of %s", time.Duration(now), due)
			}
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestEveryPacingSendsTheWholeSchedule(t *testing.T) {
	for _, pacing := range []Pacing{"", Precise, Coalesced, Spin} {
		var early atomic.Int64
		begin := time.Now()
		r := NewRunner(always(func(_ context.Context, seq uint64) (int, error) {
			if time.Since(begin) < time.Duration(seq)*500*time.Microsecond {
				early.Add(1)
			}
			return 1, nil
		}))
		res, err := r.Run(t.Context(), Load{RatePerSecond: 2000, Requests: 200, MaxInFlight: 16, Pacing: pacing}, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkCounts(t, res)
		if res.Completed != 200 || early.Load() != 0 || pacing == "" && res.Load.Pacing != Precise {
			t.Errorf("%q: %d completed, %d before their time, load %+v", pacing, res.Completed, early.Load(), res.Load)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
