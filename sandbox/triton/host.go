package triton

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

// hostMonitor reads the GPUs and the CPU once per interval; scrapes between
// see the same values, as with Triton.
type hostMonitor struct {
	telemetry *gpu.Telemetry // nil without GPUs
	visible   map[string]bool

	mu     sync.Mutex
	last   hostReading
	energy map[string]float64 // of each GPU when the server started
	busy   float64
	total  float64
}

type hostReading struct {
	gpus             []gpuReading
	cpuBusy          float64 // 0–1
	memoryTotalBytes float64
	memoryUsedBytes  float64
}

type gpuReading struct {
	uuid                              string
	busy                              float64 // 0–1
	memoryTotalBytes, memoryUsedBytes float64
	powerW, powerLimitW               float64
	energyJ                           float64
}

func newHostMonitor(telemetry *gpu.Telemetry, uuids []string) *hostMonitor {
	h := &hostMonitor{telemetry: telemetry, visible: map[string]bool{}, energy: map[string]float64{}}
	for _, uuid := range uuids {
		h.visible[uuid] = true
	}
	return h
}

func (h *hostMonitor) read() hostReading {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *hostMonitor) poll(now time.Time) error {
	var reading hostReading
	if h.telemetry != nil {
		samples, err := h.telemetry.Sample(now)
		if err != nil {
			return err
		}
		for _, s := range samples {
			if !h.visible[s.Device.UUID] {
				continue
			}
			if _, known := h.energy[s.Device.UUID]; !known {
				h.energy[s.Device.UUID] = s.EnergyJ
			}
			reading.gpus = append(reading.gpus, gpuReading{
				uuid: s.Device.UUID, busy: s.Utilization,
				memoryTotalBytes: float64(s.Device.MemoryTotalBytes), memoryUsedBytes: float64(s.MemoryUsedBytes),
				powerW: s.PowerW, powerLimitW: s.Device.LimitPowerW, energyJ: s.EnergyJ - h.energy[s.Device.UUID],
			})
		}
	}
	h.readCPU(&reading)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = reading
	return nil
}

// readCPU leaves zeroes where /proc isn't there to be read.
func (h *hostMonitor) readCPU(reading *hostReading) {
	if stat, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := bytes.Cut(stat, []byte("\n"))
		var total, idle float64
		for i, field := range strings.Fields(string(line)) {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil || i > 8 { // guest time is part of user time
				continue
			}
			total += v
			if i == 4 || i == 5 { // idle, iowait
				idle += v
			}
		}
		if busy := total - idle; total > h.total && h.total > 0 {
			reading.cpuBusy = (busy - h.busy) / (total - h.total)
		}
		h.busy, h.total = total-idle, total
	}
	if meminfo, err := os.ReadFile("/proc/meminfo"); err == nil {
		kib := map[string]float64{}
		for line := range strings.Lines(string(meminfo)) {
			name, rest, _ := strings.Cut(line, ":")
			if fields := strings.Fields(rest); len(fields) > 0 {
				kib[name], _ = strconv.ParseFloat(fields[0], 64)
			}
		}
		reading.memoryTotalBytes = kib["MemTotal"] * 1024
		reading.memoryUsedBytes = (kib["MemTotal"] - kib["MemAvailable"]) * 1024
	}
}

// run polls until stop is closed.
func (h *hostMonitor) run(interval time.Duration, stop <-chan struct{}, report func(error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := h.poll(time.Now()); err != nil {
			report(err)
		}
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
	}
}
