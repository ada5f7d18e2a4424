package triton

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// StatisticDuration is a number of events and their summed time in
// nanoseconds.
type StatisticDuration struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}

// Mean is the average time of one event, 0 without events.
func (d StatisticDuration) Mean() time.Duration {
	if d.Count == 0 {
		return 0
	}
	return time.Duration(d.NS / d.Count)
}

// BatchStatistics counts the executions that ran with one batch size.
type BatchStatistics struct {
	BatchSize     uint64            `json:"batch_size"`
	ComputeInput  StatisticDuration `json:"compute_input"`
	ComputeInfer  StatisticDuration `json:"compute_infer"`
	ComputeOutput StatisticDuration `json:"compute_output"`
}

// ResponseStatistics counts the responses of one index within their request,
// which only decoupled models fill in.
type ResponseStatistics struct {
	ComputeInfer  StatisticDuration `json:"compute_infer"`
	ComputeOutput StatisticDuration `json:"compute_output"`
	Success       StatisticDuration `json:"success"`
	Fail          StatisticDuration `json:"fail"`
	EmptyResponse StatisticDuration `json:"empty_response"`
	Cancel        StatisticDuration `json:"cancel"`
}

// ModelStatistics are one model version's counters since it was loaded.
//
// Success and Queue count requests and include cache hits; the compute
// durations count requests that ran, each charged with its whole batch's time.
// InferenceCount counts batch elements that ran, ExecutionCount the batches.
// Requests refused because the queue was full are counted nowhere.
type ModelStatistics struct {
	Name           string
	Version        string
	LastInference  time.Time // zero when there was none
	InferenceCount uint64
	ExecutionCount uint64

	Success       StatisticDuration
	Fail          StatisticDuration
	Queue         StatisticDuration
	ComputeInput  StatisticDuration
	ComputeInfer  StatisticDuration
	ComputeOutput StatisticDuration
	CacheHit      StatisticDuration
	CacheMiss     StatisticDuration

	BatchStats    []BatchStatistics
	ResponseStats map[string]ResponseStatistics
}

// statisticsWire is the JSON of the statistics extension. last_inference is in
// milliseconds, unlike every other time in it.
type statisticsWire struct {
	Name            string `json:"name"`
	Version         string `json:"version"`
	LastInferenceMS uint64 `json:"last_inference"`
	InferenceCount  uint64 `json:"inference_count"`
	ExecutionCount  uint64 `json:"execution_count"`
	InferenceStats  struct {
		Success       StatisticDuration `json:"success"`
		Fail          StatisticDuration `json:"fail"`
		Queue         StatisticDuration `json:"queue"`
		ComputeInput  StatisticDuration `json:"compute_input"`
		ComputeInfer  StatisticDuration `json:"compute_infer"`
		ComputeOutput StatisticDuration `json:"compute_output"`
		CacheHit      StatisticDuration `json:"cache_hit"`
		CacheMiss     StatisticDuration `json:"cache_miss"`
	} `json:"inference_stats"`
	ResponseStats map[string]ResponseStatistics `json:"response_stats"`
	BatchStats    []BatchStatistics             `json:"batch_stats"`
}

func parseStatistics(body []byte) ([]ModelStatistics, error) {
	var wire struct {
		ModelStats *[]statisticsWire `json:"model_stats"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return nil, fmt.Errorf("not the JSON of model statistics: %w", err)
	}
	if wire.ModelStats == nil {
		return nil, fmt.Errorf("the answer has no model_stats")
	}
	stats := make([]ModelStatistics, 0, len(*wire.ModelStats))
	for _, w := range *wire.ModelStats {
		s := ModelStatistics{
			Name: w.Name, Version: w.Version,
			InferenceCount: w.InferenceCount, ExecutionCount: w.ExecutionCount,
			Success: w.InferenceStats.Success, Fail: w.InferenceStats.Fail, Queue: w.InferenceStats.Queue,
			ComputeInput:  w.InferenceStats.ComputeInput,
			ComputeInfer:  w.InferenceStats.ComputeInfer,
			ComputeOutput: w.InferenceStats.ComputeOutput,
			CacheHit:      w.InferenceStats.CacheHit, CacheMiss: w.InferenceStats.CacheMiss,
			BatchStats: w.BatchStats, ResponseStats: w.ResponseStats,
		}
		if w.LastInferenceMS != 0 {
			s.LastInference = time.UnixMilli(int64(w.LastInferenceMS))
		}
		stats = append(stats, s)
	}
	return stats, nil
}

// Since is what was counted between two readings. reset is true when a counter
// went backwards or the readings are of different models: the model was
// reloaded or the server restarted in between, and delta is what was counted
// since then, less than what really happened.
func (s ModelStatistics) Since(before ModelStatistics) (delta ModelStatistics, reset bool) {
	d := subtraction{}
	if s.Name != before.Name || s.Version != before.Version {
		d.reset = true
	}
	delta = ModelStatistics{
		Name: s.Name, Version: s.Version, LastInference: s.LastInference,
		InferenceCount: d.count(s.InferenceCount, before.InferenceCount),
		ExecutionCount: d.count(s.ExecutionCount, before.ExecutionCount),
		Success:        d.duration(s.Success, before.Success),
		Fail:           d.duration(s.Fail, before.Fail),
		Queue:          d.duration(s.Queue, before.Queue),
		ComputeInput:   d.duration(s.ComputeInput, before.ComputeInput),
		ComputeInfer:   d.duration(s.ComputeInfer, before.ComputeInfer),
		ComputeOutput:  d.duration(s.ComputeOutput, before.ComputeOutput),
		CacheHit:       d.duration(s.CacheHit, before.CacheHit),
		CacheMiss:      d.duration(s.CacheMiss, before.CacheMiss),
		BatchStats:     d.batches(s.BatchStats, before.BatchStats),
		ResponseStats:  d.responses(s.ResponseStats, before.ResponseStats),
	}
	if d.reset {
		return s, true
	}
	return delta, false
}

// subtraction remembers whether any counter went backwards.
type subtraction struct{ reset bool }

func (d *subtraction) count(after, before uint64) uint64 {
	if after < before {
		d.reset = true
		return after
	}
	return after - before
}

func (d *subtraction) duration(after, before StatisticDuration) StatisticDuration {
	return StatisticDuration{Count: d.count(after.Count, before.Count), NS: d.count(after.NS, before.NS)}
}

func (d *subtraction) batches(after, before []BatchStatistics) []BatchStatistics {
	earlier := make(map[uint64]BatchStatistics, len(before))
	for _, b := range before {
		earlier[b.BatchSize] = b
	}
	var delta []BatchStatistics
	for _, a := range after {
		b := earlier[a.BatchSize]
		delete(earlier, a.BatchSize)
		step := BatchStatistics{
			BatchSize:     a.BatchSize,
			ComputeInput:  d.duration(a.ComputeInput, b.ComputeInput),
			ComputeInfer:  d.duration(a.ComputeInfer, b.ComputeInfer),
			ComputeOutput: d.duration(a.ComputeOutput, b.ComputeOutput),
		}
		if step.ComputeInfer.Count > 0 {
			delta = append(delta, step)
		}
	}
	if len(earlier) > 0 {
		d.reset = true
	}
	slices.SortStableFunc(delta, func(a, b BatchStatistics) int { return cmp.Compare(a.BatchSize, b.BatchSize) })
	return delta
}

func (d *subtraction) responses(after, before map[string]ResponseStatistics) map[string]ResponseStatistics {
	if len(after) == 0 && len(before) == 0 {
		return nil
	}
	delta := make(map[string]ResponseStatistics, len(after))
	for index, a := range after {
		b := before[index]
		delta[index] = ResponseStatistics{
			ComputeInfer:  d.duration(a.ComputeInfer, b.ComputeInfer),
			ComputeOutput: d.duration(a.ComputeOutput, b.ComputeOutput),
			Success:       d.duration(a.Success, b.Success),
			Fail:          d.duration(a.Fail, b.Fail),
			EmptyResponse: d.duration(a.EmptyResponse, b.EmptyResponse),
			Cancel:        d.duration(a.Cancel, b.Cancel),
		}
	}
	for index := range before {
		if _, still := after[index]; !still {
			d.reset = true
		}
	}
	return delta
}
