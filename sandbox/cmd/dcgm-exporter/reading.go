package main

import (
	"math"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

const (
	// Framebuffer that the driver keeps for itself: about 640 MiB of 40 GiB.
	reservedShare = 1.0 / 64

	// What a busy inference GPU's other engines do, relative to its kernels.
	tensorShare                = 0.55
	memoryShare                = 0.4
	pcieBytesPerSecondWhenBusy = 1.5e9
)

// reading is a sample at the resolution at which it is published, so that what
// is logged is exactly what is served.
type reading struct{ gpu.Sample }

func read(s gpu.Sample, g generation) reading {
	r := reading{s}
	r.PowerW = roundTo(s.PowerW, 1e-6)
	r.TemperatureC = math.Round(s.TemperatureC)
	r.MemoryTemperatureC = math.Round(s.MemoryTemperatureC)
	r.MemoryUsedBytes = min(s.MemoryUsedBytes, s.Device.MemoryTotalBytes-uint64(r.memoryReservedBytes()))
	switch g {
	case names48:
		r.Utilization = roundTo(s.Utilization, 0.01)
		r.EnergyJ = math.Floor(s.EnergyJ*1000) / 1000
		r.MemoryUsedBytes = (r.MemoryUsedBytes + bytesPerMiB/2) / bytesPerMiB * bytesPerMiB
	case names49:
		r.Utilization = roundTo(s.Utilization, 1e-6)
		r.EnergyJ = math.Floor(s.EnergyJ)
	}
	return r
}

func roundTo(v, step float64) float64 { return math.Round(v/step) * step }

func nearest(v float64) int64 { return int64(math.Round(v)) }

func (r reading) memoryTotalBytes() float64 { return float64(r.Device.MemoryTotalBytes) }

func (r reading) memoryUsedBytes() float64 { return float64(r.MemoryUsedBytes) }

func (r reading) memoryReservedBytes() float64 {
	return math.Floor(float64(r.Device.MemoryTotalBytes)*reservedShare/bytesPerMiB) * bytesPerMiB
}

func (r reading) memoryFreeBytes() float64 {
	return max(0, r.memoryTotalBytes()-r.memoryReservedBytes()-r.memoryUsedBytes())
}

func (r reading) engineActive() float64 { return r.Utilization }

func (r reading) tensorActive() float64 { return r.Utilization * tensorShare }

func (r reading) memoryUtilization() float64 { return r.Utilization * memoryShare }

func (r reading) pcieBytesPerSecond() float64 { return r.Utilization * pcieBytesPerSecondWhenBusy }

func (r reading) modelName(replaceBlanks bool) string {
	if !replaceBlanks {
		return r.Device.Name
	}
	return strings.Join(strings.Fields(r.Device.Name), "-")
}
