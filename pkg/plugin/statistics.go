package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const statisticsTimeout = 5 * time.Second

// podStatistics is one server's counters for the tested model at one moment.
type podStatistics struct {
	name  string
	uid   types.UID
	stats triton.ModelStatistics
	err   error
}

// statisticsSource is a server whose counters can be read.
type statisticsSource struct {
	name, uid string
	client    control
	done      func() // ends what the client keeps open
}

// readStatistics asks all sources at once; one that does not answer carries its error.
func readStatistics(ctx context.Context, sources []statisticsSource, model, version string) []podStatistics {
	ctx, cancel := context.WithTimeout(ctx, statisticsTimeout)
	defer cancel()
	out := make([]podStatistics, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() {
			defer s.done()
			out[i] = podStatistics{name: s.name, uid: types.UID(s.uid)}
			out[i].stats, out[i].err = s.read(ctx, model, version)
		})
	}
	wg.Wait()
	return out
}

func (s *statisticsSource) read(ctx context.Context, model, version string) (triton.ModelStatistics, error) {
	all, err := s.client.Statistics(ctx, model, version)
	if err != nil {
		return triton.ModelStatistics{}, err
	}
	for _, m := range all {
		if m.Name == model && (version == "" || m.Version == version) {
			return m, nil
		}
	}
	return triton.ModelStatistics{}, fmt.Errorf("the server's statistics do not list model %s", model)
}

// serverAccount compares the counters of before and after, per pod UID, and
// adds up those of the loaded pods.
func serverAccount(before, after []podStatistics, loaded map[string]bool, clientSent uint64, serviceMeanUS float64) *report.Server {
	s := &report.Server{Complete: true}
	total := triton.ModelStatistics{}
	for _, b := range before {
		i := slices.IndexFunc(after, func(a podStatistics) bool { return a.uid == b.uid })
		pod := report.ServerPod{Name: b.name, UID: string(b.uid)}
		switch {
		case b.err != nil:
			pod.Problem = "its counters could not be read before the test: " + b.err.Error()
		case i < 0:
			pod.Problem = "the pod went away or stopped being ready during the test; its counters are lost"
		case after[i].err != nil:
			pod.Problem = "its counters could not be read after the test: " + after[i].err.Error()
		default:
			delta, reset := after[i].stats.Since(b.stats)
			if reset {
				pod.Problem = "its counters restarted at 0 during the test (a restart or a reload of the model)"
			}
			fill(&pod, delta)
			if loaded[string(b.uid)] {
				addStatistics(&total, delta)
			}
		}
		if pod.Problem != "" && loaded[string(b.uid)] {
			s.Complete = false
		}
		s.Pods = append(s.Pods, pod)
	}
	for _, a := range after {
		if slices.ContainsFunc(before, func(b podStatistics) bool { return b.uid == a.uid }) {
			continue
		}
		pod := report.ServerPod{Name: a.name, UID: string(a.uid), Problem: "the pod became ready during the test; its counters are counted from its start"}
		if a.err != nil {
			pod.Problem = "the pod became ready during the test and its counters could not be read: " + a.err.Error()
			s.Complete = s.Complete && !loaded[string(a.uid)]
		} else {
			fill(&pod, a.stats)
			if loaded[string(a.uid)] {
				addStatistics(&total, a.stats)
			}
		}
		s.Pods = append(s.Pods, pod)
	}
	summarise(s, total, clientSent, serviceMeanUS)
	return s
}

// checkOneServer looks for requests that the only source did not count: then its
// address leads to further servers, and what it says is of its own share alone.
// A server counts every request that it answered well.
func checkOneServer(s *report.Server, succeeded uint64) {
	if len(s.Pods) != 1 || s.Pods[0].Problem != "" || s.Requests >= succeeded {
		return
	}
	s.Pods[0].Problem = fmt.Sprintf("it counted %d of the %d requests that were answered: the address leads to several servers, and these are the figures of one", s.Requests, succeeded)
	s.Complete, s.OutsideUS = false, nil
}

// checkRestarted looks for requests that the loaded pod no longer counts: one that
// restarted early in the test has counted more since than before, and its counters
// alone don't show it. Triton counts a request after it has answered it, so that
// the last ones in flight may be missing in any case.
func checkRestarted(s *report.Server, loaded map[string]bool, succeeded, inFlight uint64) {
	i := slices.IndexFunc(s.Pods, func(p report.ServerPod) bool { return loaded[p.UID] })
	if i < 0 || len(loaded) != 1 || !s.Complete || s.Requests+inFlight >= succeeded {
		return
	}
	s.Pods[i].Problem = fmt.Sprintf("it counted %d of the %d requests that were answered: it restarted or its model was reloaded during the test, and the rest is lost", s.Requests, succeeded)
	s.Complete, s.OutsideUS = false, nil
}

// addStatistics adds one pod's counters to the total of all.
func addStatistics(total *triton.ModelStatistics, m triton.ModelStatistics) {
	add := func(d *triton.StatisticDuration, x triton.StatisticDuration) {
		d.Count += x.Count
		d.NS += x.NS
	}
	total.InferenceCount += m.InferenceCount
	total.ExecutionCount += m.ExecutionCount
	add(&total.Success, m.Success)
	add(&total.Fail, m.Fail)
	add(&total.Queue, m.Queue)
	add(&total.ComputeInput, m.ComputeInput)
	add(&total.ComputeInfer, m.ComputeInfer)
	add(&total.ComputeOutput, m.ComputeOutput)
	add(&total.CacheHit, m.CacheHit)
	for _, b := range m.BatchStats {
		i := slices.IndexFunc(total.BatchStats, func(t triton.BatchStatistics) bool { return t.BatchSize == b.BatchSize })
		if i < 0 {
			total.BatchStats = append(total.BatchStats, triton.BatchStatistics{BatchSize: b.BatchSize})
			i = len(total.BatchStats) - 1
		}
		add(&total.BatchStats[i].ComputeInfer, b.ComputeInfer)
	}
}

func fill(pod *report.ServerPod, m triton.ModelStatistics) {
	pod.Requests, pod.Failed = m.Success.Count, m.Fail.Count
	pod.Inferences, pod.Executions = m.InferenceCount, m.ExecutionCount
}

// summarise divides a request's mean time. Triton charges compute only to
// requests that missed the cache, so the means are over all successes.
func summarise(s *report.Server, m triton.ModelStatistics, clientSent uint64, serviceMeanUS float64) {
	s.Requests, s.Failed = m.Success.Count, m.Fail.Count
	s.Inferences, s.Executions = m.InferenceCount, m.ExecutionCount
	s.CacheHits = m.CacheHit.Count
	var executed, executions float64
	for _, b := range m.BatchStats {
		if b.ComputeInfer.Count > 0 {
			s.Batches = append(s.Batches, report.Batch{Size: b.BatchSize, Executions: b.ComputeInfer.Count})
			executed += float64(b.BatchSize) * float64(b.ComputeInfer.Count)
			executions += float64(b.ComputeInfer.Count)
		}
	}
	switch {
	case executions > 0:
		// Not by the inference count: it leaves out what failed, the executions don't.
		s.AverageBatch = executed / executions
	case m.ExecutionCount > 0:
		s.AverageBatch = float64(m.InferenceCount) / float64(m.ExecutionCount)
	}
	slices.SortStableFunc(s.Batches, func(a, b report.Batch) int { return cmp.Compare(a.Size, b.Size) })
	if s.Complete {
		s.ForeignRequests = max(0, int64(m.Success.Count+m.Fail.Count)-int64(clientSent))
	}
	if m.Success.Count == 0 {
		return
	}
	mean := func(d triton.StatisticDuration) float64 { return float64(d.NS) / 1e3 / float64(m.Success.Count) }
	s.RequestUS = mean(m.Success)
	s.QueueUS = mean(m.Queue)
	s.ComputeInputUS = mean(m.ComputeInput)
	s.ComputeInferUS = mean(m.ComputeInfer)
	s.ComputeOutputUS = mean(m.ComputeOutput)
	s.OverheadUS = max(0, s.RequestUS-s.QueueUS-s.ComputeInputUS-s.ComputeInferUS-s.ComputeOutputUS)
	if serviceMeanUS > 0 && s.Complete && s.ForeignRequests == 0 {
		outside := serviceMeanUS - s.RequestUS
		s.OutsideUS = &outside
	}
}
