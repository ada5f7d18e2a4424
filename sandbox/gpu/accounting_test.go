package gpu

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func attach(t *testing.T, dir, uuid string) *Accounting {
	t.Helper()
	a, err := OpenAccounting(dir, uuid, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func watch(t *testing.T, dir string) *Telemetry {
	t.Helper()
	tel, err := NewTelemetry(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Close(); err != nil {
			t.Error(err)
		}
	})
	return tel
}

func sampleAt(t *testing.T, tel *Telemetry, at time.Time) Sample {
	t.Helper()
	samples, err := tel.Sample(at)
	if err != nil {
		t.Fatal(err)
	}
	return samples[0]
}

func sampleNow(t *testing.T, tel *Telemetry) Sample {
	t.Helper()
	return sampleAt(t, tel, time.Now())
}

func testMapping(t *testing.T) *mapping {
	t.Helper()
	m, err := openMapping(testNode(t), testUUID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// The busy time is the length of the union of the intervals that any slots
// had open, whatever their overlap.
func TestBusyTimeIsTheUnion(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		m := testMapping(t)
		at, busy, open := epochTicks, uint64(0), map[int]bool{}
		for range 200 {
			step := random.Uint64N(1000)
			at += step
			if len(open) > 0 {
				busy += step
			}
			slot := random.IntN(maxProcesses)
			if open[slot] {
				m.shut(slot, at)
				delete(open, slot)
			} else {
				m.open(slot, at)
				open[slot] = true
			}
			got, inKernel := m.busyTicks(at)
			if got != busy || inKernel != (len(open) > 0) {
				t.Fatalf("round %d: %d busy ticks, in a kernel %v; want %d, %v", round, got, inKernel, busy, len(open) > 0)
			}
		}
	}
}

func TestShutOfASlotNotInAKernelChangesNothing(t *testing.T) {
	m := testMapping(t)
	m.open(1, epochTicks)
	before := m.state.clock.Load()
	m.shut(2, epochTicks+50)
	if after := m.state.clock.Load(); after != before {
		t.Errorf("clock word %x became %x", before, after)
	}
}

func TestKernelsOfOneProcessOverlap(t *testing.T) {
	a := attach(t, testNode(t), testUUID)
	a.Begin()
	a.Begin()
	a.End()
	if !a.mapping.inKernel(a.slot) {
		t.Error("idle while one of two kernels is still open")
	}
	a.End()
	if a.mapping.inKernel(a.slot) {
		t.Error("busy after both kernels ended")
	}
}

func TestEndWithoutBeginPanics(t *testing.T) {
	a := attach(t, testNode(t), testUUID)
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "End without Begin") {
			t.Errorf("recovered %v", r)
		}
	}()
	a.End()
}

func TestAfterCloseNothingHappens(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	a.SetMemoryBytes(10)
	a.Begin()
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	a.End()
	a.Begin()
	a.SetMemoryBytes(10)
	s := sampleNow(t, watch(t, dir))
	if s.MemoryUsedBytes != 0 || s.Utilization != 0 {
		t.Errorf("a closed process still holds the device: %+v", s)
	}
}

func TestOpenAccountingRefuses(t *testing.T) {
	dir := testNode(t)
	if _, err := OpenAccounting(dir, "GPU-other", "triton"); err == nil || !strings.Contains(err.Error(), "no such device") || !strings.Contains(err.Error(), testUUID) {
		t.Errorf("unknown device: %v", err)
	}
	for range maxProcesses {
		attach(t, dir, testUUID)
	}
	if _, err := OpenAccounting(dir, testUUID, "triton"); err == nil || !strings.Contains(err.Error(), "16 handles") {
		t.Errorf("one handle too many: %v", err)
	}
}

func TestReusedPIDIsADeadProcess(t *testing.T) {
	me, err := ownIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if living, err := alive(me); err != nil || !living {
		t.Errorf("this process: alive %v, %v", living, err)
	}
	if living, err := alive(me ^ 1); err != nil || living {
		t.Errorf("this pid with another start time: alive %v, %v", living, err)
	}

	dir := testNode(t)
	m, err := openMapping(dir, testUUID)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	m.state.slots[3].owner.Store(me ^ 1)
	m.state.slots[3].memoryBytes.Store(1 << 30)
	m.open(3, m.now())
	if s := sampleNow(t, watch(t, dir)); s.MemoryUsedBytes != 0 {
		t.Errorf("a dead process's memory is still held: %+v", s)
	}
	if m.inKernel(3) || m.state.slots[3].owner.Load() != 0 {
		t.Error("the dead process's slot is still taken")
	}
}

// The last kernel of a dead process ends when it was last seen in it, not when
// somebody notices.
func TestDeadProcessIsBusyUntilLastSeen(t *testing.T) {
	m := testMapping(t)
	now := m.now()
	m.state.slots[0].owner.Store(1<<63 | 1)
	m.open(0, now-900)
	m.touch(now - 500)
	if _, err := m.survey(); err != nil {
		t.Fatal(err)
	}
	if busy, inKernel := m.busyTicks(now); busy != 400 || inKernel {
		t.Errorf("%d busy ticks, in a kernel %v; want 400, idle", busy, inKernel)
	}
}

func TestConcurrentUse(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := testNode(t)
	tel, err := NewTelemetry(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		a, err := OpenAccounting(dir, testUUID, fmt.Sprint("process ", i))
		if err != nil {
			t.Fatal(err)
		}
		var kernels sync.WaitGroup
		for range 4 {
			kernels.Go(func() {
				for n := range 500 {
					a.Begin()
					a.SetMemoryBytes(uint64(n))
					a.End()
				}
			})
		}
		wg.Go(func() {
			kernels.Wait()
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last := 0.0; ; {
				samples, err := tel.Sample(time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				if s := samples[0]; s.Utilization < 0 || s.Utilization > 1 || s.EnergyJ < last {
					t.Errorf("energy after %g J: %+v", last, s)
				} else {
					last = s.EnergyJ
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
	close(done)
	readers.Wait()
	samples, err := tel.Sample(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if samples[0].MemoryUsedBytes != 0 {
		t.Errorf("memory held after all processes closed: %+v", samples[0])
	}
	if err := tel.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestParseStat(t *testing.T) {
	rest := " S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 77123 1000"
	for name, tc := range map[string]struct {
		stat  string
		start uint64
		state byte
		fails bool
	}{
		"plain":               {"12 (triton)" + rest, 77123, 'S', false},
		"blank and bracket":   {"12 (a ) b (c) Z 1)" + rest, 77123, 'S', false},
		"zombie":              {"12 (x)" + strings.Replace(rest, "S", "Z", 1), 77123, 'Z', false},
		"no command":          {"12 triton", 0, 0, true},
		"cut short":           {"12 (triton) S 1 2 3", 0, 0, true},
		"start not a number":  {"12 (x)" + strings.Replace(rest, "77123", "-1", 1), 0, 0, true},
		"empty":               {"", 0, 0, true},
		"nothing but command": {"12 (triton)", 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			start, state, err := parseStat(tc.stat)
			if (err != nil) != tc.fails || !tc.fails && (start != tc.start || state != tc.state) {
				t.Errorf("start %d, state %c, %v; want %+v", start, state, err, tc)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (x) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 77123 1000")
	f.Add(")")
	f.Fuzz(func(t *testing.T, stat string) {
		if _, state, err := parseStat(stat); err == nil && state == 0 {
			t.Error("no state and no error")
		}
	})
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}
