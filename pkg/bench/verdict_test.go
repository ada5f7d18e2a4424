package bench

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// ran is a run of n requests of the given service time in 10 s, with 16 in flight.
func ran(n uint64, service time.Duration, change func(*Result)) *Result {
	times := slices.Repeat([]time.Duration{service}, int(n))
	r := &Result{
		Load: Load{Concurrency: 16}, Elapsed: 10 * time.Second,
		Issued: n, Completed: n, Inferences: n, MaxInFlightReached: 16,
		Response: LatencyOf(times...), Service: LatencyOf(times...),
	}
	if change != nil {
		change(r)
	}
	return r
}

func open(rate float64, lag time.Duration, inFlight uint64) func(*Result) {
	return func(r *Result) {
		r.Load = Load{RatePerSecond: rate, MaxInFlight: 64}
		r.SendLag = LatencyOf(slices.Repeat([]time.Duration{lag}, 100)...)
		r.MaxInFlightReached = inFlight
	}
}

func busy(ratio float64) *float64 { return &ratio }

func TestJudge(t *testing.T) {
	const msec = time.Millisecond
	for _, c := range []struct {
		name string
		f    Facts
		kind VerdictKind
		says string // in the summary, the evidence or the next step
	}{
		{"nothing finished", Facts{Result: ran(0, 0, nil)}, VerdictFailed, "no request"},
		{"most failed", Facts{Result: ran(10, msec, func(r *Result) {
			r.Failed = 90
			r.Errors = []ErrorCount{{Class: "http 503", Count: 90, First: "queue full"}}
		})}, VerdictFailed, "90 × http 503: queue full"},
		{"the client is late", Facts{Result: ran(100, 5*msec, open(1000, 30*msec, 10))}, VerdictClientBound, "late"},
		{"the client is a little late", Facts{Result: ran(1000, 5*msec, open(100, msec/10, 10)), Server: &ServerFacts{ComputeInfer: 4 * msec}}, VerdictHealthy, "--rate"},
		{"the server does not keep up", Facts{Result: ran(100, 50*msec, open(1000, 300*msec, 64))}, VerdictQueueBound, "offer less"},
		{"some were never sent", Facts{Result: ran(100, 50*msec, func(r *Result) { open(1000, 0, 64)(r); r.Unsent = 7 })}, VerdictQueueBound, "7 requests were due"},
		{"at the ceiling", Facts{Result: ran(30_000, 4*msec, nil), Tunnel: &TunnelFacts{RoundTrip: msec, CeilingPerSecond: 3500}, Server: &ServerFacts{ComputeInfer: 3 * msec}}, VerdictTunnelBound, "3500"},
		{"no server", Facts{Result: ran(1000, 4*msec, nil)}, VerdictUnknown, "missing"},
		{"queue, GPU full", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, GPUUtilization: busy(0.99)}}, VerdictQueueBound, "the GPU is full"},
		{"queue, no batching", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, MaxBatchSize: 8, BatchSize: 1, AverageBatch: 1}}, VerdictQueueBound, "turn on dynamic_batching"},
		{"queue, batches not full", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, MaxBatchSize: 8, BatchSize: 1, AverageBatch: 2, DynamicBatching: true}}, VerdictQueueBound, "batches are not full"},
		{"queue, batches full", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, MaxBatchSize: 8, BatchSize: 1, AverageBatch: 8, DynamicBatching: true}}, VerdictQueueBound, "add instances"},
		{"compute, GPU full", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 5 * msec, ComputeInfer: 93 * msec, GPUUtilization: busy(0.95)}}, VerdictComputeBound, "faster model"},
		{"the path, small requests", Facts{Result: ran(1000, 100*msec, nil), RequestBytes: 16, Server: &ServerFacts{ComputeInfer: 20 * msec}}, VerdictTunnelBound, "--batch-size"},
		{"the path, large requests", Facts{Result: ran(1000, 100*msec, nil), RequestBytes: 1 << 20, Server: &ServerFacts{ComputeInfer: 20 * msec}}, VerdictTunnelBound, "100 MiB/s"},
		{"the path, without a tunnel", Facts{Result: ran(1000, 100*msec, nil), Direct: true, Server: &ServerFacts{ComputeInfer: 20 * msec}}, VerdictNetworkBound, "on the way"},
		{"the client reads late", Facts{Result: ran(1000, 10*msec, func(r *Result) { r.CPU = &ClientCPU{Waited: 4 * time.Second, DelayMean: 4 * msec} }), Server: &ServerFacts{ComputeInfer: 5 * msec}}, VerdictClientBound, "about 4.00 ms of the 10.0 ms"},
		{"the client reads a little late", Facts{Result: ran(1000, 10*msec, func(r *Result) {
			r.Load.Concurrency = 1
			r.CPU = &ClientCPU{Waited: time.Second, DelayMean: msec}
		}), Server: &ServerFacts{ComputeInfer: 9 * msec}}, VerdictHealthy, "--concurrency"},
		{"counters lost", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Partial: true, ComputeInfer: 20 * msec, GPUUtilization: busy(0.9)}}, VerdictComputeBound, "by the counters that were not lost"},
		{"one at a time", Facts{Result: ran(1000, 10*msec, func(r *Result) { r.Load.Concurrency = 1 }), Server: &ServerFacts{ComputeInfer: 9 * msec}}, VerdictHealthy, "--concurrency"},
		{"compute with an idle GPU", Facts{Result: ran(1000, 10*msec, nil), Server: &ServerFacts{ComputeInfer: 9 * msec, GPUUtilization: busy(0.1)}}, VerdictHealthy, "--concurrency"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Judge(c.f)
			all := v.Summary + "\n" + strings.Join(v.Evidence, "\n") + "\n" + v.Next
			if v.Kind != c.kind || !strings.Contains(all, c.says) || v.Summary == "" || v.Next == "" {
				t.Errorf("the verdict is %s (want %s, %q):\n%s", v.Kind, c.kind, c.says, all)
			}
		})
	}
}
