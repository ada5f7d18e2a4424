package plugin

import (
	"context"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// lateServer is one whose counters lack the last requests at the first readings.
type lateServer struct {
	route
	control
	counts   []uint64 // one a reading, the last of them for ever
	readings int
}

func (s *lateServer) sources(context.Context) ([]statisticsSource, error) {
	return []statisticsSource{{name: "a", uid: "a", client: s, done: func() {}}}, nil
}

func (s *lateServer) loaded() map[string]bool { return map[string]bool{"a": true} }

func (s *lateServer) Statistics(context.Context, string, string) ([]triton.ModelStatistics, error) {
	n := s.counts[min(s.readings, len(s.counts)-1)]
	s.readings++
	stats := counters("a", n).stats
	return []triton.ModelStatistics{stats}, nil
}

// TestLateCounters: a server counts a request after it has answered it, which is
// no sign of several servers at one address; counters that stay short are.
func TestLateCounters(t *testing.T) {
	spec, err := triton.BuildRequest(
		triton.ModelMetadata{Name: "m", Inputs: []triton.Tensor{{Name: "IN", Datatype: "FP32", Shape: []int64{1}}}},
		triton.ModelConfig{Name: "m", Input: []triton.InputConfig{{Name: "IN", DataType: "FP32", Dims: []int64{1}}}}, triton.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		counts   []uint64
		complete bool
		readings int
	}{
		{[]uint64{50}, true, 1},
		{[]uint64{48, 49, 50}, true, 3},
		{[]uint64{25}, false, mostReadings},
	} {
		s := &lateServer{counts: c.counts}
		test := &loadTest{options: &BenchOptions{URL: "http://a:8000"}, route: s, spec: spec, metadata: triton.ModelMetadata{Name: "m"}}
		var r report.Bench
		err := test.account(t.Context(), &r, &bench.Result{Completed: 50}, []podStatistics{counters("a", 0)})
		if err != nil || r.Server.Complete != c.complete || s.readings != c.readings {
			t.Errorf("%v: %v, %d readings, complete %t, %+v", c.counts, err, s.readings, r.Server.Complete, r.Server.Pods)
		}
	}
}
