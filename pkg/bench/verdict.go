package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// VerdictKind is the judgement of a run in one word.
type VerdictKind string

const (
	// VerdictHealthy: nothing in the path is near its limit.
	VerdictHealthy VerdictKind = "healthy"
	// VerdictQueueBound: most of the time is spent waiting for a model instance.
	VerdictQueueBound VerdictKind = "queue-bound"
	// VerdictComputeBound: the model's own execution limits latency and throughput.
	VerdictComputeBound VerdictKind = "compute-bound"
	// VerdictClientBound: the client could not keep the schedule.
	VerdictClientBound VerdictKind = "client-bound"
	// VerdictTunnelBound: the path to the server limits the result.
	VerdictTunnelBound VerdictKind = "tunnel-bound"
	// VerdictNetworkBound is the same where no tunnel is part of the path.
	VerdictNetworkBound VerdictKind = "network-bound"
	// VerdictFailed: too few requests succeeded to judge anything else.
	VerdictFailed VerdictKind = "failed"
	// VerdictUnknown: the evidence for a judgement is missing.
	VerdictUnknown VerdictKind = "undecided"
)

// Verdict is the judgement of a run, what it rests on, and what to try next.
type Verdict struct {
	Kind     VerdictKind
	Summary  string
	Evidence []string
	Next     string
}

// TunnelFacts is the path's own cost, measured before the load.
type TunnelFacts struct {
	RoundTrip        time.Duration
	CeilingPerSecond float64
}

// ServerFacts is the server's own account of the run: mean times per request
// and how it batched. GPUUtilization is an average ratio 0–1, nil when unknown.
type ServerFacts struct {
	Queue, ComputeInput, ComputeInfer, ComputeOutput time.Duration
	AverageBatch                                     float64
	MaxBatchSize                                     int
	BatchSize                                        int
	DynamicBatching                                  bool
	GPUUtilization                                   *float64
	// Partial says that some pods' counters were lost: the means are those of
	// the others.
	Partial bool
}

// Facts is what Judge looks at; a nil pointer means not known.
type Facts struct {
	Result *Result
	// RequestBytes is the size of one request.
	RequestBytes int
	// Direct says that the path is the network alone; Tunnel is nil then.
	Direct bool
	Tunnel *TunnelFacts
	Server *ServerFacts
}

// The thresholds of the judgement, in one place so that they can be argued about.
const (
	// A run with fewer successes than this share is judged by its failures.
	minSuccessRatio = 0.5
	// A start later than this share of the median response, and than
	// minSendLag, is the client's fault.
	maxSendLagRatio = 0.1
	minSendLag      = 2 * time.Millisecond
	// A client whose threads wait for a processor adds to each service time; more
	// than this share of it is too much.
	maxWaitRatio = 0.2
	// A rate above this share of the tunnel's own ceiling is at the ceiling.
	ceilingRatio = 0.7
	// The share of the service time at which one part dominates.
	queueShare   = 0.4
	computeShare = 0.5
	outsideShare = 0.5
	// Less than this share is little of a queue.
	littleQueue = 0.1
	// A path that carries this much is busy copying rather than answering.
	muchBytesPerSecond = 20 << 20
	// A GPU busier than this has nothing left to give.
	busyGPU = 0.85
)

// Judge says what limited a run, in the order in which one limit hides
// another: failures, then the client, then the path, then the server.
func Judge(f Facts) Verdict {
	r := f.Result
	if v, ok := judgeFailures(r); ok {
		return v
	}
	if v, ok := judgeClient(r); ok {
		return v
	}
	if v, ok := judgeStarved(r); ok {
		return v
	}
	if v, ok := judgeCeiling(f); ok {
		return v
	}
	if f.Server == nil {
		return Verdict{
			Kind:     VerdictUnknown,
			Summary:  "the server's own times are missing, so the client's latency can't be divided",
			Evidence: []string{fmt.Sprintf("mean service time %s", ms(r.Service.Mean()))},
			Next:     "see what is missing below; Triton's statistics endpoint is what decides",
		}
	}
	return judgeServer(f)
}

func judgeFailures(r *Result) (Verdict, bool) {
	finished := r.Completed + r.Failed
	if finished == 0 {
		return Verdict{Kind: VerdictFailed, Summary: "no request was finished", Next: "give the test more time, or look at the errors"}, true
	}
	if float64(r.Completed) >= minSuccessRatio*float64(finished) {
		return Verdict{}, false
	}
	v := Verdict{
		Kind:    VerdictFailed,
		Summary: fmt.Sprintf("%s of %s requests failed; the latencies are those of the few that did not", percent(float64(r.Failed)/float64(finished)), count(finished)),
		Next:    "mend the errors first; the server's log has its side of them",
	}
	if r.Completed == 0 {
		v.Summary = fmt.Sprintf("none of %s requests succeeded", count(finished))
	}
	for _, e := range r.Errors {
		v.Evidence = append(v.Evidence, fmt.Sprintf("%s × %s: %s", count(e.Count), e.Class, e.First))
	}
	return v, true
}

func judgeClient(r *Result) (Verdict, bool) {
	if r.Load.RatePerSecond <= 0 {
		return Verdict{}, false
	}
	lag := r.SendLag.Quantile(0.99)
	limit := max(minSendLag, time.Duration(maxSendLagRatio*float64(r.Response.Quantile(0.5))))
	if lag <= limit && r.Unsent == 0 {
		return Verdict{}, false
	}
	atLimit := r.MaxInFlightReached >= uint64(r.Load.MaxInFlight)
	evidence := []string{fmt.Sprintf("starts were late by p50 %s, p99 %s", ms(r.SendLag.Quantile(0.5)), ms(lag))}
	if r.Unsent > 0 {
		evidence = append(evidence, fmt.Sprintf("%s requests were due and never sent", count(r.Unsent)))
	}
	if atLimit {
		return Verdict{
			Kind:     VerdictQueueBound,
			Summary:  fmt.Sprintf("the server did not keep up with %s req/s: all %s requests in flight were taken", number(r.Load.RatePerSecond), count(uint64(r.Load.MaxInFlight))),
			Evidence: append(evidence, fmt.Sprintf("%s req/s were answered", number(r.RequestRate()))),
			Next:     "offer less (--rate) to find the rate it sustains, or add instances or replicas",
		}, true
	}
	return Verdict{
		Kind:     VerdictClientBound,
		Summary:  "this client did not keep the schedule, so the response times say more about it than about the server",
		Evidence: append(evidence, fmt.Sprintf("%s of at most %s requests were in flight", count(r.MaxInFlightReached), count(uint64(r.Load.MaxInFlight)))),
		Next:     "lower --rate, or run the client on a machine with more idle cores",
	}, true
}

// judgeStarved looks for a client that was in time by its clock and still read
// late, as it had no processor to read with.
func judgeStarved(r *Result) (Verdict, bool) {
	c, service := r.CPU, r.Service.Mean()
	if c == nil || float64(c.DelayMean) < maxWaitRatio*float64(service) || c.DelayMean == 0 {
		return Verdict{}, false
	}
	summary := fmt.Sprintf("this client had to wait for a processor, about %s of the %s that a request took: the times say as much about it as about the server",
		ms(c.DelayMean), ms(service))
	if c.DelayMean >= service { // threads wait side by side
		summary = fmt.Sprintf("this client waited longer for a processor, about %s per request, than the %s that one took: the times say more about it than about the server",
			ms(c.DelayMean), ms(service))
	}
	return Verdict{
		Kind:     VerdictClientBound,
		Summary:  summary,
		Evidence: []string{fmt.Sprintf("its threads waited %s and ran %s in %s", ms(c.Waited), ms(c.Used), ms(r.Elapsed))},
		Next:     "run the client on a machine with more idle cores, or lower the load",
	}, true
}

func judgeCeiling(f Facts) (Verdict, bool) {
	if f.Tunnel == nil || f.Tunnel.CeilingPerSecond <= 0 {
		return Verdict{}, false
	}
	rate := f.Result.RequestRate()
	if rate < ceilingRatio*f.Tunnel.CeilingPerSecond {
		return Verdict{}, false
	}
	return Verdict{
		Kind:    VerdictTunnelBound,
		Summary: fmt.Sprintf("%s req/s is %s of what this path carries at all: the result is the path's, not Triton's", number(rate), percent(rate/f.Tunnel.CeilingPerSecond)),
		Evidence: []string{fmt.Sprintf("the same path carried %s empty requests per second before the load, round trip %s",
			number(f.Tunnel.CeilingPerSecond), ms(f.Tunnel.RoundTrip))},
		Next: "raise --batch-size so that each request does more, or run the client nearer to Triton",
	}, true
}

func judgeServer(f Facts) Verdict {
	s, service := f.Server, f.Result.Service.Mean()
	compute := s.ComputeInput + s.ComputeInfer + s.ComputeOutput
	outside := max(0, service-s.Queue-compute)
	share := func(d time.Duration) float64 { return float64(d) / float64(max(1, service)) }
	evidence := []string{fmt.Sprintf("of %s mean service time: queue %s, compute %s, outside %s",
		ms(service), percent(share(s.Queue)), percent(share(compute)), percent(share(outside)))}
	if s.Partial {
		outside = 0 // unknown, and no reason for a judgement
		evidence[0] = fmt.Sprintf("of %s mean service time: queue %s, compute %s by the counters that were not lost",
			ms(service), ms(s.Queue), ms(compute))
	}
	if s.AverageBatch > 0 && s.MaxBatchSize > 1 {
		evidence = append(evidence, fmt.Sprintf("average batch %s of at most %d", number(s.AverageBatch), s.MaxBatchSize))
	}
	gpuBusy, gpuIdle := false, false
	if u := s.GPUUtilization; u != nil {
		evidence = append(evidence, fmt.Sprintf("GPU utilisation %s on average", percent(*u)))
		gpuBusy, gpuIdle = *u >= busyGPU, *u < busyGPU/2
	}
	one := f.Result.Load.Concurrency == 1
	bytesPerSecond := float64(f.RequestBytes) * f.Result.RequestRate()
	next := "raise --batch-size so that each request does more, or run the client nearer to Triton"
	if bytesPerSecond >= muchBytesPerSecond {
		next = "the inputs are large for this path: run the client nearer to Triton, or send smaller ones"
	}
	switch {
	case share(s.Queue) >= queueShare:
		if answered, ok := fallsBehind(f.Result); ok {
			return Verdict{
				Kind:     VerdictQueueBound,
				Summary:  fmt.Sprintf("the server did not keep up with %s req/s: it answered %s, and the rest waits longer and longer", number(f.Result.Load.RatePerSecond), number(answered)),
				Evidence: evidence,
				Next:     "offer less (--rate) to find the rate it sustains; to raise that, " + unqueue(s, gpuBusy),
			}
		}
		return Verdict{
			Kind:     VerdictQueueBound,
			Summary:  fmt.Sprintf("requests wait %s for a model instance and compute %s", ms(s.Queue), ms(compute)),
			Evidence: evidence,
			Next:     unqueue(s, gpuBusy),
		}
	case share(outside) >= outsideShare && share(outside) > share(compute):
		kind := VerdictTunnelBound
		if f.Direct {
			kind = VerdictNetworkBound
		}
		return Verdict{
			Kind:     kind,
			Summary:  fmt.Sprintf("%s of the service time is spent outside the model, on the way and in the server's front end", ms(outside)),
			Evidence: append(evidence, fmt.Sprintf("%s MiB/s of requests went through the path", number(bytesPerSecond/(1<<20)))),
			Next:     next,
		}
	case gpuBusy, share(compute) >= computeShare && !one && !gpuIdle && f.Result.Load.RatePerSecond == 0:
		summary := fmt.Sprintf("the model itself takes %s per request and little waits before it", ms(compute))
		if share(s.Queue) >= littleQueue {
			summary = fmt.Sprintf("the model itself takes %s per request, after %s in its queue", ms(compute), ms(s.Queue))
		}
		return Verdict{
			Kind:     VerdictComputeBound,
			Summary:  summary,
			Evidence: evidence,
			Next:     "a faster model (precision, TensorRT, smaller inputs) or more GPUs will show; more client load will only queue",
		}
	}
	next = "raise --concurrency to find where it stops scaling"
	if f.Result.Load.RatePerSecond > 0 {
		next = "raise --rate to find where latency starts to climb"
	}
	summary := "nothing in the path is near its limit at this load"
	if st := f.Result.Stability; st != nil && !st.Steady {
		summary += ", but the figures did not hold still"
		next = "run longer (--duration) or warm up longer until they do; then " + next
	}
	return Verdict{Kind: VerdictHealthy, Summary: summary, Evidence: evidence, Next: next}
}

// fallsBehind tells whether fewer requests were answered at the end of an open
// loop than came by more than chance explains, and at which rate.
func fallsBehind(r *Result) (answeredPerSecond float64, ok bool) {
	st := r.Stability
	if r.Load.RatePerSecond <= 0 || st == nil {
		return 0, false
	}
	answeredPerSecond, _ = meansOf(st.Windows[len(st.Windows)-st.Compared:])
	return answeredPerSecond, answeredPerSecond < (1-st.RateLimit)*r.OfferedRate()
}

func unqueue(s *ServerFacts, gpuBusy bool) string {
	switch {
	case gpuBusy:
		return "the GPU is full: add replicas or GPUs, or make the model cheaper"
	case !s.DynamicBatching && s.MaxBatchSize > s.BatchSize:
		return fmt.Sprintf("turn on dynamic_batching: the model takes batches of %d and gets %d", s.MaxBatchSize, s.BatchSize)
	case s.DynamicBatching && s.MaxBatchSize > 0 && s.AverageBatch < 0.6*float64(s.MaxBatchSize):
		return "batches are not full: allow max_queue_delay_microseconds or more requests in flight, then add instances (instance_group count)"
	default:
		return "add instances (instance_group count) or replicas, or offer less load"
	}
}

func ms(d time.Duration) string {
	if d < 100*time.Microsecond {
		return number(float64(d)/1e3) + " µs"
	}
	if d < time.Second {
		return number(float64(d)/1e6) + " ms"
	}
	return number(d.Seconds()) + " s"
}

// percent is rounded as the report's shares are: never to 0 % or 100 % what is
// neither.
func percent(ratio float64) string {
	switch p := ratio * 100; {
	case p > 0 && p < 0.01:
		return "<0.01 %"
	case p >= 99.95 && p < 100:
		return strconv.FormatFloat(math.Floor(p*100)/100, 'f', 2, 64) + " %"
	default:
		return number(p) + " %"
	}
}

// number prints three significant digits without an exponent.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	rounded := strconv.FormatFloat(v, 'e', 2, 64)
	_, exponent, _ := strings.Cut(rounded, "e")
	e, _ := strconv.Atoi(exponent)
	v, _ = strconv.ParseFloat(rounded, 64)
	return group(strconv.FormatFloat(v, 'f', max(0, 2-e), 64))
}

func count(n uint64) string { return group(strconv.FormatUint(n, 10)) }

// group separates the thousands of a number that is not negative.
func group(text string) string {
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}
