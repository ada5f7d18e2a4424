package core

import (
	"slices"
	"sync/atomic"
	"time"
)

type failureReason int

// The reasons of nv_inference_request_failure.
const (
	reasonRejected failureReason = iota
	reasonCanceled
	reasonBackend
	reasonOther
)

// FailureReasons are their names in the order of Reporter's Failures.
func FailureReasons() [4]string { return [...]string{"REJECTED", "CANCELED", "BACKEND", "OTHER"} }

// MetricsOptions are those of --metrics-config that change what is counted.
type MetricsOptions struct {
	Counters  bool // counter_latencies
	Summaries bool // summary_latencies
	Histogram bool // histogram_latencies
}

// FirstResponseBuckets are the upper bounds of the first-response histogram in ms.
func FirstResponseBuckets() [4]float64 { return [...]float64{100, 500, 2000, 5000} }

// Failures counts by FailureReasons.
type Failures [4]atomic.Uint64

// Reporter counts for the metrics of one model version: one counts what the
// instances of a GPU do, with the device's UUID, and one, without, the rest.
// Durations are cut to whole microseconds per request, as Triton's are.
type Reporter struct {
	GPU     string // UUID, or empty
	options MetricsOptions

	Requests, Inferences, Executions       uint64
	RequestMicros, QueueMicros             uint64
	InputMicros, InferMicros, OutputMicros uint64
	InputBytes                             uint64
	CacheHits, CacheHitMicros              uint64
	CacheMisses, CacheMissMicros           uint64

	// failures outlive the model, unlike everything else: they are kept when it
	// is unloaded and go on when it is loaded again.
	failures *Failures

	FirstResponse                                                        Histogram
	RequestSum, QueueSum, InputSum, InferSum, OutputSum, HitSum, MissSum Summary
}

// Histogram counts values in ms.
type Histogram struct {
	Buckets [5]uint64 // not cumulative; the last is above every bound
	Count   uint64
	SumMs   uint64
}

// Summary keeps what its sliding quantiles need.
type Summary struct {
	Count uint64
	Sum   uint64
	// window holds the last values; older than a minute they don't count.
	window []observation
	next   int
}

type observation struct {
	at     time.Time
	micros uint64
}

const (
	summaryWindow = time.Minute
	summaryValues = 4096
)

func (s *Summary) observe(micros uint64) {
	s.Count++
	s.Sum += micros
	o := observation{at: time.Now(), micros: micros}
	if len(s.window) < summaryValues {
		s.window = append(s.window, o)
		return
	}
	s.window[s.next] = o
	s.next = (s.next + 1) % summaryValues
}

// Quantiles returns the values of the last minute at the given ranks; ok is
// false if there were none.
func (s *Summary) Quantiles(ranks []float64) (values []uint64, ok bool) {
	oldest := time.Now().Add(-summaryWindow)
	var recent []uint64
	for _, o := range s.window {
		if o.at.After(oldest) {
			recent = append(recent, o.micros)
		}
	}
	if len(recent) == 0 {
		return nil, false
	}
	slices.Sort(recent)
	for _, q := range ranks {
		values = append(values, recent[min(len(recent)-1, int(q*float64(len(recent))))])
	}
	return values, true
}

func micros(d time.Duration) uint64 { return uint64(max(0, d) / time.Microsecond) }

func (p *Reporter) exec() {
	if p.options.Counters {
		p.Executions++
	}
}

func (p *Reporter) received(r *Request) {
	for i := range r.Inputs {
		p.InputBytes += uint64(len(r.Inputs[i].Data))
	}
}

func (p *Reporter) success(r *Request, total time.Duration) {
	t := &r.Timing
	if p.options.Counters {
		p.Requests++
		p.Inferences += uint64(r.BatchSize)
		p.RequestMicros += micros(total)
		p.QueueMicros += micros(t.Queue)
		p.InputMicros += micros(t.ComputeInput)
		p.InferMicros += micros(t.ComputeInfer)
		p.OutputMicros += micros(t.ComputeOutput)
	}
	if p.options.Summaries {
		p.RequestSum.observe(micros(total))
		p.QueueSum.observe(micros(t.Queue))
		p.InputSum.observe(micros(t.ComputeInput))
		p.InferSum.observe(micros(t.ComputeInfer))
		p.OutputSum.observe(micros(t.ComputeOutput))
	}
}

func (p *Reporter) firstResponse(total time.Duration) {
	if !p.options.Histogram {
		return
	}
	ms := uint64(total / time.Millisecond)
	bounds := FirstResponseBuckets()
	i, found := slices.BinarySearch(bounds[:], float64(ms))
	if found {
		i = min(i, len(bounds))
	}
	p.FirstResponse.Buckets[i]++
	p.FirstResponse.Count++
	p.FirstResponse.SumMs += ms
}

func (p *Reporter) failure(why failureReason) {
	if p.options.Counters {
		p.failures[why].Add(1)
	}
}

func (p *Reporter) cacheHit(r *Request, total, lookup time.Duration) {
	if p.options.Counters {
		p.Requests++
		p.RequestMicros += micros(total)
		p.QueueMicros += micros(r.Timing.Queue)
		p.CacheHits++
		p.CacheHitMicros += micros(lookup)
	}
	if p.options.Summaries {
		p.QueueSum.observe(micros(r.Timing.Queue))
		p.HitSum.observe(micros(lookup))
	}
}

func (p *Reporter) cacheMiss(spent time.Duration) {
	if p.options.Counters {
		p.CacheMisses++
		p.CacheMissMicros += micros(spent)
	}
	if p.options.Summaries {
		p.MissSum.observe(micros(spent))
	}
}

func (p *Reporter) clone() Reporter {
	c := *p
	for _, s := range []*Summary{&c.RequestSum, &c.QueueSum, &c.InputSum, &c.InferSum, &c.OutputSum, &c.HitSum, &c.MissSum} {
		s.window = slices.Clone(s.window)
	}
	return c
}
