package precise

import (
	"testing"
	"time"
)

func TestSleepNeverEndsEarly(t *testing.T) {
	timer, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = timer.Close() }()
	for _, want := range []time.Duration{0, time.Microsecond, 300 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		if err := timer.Sleep(want); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got < want {
			t.Errorf("Sleep(%v) ended after %v", want, got)
		}
	}
}

func TestCloseWakesAWaiter(t *testing.T) {
	timer, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 1)
	go func() { woken <- timer.Wait() }()
	if err := timer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err == nil {
		t.Error("Wait on a closed timer returned no error")
	}
}

func TestSetReplacesAnEarlierSet(t *testing.T) {
	timer, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = timer.Close() }()
	if err := timer.Set(time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := timer.Set(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := timer.Wait(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSleep1ms(b *testing.B) {
	timer, err := NewTimer()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = timer.Close() }()
	var late time.Duration
	for b.Loop() {
		start := time.Now()
		if err := timer.Sleep(time.Millisecond); err != nil {
			b.Fatal(err)
		}
		late += time.Since(start) - time.Millisecond
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "µs-late/op")
}
