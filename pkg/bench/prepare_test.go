package bench

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// preparing takes long to prepare and no time to answer.
type preparing struct {
	cost     time.Duration
	prepared uint64
	has      bool
	matched  *atomic.Uint64
}

func (p *preparing) Prepare(seq uint64) {
	time.Sleep(p.cost)
	p.prepared, p.has = seq, true
}

func (p *preparing) Do(_ context.Context, seq uint64) (int, error) {
	if p.has && p.prepared == seq {
		p.matched.Add(1)
	}
	return 1, nil
}

func (p *preparing) Close() error { return nil }

// TestPreparingIsNotMeasured: what a request's data costs to make is in neither
// loop's service time, and each request is the one that was prepared.
func TestPreparingIsNotMeasured(t *testing.T) {
	const cost = 20 * time.Millisecond
	for _, load := range []Load{{Concurrency: 2}, {RatePerSecond: 20, MaxInFlight: 4}} {
		synctest.Test(t, func(t *testing.T) {
			load.Requests = 20
			var matched, made atomic.Uint64
			r := newVirtual(func(int) (Requester, error) {
				made.Add(1)
				return &preparing{cost: cost, matched: &matched}, nil
			})
			defer r.Close()
			result, err := r.Run(t.Context(), load, nil)
			if err != nil {
				t.Fatal(err)
			}
			// Each worker's first request goes unprepared.
			if result.Completed != 20 || matched.Load() != 20-made.Load() {
				t.Errorf("%+v: %d completed, %d as prepared, %d requesters", load, result.Completed, matched.Load(), made.Load())
			}
			if longest := result.Service.Max(); longest != 0 {
				t.Errorf("%+v: a service time is %s although only preparing takes time", load, longest)
			}
		})
	}
}
