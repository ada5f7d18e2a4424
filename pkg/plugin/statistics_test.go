package plugin

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// counters builds a reading of n requests of batch 2, each executed alone with
// 1 ms queue and 3 ms compute.
func counters(uid string, n uint64) podStatistics {
	d := func(ns uint64) triton.StatisticDuration { return triton.StatisticDuration{Count: n, NS: n * ns} }
	return podStatistics{name: "pod-" + uid, uid: types.UID(uid), stats: triton.ModelStatistics{
		Name: "m", Version: "1", InferenceCount: 2 * n, ExecutionCount: n,
		Success: d(5e6), Queue: d(1e6), ComputeInput: d(0.5e6), ComputeInfer: d(2e6), ComputeOutput: d(0.5e6),
		BatchStats: []triton.BatchStatistics{{BatchSize: 2, ComputeInfer: d(2e6)}},
	}}
}

func TestServerAccount(t *testing.T) {
	lost := errors.New("no answer")
	for _, c := range []struct {
		name          string
		before, after []podStatistics
		loaded        string
		sent          uint64
		requests      uint64
		foreign       int64
		complete      bool
		problem       string
	}{
		{"one pod", []podStatistics{counters("a", 100)}, []podStatistics{counters("a", 150)}, "a", 50, 50, 0, true, ""},
		{"an idle neighbour does not count", []podStatistics{counters("a", 100), counters("b", 7)}, []podStatistics{counters("a", 150), counters("b", 9)}, "a", 50, 50, 0, true, ""},
		{"other clients", []podStatistics{counters("a", 100)}, []podStatistics{counters("a", 160)}, "a", 50, 60, 10, true, ""},
		{"counters restarted", []podStatistics{counters("a", 100)}, []podStatistics{counters("a", 20)}, "a", 50, 20, 0, false, "restarted"},
		{"pod gone", []podStatistics{counters("a", 100)}, nil, "a", 50, 0, 0, false, "went away"},
		{"unreadable before", []podStatistics{{name: "pod-a", uid: "a", err: lost}}, []podStatistics{counters("a", 150)}, "a", 50, 0, 0, false, "before the test"},
		{"unreadable after", []podStatistics{counters("a", 100)}, []podStatistics{{name: "pod-a", uid: "a", err: lost}}, "a", 50, 0, 0, false, "after the test"},
		{"a new pod took over", []podStatistics{counters("a", 100)}, []podStatistics{counters("b", 30)}, "a b", 50, 30, 0, false, "became ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loaded := map[string]bool{}
			for _, uid := range strings.Fields(c.loaded) {
				loaded[uid] = true
			}
			s := serverAccount(c.before, c.after, loaded, c.sent, 6000)
			if s.Requests != c.requests || s.ForeignRequests != c.foreign || s.Complete != c.complete {
				t.Errorf("requests %d, foreign %d, complete %v; want %d, %d, %v", s.Requests, s.ForeignRequests, s.Complete, c.requests, c.foreign, c.complete)
			}
			problems := ""
			for _, p := range s.Pods {
				problems += p.Problem
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems are %q, want %q", problems, c.problem)
			}
		})
	}
}

// TestRestartThatCountersHide: a pod that restarted early in a test has counted
// more at its end than at its begin.
func TestRestartThatCountersHide(t *testing.T) {
	loaded := map[string]bool{"a": true}
	for _, c := range []struct {
		answered uint64
		complete bool
	}{{900, true}, {908, true}, {1000, false}} {
		s := serverAccount([]podStatistics{counters("a", 100), counters("b", 5)}, []podStatistics{counters("a", 1000), counters("b", 5)}, loaded, c.answered, 6000)
		checkRestarted(s, loaded, c.answered, 8)
		if s.Complete != c.complete || (s.OutsideUS != nil) != c.complete || strings.Contains(s.Pods[0].Problem, "it counted 900 of the 1000 requests") == c.complete || s.Pods[1].Problem != "" {
			t.Errorf("%d answered: complete %t, %+v", c.answered, s.Complete, s.Pods)
		}
	}
}

// TestAverageBatchWithFailures: a failed request was in a batch as well, so that
// no average is below the smallest size.
func TestAverageBatchWithFailures(t *testing.T) {
	after := counters("a", 150)
	after.stats.InferenceCount -= 40
	s := serverAccount([]podStatistics{counters("a", 100)}, []podStatistics{after}, map[string]bool{"a": true}, 50, 6000)
	if s.Inferences != 60 || s.Executions != 50 || s.AverageBatch != 2 {
		t.Errorf("%d inferences in %d executions of batch 2 have an average batch of %v", s.Inferences, s.Executions, s.AverageBatch)
	}
}

func TestServerMeans(t *testing.T) {
	s := serverAccount([]podStatistics{counters("a", 100)}, []podStatistics{counters("a", 150)}, map[string]bool{"a": true}, 50, 6000)
	outside := 1000.0
	want := &report.Server{
		Pods:     []report.ServerPod{{Name: "pod-a", UID: "a", Requests: 50, Inferences: 100, Executions: 50}},
		Requests: 50, Inferences: 100, Executions: 50, AverageBatch: 2, Batches: []report.Batch{{Size: 2, Executions: 50}},
		RequestUS: 5000, QueueUS: 1000, ComputeInputUS: 500, ComputeInferUS: 2000, ComputeOutputUS: 500, OverheadUS: 1000, OutsideUS: &outside,
		Complete: true,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}
