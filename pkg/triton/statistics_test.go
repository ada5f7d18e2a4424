package triton

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func capturedStatistics(t *testing.T, name, model string) ModelStatistics {
	t.Helper()
	all, err := parseStatistics(captureBody(t, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == model {
			return s
		}
	}
	t.Fatalf("%s has no model %s", name, model)
	return ModelStatistics{}
}

func TestEveryCapturedStatisticsIsRead(t *testing.T) {
	for _, name := range captureNames(t, "stats_") {
		if name == "stats_unknown" || name == "stats_bad_version" || name == "stats_unloaded" {
			continue // errors, see the client's tests
		}
		stats, err := parseStatistics(captureBody(t, name))
		if err != nil || len(stats) == 0 || stats[0].Name == "" || stats[0].Version == "" {
			t.Errorf("%s: %d models, %v", name, len(stats), err)
		}
	}
}

func TestSinceOfCapturedReadings(t *testing.T) {
	before := capturedStatistics(t, "stats_all_before", "identity_fp32")
	after := capturedStatistics(t, "stats_all_after", "identity_fp32")
	delta, reset := after.Since(before)
	if reset {
		t.Fatal("reset reported between readings of one run")
	}
	if delta.Success.Count != after.Success.Count-before.Success.Count || delta.Success.Count == 0 {
		t.Errorf("success %+v", delta.Success)
	}
	var executions, inferences uint64
	for _, b := range delta.BatchStats {
		executions += b.ComputeInfer.Count
		inferences += b.ComputeInfer.Count * b.BatchSize
	}
	if executions != delta.ExecutionCount || inferences != delta.InferenceCount {
		t.Errorf("batches add up to %d executions of %d inferences, the counters say %d of %d", executions, inferences, delta.ExecutionCount, delta.InferenceCount)
	}
	again, reset := after.Since(after)
	if reset || again.Success != (StatisticDuration{}) || len(again.BatchStats) != 0 || again.ExecutionCount != 0 {
		t.Errorf("difference to itself: %+v, reset %t", again, reset)
	}
}

func TestSinceRecognisesResets(t *testing.T) {
	full := ModelStatistics{Name: "m", Version: "1", InferenceCount: 10, ExecutionCount: 5,
		Success: StatisticDuration{9, 900}, Queue: StatisticDuration{9, 90}, CacheHit: StatisticDuration{4, 40},
		BatchStats:    []BatchStatistics{{BatchSize: 2, ComputeInfer: StatisticDuration{5, 50}}},
		ResponseStats: map[string]ResponseStatistics{"0": {Success: StatisticDuration{1, 10}}}}
	tests := []struct {
		name   string
		change func(*ModelStatistics)
		reset  bool
	}{
		{"nothing happened", func(*ModelStatistics) {}, false},
		{"more of everything", func(s *ModelStatistics) {
			s.InferenceCount, s.Success, s.ResponseStats = 11, StatisticDuration{10, 1000}, map[string]ResponseStatistics{"0": {Success: StatisticDuration{2, 20}}, "1": {}}
		}, false},
		{"counter fell", func(s *ModelStatistics) { s.ExecutionCount = 4 }, true},
		{"only a time fell", func(s *ModelStatistics) { s.Queue.NS = 89 }, true},
		{"batch size vanished", func(s *ModelStatistics) { s.BatchStats = nil }, true},
		{"response index vanished", func(s *ModelStatistics) { s.ResponseStats = nil }, true},
		{"another version", func(s *ModelStatistics) { s.Version = "2" }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := full
			tt.change(&after)
			delta, reset := after.Since(full)
			if reset != tt.reset {
				t.Fatalf("reset = %t", reset)
			}
			if diff := cmp.Diff(after, delta); reset && diff != "" {
				t.Errorf("after a reset, the delta has to be what was counted since:\n%s", diff)
			}
		})
	}
}

func TestStatisticDurationMean(t *testing.T) {
	if got := (StatisticDuration{Count: 4, NS: 10}).Mean(); got != 2 {
		t.Errorf("mean %v", got)
	}
	if got := (StatisticDuration{}).Mean(); got != 0 {
		t.Errorf("mean of nothing %v", got)
	}
}

func TestWrongStatisticsAreErrors(t *testing.T) {
	for _, text := range []string{``, `[]`, `{}`, `{"model_stats":5}`, `{"model_stats":[{"inference_count":-1}]}`, `{"model_stats":[{"version":1}]}`} {
		if stats, err := parseStatistics([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, stats)
		}
	}
}

func FuzzStatistics(f *testing.F) {
	for _, name := range []string{"stats_cached", "stats_after_square_int32", "stats_two_versions_all"} {
		f.Add(captureBody(f, name))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		stats, err := parseStatistics(body)
		if err != nil {
			return
		}
		for _, s := range stats {
			// A document may name a batch size twice, which the server never does.
			sizes := map[uint64]bool{}
			for _, b := range s.BatchStats {
				if sizes[b.BatchSize] {
					return
				}
				sizes[b.BatchSize] = true
			}
			if delta, reset := s.Since(s); reset || delta.Success.Count != 0 || len(delta.BatchStats) != 0 {
				t.Errorf("difference to itself: %+v, reset %t", delta, reset)
			}
		}
	})
}
