package bench

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		load Load
		want string // part of the sentence, "" for a good load
	}{
		{"closed by duration", Load{Concurrency: 1, Duration: time.Second}, ""},
		{"open by requests", Load{RatePerSecond: 0.5, Requests: 1}, ""},
		{"both limits", Load{Concurrency: 1, Requests: 1, Duration: 1}, ""},
		{"nothing", Load{}, "concurrency (closed loop) or a rate"},
		{"both loops", Load{Concurrency: 1, RatePerSecond: 1, Requests: 1}, "not both"},
		{"no end", Load{Concurrency: 1}, "never end"},
		{"negative concurrency", Load{Concurrency: -1, Requests: 1}, "concurrency is -1"},
		{"negative rate", Load{RatePerSecond: -1, Requests: 1}, "rate is -1"},
		{"not a rate", Load{RatePerSecond: math.NaN(), Requests: 1}, "rate is NaN"},
		{"infinite rate", Load{RatePerSecond: math.Inf(1), Requests: 1}, "rate is +Inf"},
		{"beyond the clock", Load{RatePerSecond: 2e9, Requests: 1}, "whole nanoseconds"},
		{"negative duration", Load{Concurrency: 1, Duration: -1}, "duration is -1ns"},
		{"negative timeout", Load{Concurrency: 1, Requests: 1, Timeout: -1}, "timeout is -1ns"},
		{"in flight", Load{RatePerSecond: 1, Requests: 1, MaxInFlight: -1}, "in flight"},
		{"pacing", Load{RatePerSecond: 1, Requests: 1, Pacing: "lazy"}, `pacing is "lazy"`},
		{"arrival", Load{RatePerSecond: 1, Requests: 1, Arrival: "uniform"}, `arrival is "uniform"`},
		{"intervals", Load{RatePerSecond: 1, Requests: 1, Arrival: Intervals, Intervals: []time.Duration{0, time.Second}}, ""},
		{"intervals of nothing", Load{RatePerSecond: 1, Duration: 1, Arrival: Intervals, Intervals: []time.Duration{0, 0}}, "take no time"},
		{"no intervals", Load{RatePerSecond: 1, Requests: 1, Arrival: Intervals}, "0 intervals"},
		{"stray intervals", Load{RatePerSecond: 1, Requests: 1, Intervals: []time.Duration{1}}, "1 intervals"},
		{"negative interval", Load{RatePerSecond: 1, Requests: 1, Arrival: Intervals, Intervals: []time.Duration{-1}}, "outside"},
		{"centuries", Load{RatePerSecond: 1, Requests: math.MaxUint64}, "would take more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.load.Validate()
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want a sentence with %q", err, tc.want)
			}
			if res, err := NewRunner(newNoop).Run(t.Context(), tc.load, nil); err == nil || res != nil {
				t.Error("it was run all the same")
			}
		})
	}
}
