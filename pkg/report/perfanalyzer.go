package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// perfAnalyzerColumns are those of perf_analyzer's -f file with --verbose-csv,
// after the first, which names the load.
var perfAnalyzerColumns = [...]string{
	"Inferences/Second", "Client Send", "Network+Server Send/Recv", "Server Queue", "Server Compute Input",
	"Server Compute Infer", "Server Compute Output", "Client Recv",
	"p50 latency", "p90 latency", "p95 latency", "p99 latency", "Avg latency", "request/response", "response wait",
	"Avg GPU Utilization", "Avg GPU Power Usage", "Max GPU Memory Usage", "Total GPU Memory",
}

// PerfAnalyzerCSV writes a result as one line under perf_analyzer's columns:
// times in whole microseconds, per GPU "UUID:value;" (a MIG instance's
// "UUID/INSTANCE:value;") with ratios, W and bytes. A stream's latency is that of
// the first response, as there. Sending and receiving are not told apart from the
// network: Client Send and Client Recv are 0, and request/response and response
// wait are empty, as is whatever is not known.
func PerfAnalyzerCSV(w io.Writer, b *Bench) error {
	load, value := "Concurrency", strconv.Itoa(b.Load.Concurrency)
	if b.Load.Mode == "open" {
		load, value = "Request Rate", compact(b.Load.RequestRatePerSecond)
	}
	latency := b.Client.Response
	if b.Client.Stream != nil {
		latency = b.Client.Stream.FirstResponse
	}
	server := [5]string{}
	if s := b.Server; s != nil && s.Requests > 0 {
		if s.OutsideUS != nil {
			server[0] = wholeMicroseconds(*s.OutsideUS + s.OverheadUS)
		}
		for i, us := range []float64{s.QueueUS, s.ComputeInputUS, s.ComputeInferUS, s.ComputeOutputUS} {
			server[i+1] = wholeMicroseconds(us)
		}
	}
	times := [5]string{}
	if latency != nil {
		for i, us := range []float64{latency.P50US, latency.P90US, latency.P95US, latency.P99US, latency.MeanUS} {
			times[i] = wholeMicroseconds(us)
		}
	}
	row := []string{value, compact(b.Client.InferenceRatePerSecond), "0"}
	row = append(row, server[:]...)
	row = append(row, "0")
	row = append(row, times[:]...)
	row = append(row, "", "")
	for _, figure := range []func(GPUDevice) *float64{
		func(d GPUDevice) *float64 { return d.UtilizationAverage },
		func(d GPUDevice) *float64 { return d.PowerAverageW },
		func(d GPUDevice) *float64 { return d.MemoryUsedBytes },
		func(d GPUDevice) *float64 { return d.MemoryTotalBytes },
	} {
		row = append(row, perGPU(b.GPU, figure))
	}
	out := csv.NewWriter(w)
	_ = out.Write(append([]string{load}, perfAnalyzerColumns[:]...)) // Flush keeps the error
	_ = out.Write(row)
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("could not write the result as CSV: %w", err)
	}
	return nil
}

func perGPU(g *GPU, figure func(GPUDevice) *float64) string {
	if g == nil {
		return ""
	}
	var text strings.Builder
	for _, d := range g.Devices {
		if v := figure(d); v != nil && !d.Insufficient {
			uuid := d.UUID
			if d.MIGInstance != "" {
				uuid += "/" + d.MIGInstance
			}
			fmt.Fprintf(&text, "%s:%s;", uuid, compact(*v))
		}
	}
	return text.String()
}

// compact has six significant digits, and whole numbers all of theirs.
func compact(v float64) string {
	if v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

func wholeMicroseconds(us float64) string {
	return strconv.FormatFloat(max(0, math.Round(us)), 'f', 0, 64)
}
