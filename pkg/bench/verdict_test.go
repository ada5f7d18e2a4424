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
		{"all failed", Facts{Result: ran(0, 0, func(r *Result) {
			r.Failed = 2000
			r.Errors = []ErrorCount{{Class: "timeout", Count: 2000, First: "no answer"}}
		})}, VerdictFailed, "none of 2,000 requests succeeded\n2,000 × timeout: no answer"},
		{"the client is late", Facts{Result: ran(100, 5*msec, open(1000, 30*msec, 10))}, VerdictClientBound, "late"},
		{"the client is a little late", Facts{Result: ran(1000, 5*msec, open(100, msec/10, 10)), Server: &ServerFacts{ComputeInfer: 4 * msec}}, VerdictHealthy, "--rate"},
		{"the server does not keep up", Facts{Result: ran(100, 50*msec, open(1000, 300*msec, 64))}, VerdictQueueBound, "offer less"},
		{"some were never sent", Facts{Result: ran(100, 50*msec, func(r *Result) { open(1000, 0, 64)(r); r.Unsent = 7 })}, VerdictQueueBound, "7 requests were due"},
		{"at the ceiling", Facts{Result: ran(30_000, 4*msec, nil), Tunnel: &TunnelFacts{RoundTrip: msec, CeilingPerSecond: 3500}, Server: &ServerFacts{ComputeInfer: 3 * msec}}, VerdictTunnelBound, "3,500"},
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
		{"the client waits longer than a request takes", Facts{Result: ran(1000, msec, func(r *Result) { r.CPU = &ClientCPU{Waited: 2 * time.Second, DelayMean: 1410 * time.Microsecond} }), Server: &ServerFacts{ComputeInfer: msec / 2}}, VerdictClientBound, "about 1.41 ms per request, than the 1.00 ms that one took"},
		{"the client reads a little late", Facts{Result: ran(1000, 10*msec, func(r *Result) {
			r.Load.Concurrency = 1
			r.CPU = &ClientCPU{Waited: time.Second, DelayMean: msec}
		}), Server: &ServerFacts{ComputeInfer: 9 * msec}}, VerdictHealthy, "--concurrency"},
		{"counters lost", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Partial: true, ComputeInfer: 20 * msec, GPUUtilization: busy(0.9)}}, VerdictComputeBound, "by the counters that were not lost"},
		{"numbers below one", Facts{Result: ran(1000, 2*msec, nil), Server: &ServerFacts{Queue: 1500 * time.Microsecond, ComputeInfer: 239 * time.Microsecond}}, VerdictQueueBound, "compute 0.239 ms"},
		{"compute behind a queue", Facts{Result: ran(1000, 100*msec, nil), Server: &ServerFacts{Queue: 38 * msec, ComputeInfer: 60 * msec}}, VerdictComputeBound, "takes 60.0 ms per request, after 38.0 ms in its queue"},
		{"queue, more offered than answered", Facts{Result: ran(1000, 100*msec, func(r *Result) {
			open(200, 0, 64)(r)
			r.Issued, r.Offered, r.Stability = 2000, 10*time.Second, answering(52)
		}), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, MaxBatchSize: 8, BatchSize: 1, AverageBatch: 1}}, VerdictQueueBound, "did not keep up with 200 req/s: it answered 52.0"},
		{"queue, all answered", Facts{Result: ran(1000, 100*msec, func(r *Result) {
			open(200, 0, 64)(r)
			r.Issued, r.Offered, r.Stability = 2000, 10*time.Second, answering(195)
		}), Server: &ServerFacts{Queue: 70 * msec, ComputeInfer: 28 * msec, MaxBatchSize: 8, BatchSize: 1, AverageBatch: 1}}, VerdictQueueBound, "requests wait 70.0 ms"},
		{"healthy and not steady", Facts{Result: ran(1000, 10*msec, func(r *Result) {
			r.Load.Concurrency, r.Stability = 1, &Stability{}
		}), Server: &ServerFacts{ComputeInfer: 9 * msec}}, VerdictHealthy, "did not hold still\n"},
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

// answering is a steady rate.
func answering(perSecond float64) *Stability {
	return &Stability{Windows: []Window{{RatePerSecond: perSecond}, {RatePerSecond: perSecond}, {RatePerSecond: perSecond}}, Compared: 3, RateLimit: stabilityLimit, Steady: true}
}

// TestNumbers: the verdict's numbers look like those of the report below it.
func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{number(0), "0"},
		{number(0.23851), "0.239"},
		{number(0.0655), "0.0655"},
		{number(9.996), "10.0"},
		{number(99.96), "100"},
		{number(3994), "3,990"},
		{number(8109.7), "8,110"},
		{number(1234567), "1,230,000"},
		{percent(0), "0 %"},
		{percent(0.00004), "<0.01 %"},
		{percent(0.0007), "0.0700 %"},
		{percent(0.9997), "99.97 %"},
		{percent(1), "100 %"},
		{count(1024), "1,024"},
		{count(119774), "119,774"},
		{count(999), "999"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
