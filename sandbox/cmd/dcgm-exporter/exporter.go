package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
)

// firstPeriod is the shortest period over which NVML averages utilisation.
const firstPeriod = time.Second / 6

// exporter refreshes the values once per collect interval and serves the
// latest ones.
type exporter struct {
	cfg       config
	counters  []field
	telemetry *gpu.Telemetry
	published io.Writer // one JSON line per refresh
	log       *slog.Logger

	latest atomic.Pointer[[]reading]
}

// publication is the line that tells what is served from ts on.
type publication struct {
	Time time.Time      `json:"ts"`
	GPUs []publishedGPU `json:"gpus"`
}

// publishedGPU holds the published values in base units.
type publishedGPU struct {
	UUID            string  `json:"uuid"`
	Index           int     `json:"index"`
	Utilization     float64 `json:"utilization"` // 0–1
	MemoryUsedBytes uint64  `json:"memory_used_bytes"`
	MemoryFreeBytes uint64  `json:"memory_free_bytes"`
	PowerW          float64 `json:"power_w"`
	TemperatureC    float64 `json:"temperature_c"`
	EnergyJ         float64 `json:"energy_j"`
	SMClockMHz      float64 `json:"sm_clock_mhz"`
}

func (e *exporter) collect(ctx context.Context) error {
	ticker := time.NewTicker(e.cfg.collectInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := e.refresh(now); err != nil {
				return err
			}
		}
	}
}

func (e *exporter) refresh(now time.Time) error {
	samples, err := e.telemetry.Sample(now)
	if err != nil {
		return fmt.Errorf("refresh the values: %w", err)
	}
	readings := make([]reading, len(samples))
	line := publication{Time: now.UTC(), GPUs: make([]publishedGPU, len(samples))}
	for i, s := range samples {
		r := read(s, e.cfg.generation)
		readings[i] = r
		line.GPUs[i] = publishedGPU{
			UUID: r.Device.UUID, Index: r.Device.Index,
			Utilization: r.Utilization, MemoryUsedBytes: r.MemoryUsedBytes, MemoryFreeBytes: uint64(r.memoryFreeBytes()),
			PowerW: r.PowerW, TemperatureC: r.TemperatureC, EnergyJ: r.EnergyJ, SMClockMHz: r.SMClockMHz,
		}
	}
	e.latest.Store(&readings)
	if err := json.NewEncoder(e.published).Encode(line); err != nil {
		return fmt.Errorf("print the published values: %w", err)
	}
	return nil
}

func (e *exporter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		e.write(w, []byte("<html><head><title>GPU Exporter</title></head><body><h1>GPU Exporter</h1>"+
			"<p><a href=\"./metrics\">Metrics</a></p><p><a href=\"./health\">Health</a></p></body></html>\n"))
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Registry-Available", "true")
		e.write(w, []byte("OK"))
	})
	mux.HandleFunc("/metrics", e.serveMetrics)
	return mux
}

func (e *exporter) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	holders, err := e.holders()
	if err != nil {
		e.log.Error("Failed to map GPUs to pods", "error", err)
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	}
	var buf bytes.Buffer
	render(&buf, e.cfg, e.counters, *e.latest.Load(), holders)
	e.write(w, buf.Bytes())
}

func (e *exporter) write(w http.ResponseWriter, body []byte) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := w.Write(body); err != nil {
		e.log.Error("Failed to write response.", "error", err)
	}
}

func (e *exporter) holders() (map[string]holder, error) {
	if !e.cfg.kubernetes {
		return nil, nil
	}
	return readHolders(e.cfg.podResourcesFile)
}
