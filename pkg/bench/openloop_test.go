package bench

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// countingPacer counts how many wait at once.
type countingPacer struct {
	pacer
	count *waits
}

type waits struct {
	mu        sync.Mutex
	now, most int
}

func (p *countingPacer) wait(due int64, stop <-chan struct{}) {
	p.count.mu.Lock()
	p.count.now++
	p.count.most = max(p.count.most, p.count.now)
	p.count.mu.Unlock()
	p.pacer.wait(due, stop)
	p.count.mu.Lock()
	p.count.now--
	p.count.mu.Unlock()
}

// TestAsManyWaitAsThePacingSays, every request starts when it is due all the same,
// and no more workers are made than are busy or wait.
func TestAsManyWaitAsThePacingSays(t *testing.T) {
	for _, tc := range []struct {
		pacing  Pacing
		answer  time.Duration
		most    int
		workers int
	}{
		{Precise, 3 * time.Millisecond, 2, 2},
		{Coalesced, 3 * time.Millisecond, 1, 2},
		{Spin, 3 * time.Millisecond, 1, 2},
		// Three are in flight at a time, just before the next is due.
		{Precise, 29 * time.Millisecond, 2, 5},
		{Coalesced, 29 * time.Millisecond, 1, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			var count waits
			var mu sync.Mutex
			made := 0
			r := newVirtual(func(int) (Requester, error) {
				mu.Lock()
				defer mu.Unlock()
				made++
				return requester(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, tc.answer) }), nil
			})
			r.pacer = func(_ Pacing, c clock) pacer { return &countingPacer{newTimerPacer(c), &count} }
			defer r.Close()
			res, err := r.Run(t.Context(), Load{RatePerSecond: 100, Pacing: tc.pacing, Duration: 2 * time.Second, Timeout: time.Minute}, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCounts(t, res)
			if count.most != tc.most || made > tc.workers || res.Completed != 200 || res.SendLag.Max() != 0 {
				t.Errorf("%s, answers after %s: %d waited, %d workers, lag %s, %d completed", tc.pacing, tc.answer, count.most, made, res.SendLag, res.Completed)
			}
		})
	}
}

// TestAnEndWhileWorkersWait: due times that were taken and lie after the end are
// not unsent, those before are; the next run's numbers are new ones.
func TestAnEndWhileWorkersWait(t *testing.T) {
	for _, tc := range []struct {
		name    string
		late    time.Duration // each wake-up
		issued  uint64
		unsent  uint64
		offered time.Duration
	}{
		// Due at 0, 2, 4 s; interrupted at 5 s.
		{"in time", 0, 3, 0, 5 * time.Second},
		// The one that was due at 4 s would start at 5.5.
		{"too late", 1500 * time.Millisecond, 2, 1, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[uint64]bool{}
			r := newVirtual(always(func(ctx context.Context, seq uint64) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				if seen[seq] {
					t.Errorf("%s: number %d twice", tc.name, seq)
				}
				seen[seq] = true
				return 1, nil
			}))
			r.pacer = func(_ Pacing, c clock) pacer { return &starvedPacer{newTimerPacer(c), tc.late} }
			defer r.Close()
			load := Load{RatePerSecond: 0.5, Pacing: Precise, Duration: time.Hour}
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				res, err := r.Run(ctx, load, nil)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				checkCounts(t, res)
				if res.Issued != tc.issued || res.Unsent != tc.unsent || res.Offered != tc.offered || !res.Interrupted {
					t.Errorf("%s: %d issued, %d unsent, offered for %s", tc.name, res.Issued, res.Unsent, res.Offered)
				}
			}
		})
	}
}
