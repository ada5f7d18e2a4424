package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseSchedstat(t *testing.T) {
	got, ok := parseSchedstat([]byte("104256789 2500000 87\n"))
	if want := (usage{104256789, 2500000, 87}); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, bad := range []string{"", "1 2", "1 2 3 4", "x 2 3", "1 -2 3", "1 99999999999999999999 3"} {
		if got, ok := parseSchedstat([]byte(bad)); ok {
			t.Errorf("%q gave %+v", bad, got)
		}
	}
}

// TestWaitingForAProcessorIsCounted: more spinning threads than processors make
// each other wait, and both their work and their waiting grow in the accounts.
func TestWaitingForAProcessorIsCounted(t *testing.T) {
	before, ok := readUsage()
	if !ok {
		t.Skip("this kernel keeps no accounts of its run queues")
	}
	threads := 4 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads + 1))
	var stop atomic.Bool
	var spinning sync.WaitGroup
	for range threads {
		spinning.Go(func() {
			for !stop.Load() {
			}
		})
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		after, ok := readUsage()
		if ok && after.waited-before.waited > 20*time.Millisecond && after.used-before.used > 20*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("from %+v to %+v", before, after)
			break
		}
		runtime.Gosched()
	}
	stop.Store(true)
	spinning.Wait()
}
