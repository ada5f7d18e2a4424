package bench

import (
	"context"
	"runtime"
	"testing"
	"time"
)

type noop struct{}

func (noop) Do(context.Context, uint64) (int, error) { return 1, nil }
func (noop) Close() error                            { return nil }

func newNoop(int) (Requester, error) { return noop{}, nil }

// BenchmarkClosedLoop is the engine's own cost of one request.
func BenchmarkClosedLoop(b *testing.B) {
	r := NewRunner(newNoop)
	defer r.Close()
	b.ReportAllocs()
	load := Load{Concurrency: runtime.GOMAXPROCS(0), Requests: uint64(b.N), Timeout: 10 * time.Second}
	b.ResetTimer()
	res, err := r.Run(b.Context(), load, nil)
	if err != nil || res.Completed != uint64(b.N) {
		b.Fatal(res, err)
	}
}

// BenchmarkOpenLoop is the cost of one request on a schedule that is always
// late, so that no waiting is part of it.
func BenchmarkOpenLoop(b *testing.B) {
	r := NewRunner(newNoop)
	defer r.Close()
	b.ReportAllocs()
	load := Load{RatePerSecond: 1e9, Requests: uint64(b.N), Timeout: 10 * time.Second, MaxInFlight: 8}
	b.ResetTimer()
	res, err := r.Run(b.Context(), load, nil)
	if err != nil || res.Completed != uint64(b.N) {
		b.Fatal(res, err)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := newRecorder(true, 0)
	b.ReportAllocs()
	for i := range b.N {
		r.complete(timing{due: 0, sent: 50, end: int64(i)&0xfffff + 100}, 1, nil)
	}
}

// BenchmarkTake is what the supervisor does once per second on each recorder.
func BenchmarkTake(b *testing.B) {
	r, second, total := newRecorder(true, 0), &tally{}, &tally{}
	b.ReportAllocs()
	for range b.N {
		for i := range int64(100) {
			r.complete(timing{due: 0, sent: 60_000, end: 500_000 + i*20_000}, 1, nil)
		}
		r.take(second)
		total.merge(second)
		second.reset()
	}
}
