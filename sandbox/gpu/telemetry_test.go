package gpu

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestIdleDevice(t *testing.T) {
	tel := watch(t, testNode(t))
	s := sampleAt(t, tel, time.Now().Add(time.Minute))
	if s.Utilization != 0 || s.PowerW != 50 || s.MemoryUsedBytes != 0 || s.SMClockMHz != idleSMClockMHz {
		t.Errorf("idle device: %+v", s)
	}
	if resting := restingTemperatureC(testDevice()); math.Abs(s.TemperatureC-resting) > 1e-9 {
		t.Errorf("%g °C after a minute idle, want the resting %g °C", s.TemperatureC, resting)
	}
}

func TestUtilisationIsThatOfThePeriod(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	a.Begin()
	start := time.Now()
	tel, other := watch(t, dir), watch(t, dir)
	busy := sampleAt(t, tel, start.Add(10*time.Second))
	if busy.Utilization != 1 || busy.PowerW != 50+fullLoadShare*350 || busy.SMClockMHz != defaultSMClockMHz {
		t.Errorf("one open kernel: %+v", busy)
	}
	if busy.TemperatureC <= restingTemperatureC(testDevice()) {
		t.Errorf("%g °C under load is no warmer than at rest", busy.TemperatureC)
	}
	a.End()
	idle := sampleAt(t, tel, start.Add(20*time.Second))
	if idle.Utilization != 0 || idle.PowerW != 50 {
		t.Errorf("the period after the kernel: %+v", idle)
	}
	if idle.TemperatureC >= busy.TemperatureC || idle.TemperatureC <= restingTemperatureC(testDevice()) {
		t.Errorf("%g °C ten seconds after %g °C", idle.TemperatureC, busy.TemperatureC)
	}
	// Who samples more often sees other periods, but the same energy in the end.
	s := sampleAt(t, other, start.Add(time.Hour))
	if s.Utilization >= 0.01 {
		t.Errorf("utilisation over the hour %g", s.Utilization)
	}
}

func TestReadersAgreeOnEnergy(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	a.Begin()
	often, once := watch(t, dir), watch(t, dir)
	start := time.Now()
	var s Sample
	var sum float64
	first := sampleAt(t, often, start)
	for second := 1; second <= 30; second++ {
		s = sampleAt(t, often, start.Add(time.Duration(second)*time.Second))
		sum += s.PowerW
	}
	if other := sampleAt(t, once, start.Add(30*time.Second)); math.Abs(other.EnergyJ-s.EnergyJ) > 0.01 {
		t.Errorf("two readers say %g and %g J", s.EnergyJ, other.EnergyJ)
	}
	if used := s.EnergyJ - first.EnergyJ; math.Abs(used-sum) > 0.01 {
		t.Errorf("%g J used, but the power samples sum up to %g J", used, sum)
	}
}

func TestSamplingTheSameMomentTwice(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	a.Begin()
	tel := watch(t, dir)
	at := time.Now().Add(time.Second)
	first, again, before := sampleAt(t, tel, at), sampleAt(t, tel, at), sampleAt(t, tel, at.Add(-time.Second))
	before.Time = first.Time
	if first != again || first != before {
		t.Errorf("%+v, then %+v and %+v", first, again, before)
	}
}

func TestMemoryIsBoundedByTheDevice(t *testing.T) {
	dir := testNode(t)
	attach(t, dir, testUUID).SetMemoryBytes(30 << 30)
	attach(t, dir, testUUID).SetMemoryBytes(30 << 30)
	if s := sampleNow(t, watch(t, dir)); s.MemoryUsedBytes != 40<<30 {
		t.Errorf("%d bytes used", s.MemoryUsedBytes)
	}
}

func TestTemperatureDependsOnTimeNotOnSampling(t *testing.T) {
	d := testDevice()
	once := warm(d, 30, 400, 40*time.Second)
	often := 30.0
	for range 40 {
		often = warm(d, often, 400, time.Second)
	}
	if math.Abs(once-often) > 1e-9 {
		t.Errorf("%g °C in one step, %g °C in forty", once, often)
	}
	if hot := warm(d, 30, 400, time.Hour); math.Abs(hot-75) > 1e-6 {
		t.Errorf("steady state at the power limit %g °C, want 75 °C", hot)
	}
}

func TestClosedTelemetryRefuses(t *testing.T) {
	tel := watch(t, testNode(t))
	for range 2 {
		if err := tel.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tel.Sample(time.Now()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v", err)
	}
}

func TestNodeWithoutGPUs(t *testing.T) {
	dir := t.TempDir()
	if err := WriteInventory(dir, nil); err != nil {
		t.Fatal(err)
	}
	samples, err := watch(t, dir).Sample(time.Now())
	if err != nil || len(samples) != 0 {
		t.Errorf("%v, %v", samples, err)
	}
}
