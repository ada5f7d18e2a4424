package metrics

import (
	"io"
	"math"
	"strings"
	"time"
)

// TritonReading is what a Triton server's metrics page said at one moment.
type TritonReading struct {
	Models map[ModelKey]ModelCounters
	GPUs   []GPUReading
}

// ModelKey names one version of a model. Namespace is set only if the server
// runs with model namespacing.
type ModelKey struct{ Namespace, Name, Version string }

// ModelCounters are the counters of one model version since it was loaded.
type ModelCounters struct {
	Success    uint64            // requests
	Failure    uint64            // requests, all reasons
	FailureBy  map[string]uint64 // by reason: REJECTED, CANCELED, BACKEND, OTHER
	Inferences uint64            // batch elements, without cache hits
	Executions uint64            // model executions, without cache hits

	// Request and Queue include cache hits; the compute times don't. Each
	// request of a dynamic batch is charged the whole batch's time. Triton
	// floors them to microseconds per request.
	Request, Queue, ComputeInput, ComputeInfer, ComputeOutput time.Duration

	CacheHits, CacheMisses       uint64
	CacheHitTime, CacheMissTime  time.Duration
	Pending                      float64 // gauge: requests waiting for execution
	LoadTime                     time.Duration
	HasLatencies, HasCacheCounts bool // whether the server is configured to count them
}

// ParseTriton reads a Triton server's metrics page.
//
// A model on a GPU has two reporters, one per instance with the label gpu_uuid
// and one of the model without. Each event is counted by one of them, so
// counters and the pending gauge add up; the load time is the larger one.
func ParseTriton(r io.Reader) (TritonReading, error) {
	families, err := parseExposition(r)
	if err != nil {
		return TritonReading{}, err
	}
	reading := TritonReading{Models: map[ModelKey]ModelCounters{}, GPUs: gpusOf(families)}
	for name, family := range families {
		if !strings.HasPrefix(name, "nv_inference_") && !strings.HasPrefix(name, "nv_cache_") && name != "nv_model_load_duration_secs" {
			continue
		}
		for _, m := range family.GetMetric() {
			label := labelsOf(m)
			key := ModelKey{label("namespace"), label("model"), label("version")}
			v, ok := valueOf(m)
			if key.Name == "" || !ok || math.IsNaN(v) || v < 0 || v > math.MaxInt64/1000 {
				continue
			}
			counters := reading.Models[key]
			if counters.add(name, label("reason"), v) {
				reading.Models[key] = counters
			}
		}
	}
	return reading, nil
}

const maxLoadSeconds = 1e9

// add takes one series' value; false if it is none that is kept.
func (c *ModelCounters) add(name, reason string, v float64) bool {
	count := func(to *uint64) { *to += uint64(v) }
	micros := func(to *time.Duration) {
		*to += min(time.Duration(v)*time.Microsecond, math.MaxInt64-*to)
		c.HasLatencies = true
	}
	switch name {
	case "nv_inference_request_success":
		count(&c.Success)
	case "nv_inference_request_failure":
		count(&c.Failure)
		if c.FailureBy == nil {
			c.FailureBy = map[string]uint64{}
		}
		c.FailureBy[reason] += uint64(v)
	case "nv_inference_count":
		count(&c.Inferences)
	case "nv_inference_exec_count":
		count(&c.Executions)
	case "nv_inference_request_duration_us":
		micros(&c.Request)
	case "nv_inference_queue_duration_us":
		micros(&c.Queue)
	case "nv_inference_compute_input_duration_us":
		micros(&c.ComputeInput)
	case "nv_inference_compute_infer_duration_us":
		micros(&c.ComputeInfer)
	case "nv_inference_compute_output_duration_us":
		micros(&c.ComputeOutput)
	case "nv_cache_num_hits_per_model":
		count(&c.CacheHits)
		c.HasCacheCounts = true
	case "nv_cache_num_misses_per_model":
		count(&c.CacheMisses)
		c.HasCacheCounts = true
	case "nv_cache_hit_duration_per_model":
		micros(&c.CacheHitTime)
	case "nv_cache_miss_duration_per_model":
		micros(&c.CacheMissTime)
	case "nv_inference_pending_request_count":
		c.Pending += v
	case "nv_model_load_duration_secs":
		c.LoadTime = max(c.LoadTime, time.Duration(min(v, maxLoadSeconds)*float64(time.Second)))
	default:
		return false
	}
	return true
}

// Since is what was counted after before. reset says that the counters
// restarted in between (the model was reloaded, the server restarted): the
// delta is then what has been counted since, a lower bound.
func (c ModelCounters) Since(before ModelCounters) (delta ModelCounters, reset bool) {
	pairs := [][2]*uint64{
		{&c.Success, &before.Success}, {&c.Failure, &before.Failure},
		{&c.Inferences, &before.Inferences}, {&c.Executions, &before.Executions},
		{&c.CacheHits, &before.CacheHits}, {&c.CacheMisses, &before.CacheMisses},
	}
	times := [][2]*time.Duration{
		{&c.Request, &before.Request}, {&c.Queue, &before.Queue}, {&c.ComputeInput, &before.ComputeInput},
		{&c.ComputeInfer, &before.ComputeInfer}, {&c.ComputeOutput, &before.ComputeOutput},
		{&c.CacheHitTime, &before.CacheHitTime}, {&c.CacheMissTime, &before.CacheMissTime},
	}
	failures := make(map[string]uint64, len(c.FailureBy))
	for reason, n := range c.FailureBy {
		failures[reason] = n
		reset = reset || n < before.FailureBy[reason]
	}
	for _, p := range pairs {
		reset = reset || *p[0] < *p[1]
	}
	for _, p := range times {
		reset = reset || *p[0] < *p[1]
	}
	if !reset {
		for _, p := range pairs {
			*p[0] -= *p[1]
		}
		for _, p := range times {
			*p[0] -= *p[1]
		}
		for reason, n := range before.FailureBy {
			if _, ok := failures[reason]; ok {
				failures[reason] -= n
			}
		}
	}
	if c.FailureBy != nil {
		c.FailureBy = failures
	}
	return c, reset
}
