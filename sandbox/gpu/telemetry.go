package gpu

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Sample is what the driver says about one device.
type Sample struct {
	Time   time.Time
	Device Device

	// Utilization is the share of time, 0–1, in which at least one kernel was
	// running, over the period since the same Telemetry's previous sample.
	Utilization float64
	// BusySeconds counts that time since the first inventory.
	BusySeconds     float64
	MemoryUsedBytes uint64
	// PowerW is the average over the same period.
	PowerW       float64
	TemperatureC float64
	// EnergyJ counts since the first inventory and never decreases.
	EnergyJ float64

	SMClockMHz         float64
	MemoryClockMHz     float64
	MemoryTemperatureC float64
}

// Telemetry reads the devices of one node.
type Telemetry struct {
	mu      sync.Mutex
	readers []*reader
}

// reader follows one device from sample to sample.
type reader struct {
	device  Device
	mapping *mapping

	at           uint64 // ticks of the last sample
	busy         uint64 // busy ticks until then
	last         Sample
	temperatureC float64
	energyJ      float64
}

// NewTelemetry starts reading the devices of the inventory in dir. The first
// period begins now.
func NewTelemetry(dir string) (*Telemetry, error) {
	devices, err := ReadInventory(dir)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{readers: make([]*reader, 0, len(devices))}
	for _, device := range devices {
		m, err := openMapping(dir, device.UUID)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		r := &reader{device: device, mapping: m, at: m.now(), temperatureC: restingTemperatureC(device)}
		r.busy, _ = m.busyTicks(r.at)
		r.last = Sample{PowerW: device.IdlePowerW}
		t.readers = append(t.readers, r)
	}
	return t, nil
}

// Sample reads every device as of now, in the inventory's order.
func (t *Telemetry) Sample(now time.Time) ([]Sample, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readers == nil {
		return nil, errors.New("the GPU telemetry is closed")
	}
	samples := make([]Sample, 0, len(t.readers))
	for _, r := range t.readers {
		sample, err := r.sample(now)
		if err != nil {
			return nil, fmt.Errorf("sample GPU %s: %w", r.device.UUID, err)
		}
		samples = append(samples, sample)
	}
	return samples, nil
}

// Close stops reading. It is safe to call it twice.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, r := range t.readers {
		errs = append(errs, r.mapping.close())
	}
	t.readers = nil
	return errors.Join(errs...)
}

func (r *reader) sample(now time.Time) (Sample, error) {
	memory, err := r.mapping.survey()
	if err != nil {
		return Sample{}, err
	}
	at := r.mapping.ticksAt(now)
	s := r.last
	s.Time, s.Device = now, r.device
	s.MemoryUsedBytes = min(memory, r.device.MemoryTotalBytes)
	// Two samples of the same moment are one sample: nothing happened between.
	if at > r.at {
		busy, _ := r.mapping.busyTicks(at)
		busy = max(busy, r.busy)
		s.Utilization = min(1, float64(busy-r.busy)/float64(at-r.at))
		s.PowerW = powerW(r.device, s.Utilization)
		r.temperatureC = warm(r.device, r.temperatureC, s.PowerW, ticksDuration(at-r.at))
		r.at, r.busy = at, busy
	}
	r.energyJ = max(r.energyJ, energyJ(r.device, ticksDuration(sub(r.at, epochTicks)), ticksDuration(r.busy)))
	s.BusySeconds = ticksDuration(r.busy).Seconds()
	s.EnergyJ = r.energyJ
	s.TemperatureC = r.temperatureC
	s.MemoryTemperatureC = memoryTemperatureC(r.temperatureC)
	s.SMClockMHz, s.MemoryClockMHz = clocksMHz(r.device, memory > 0 || s.Utilization > 0)
	r.last = s
	return s, nil
}

const epochTicks = uint64(time.Second / tick)

func ticksDuration(ticks uint64) time.Duration { return time.Duration(ticks) * tick }
