package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const statisticsTimeout = 5 * time.Second

// podStatistics is one pod's counters for the tested model at one moment.
type podStatistics struct {
	name  string
	uid   types.UID
	stats triton.ModelStatistics
	err   error
}

// statisticsReader reads the counters of every Triton pod through the tunnel.
type statisticsReader struct {
	dialer  *portforward.Dialer
	port    int32
	model   string
	version string
}

// read asks all ready pods at once; a pod that does not answer carries its error.
func (s *statisticsReader) read(ctx context.Context, pods []corev1.Pod) []podStatistics {
	ctx, cancel := context.WithTimeout(ctx, statisticsTimeout)
	defer cancel()
	pods = slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return !podReady(&p) })
	out := make([]podStatistics, len(pods))
	var wg sync.WaitGroup
	for i, p := range pods {
		wg.Go(func() {
			out[i] = podStatistics{name: p.Name, uid: p.UID}
			out[i].stats, out[i].err = s.readPod(ctx, &p)
		})
	}
	wg.Wait()
	return out
}

func (s *statisticsReader) readPod(ctx context.Context, p *corev1.Pod) (triton.ModelStatistics, error) {
	endpoint := s.dialer.PodOf(p, fmt.Sprint(s.port))
	hc := httpClient(endpoint.DialContext)
	defer hc.CloseIdleConnections()
	all, err := triton.NewClient(hc, tritonURL).Statistics(ctx, s.model, s.version)
	if err != nil {
		return triton.ModelStatistics{}, err
	}
	for _, m := range all {
		if m.Name == s.model && (s.version == "" || m.Version == s.version) {
			return m, nil
		}
	}
	return triton.ModelStatistics{}, fmt.Errorf("the pod's statistics do not list model %s", s.model)
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
	if m.ExecutionCount > 0 {
		s.AverageBatch = float64(m.InferenceCount) / float64(m.ExecutionCount)
	}
	for _, b := range m.BatchStats {
		if b.ComputeInfer.Count > 0 {
			s.Batches = append(s.Batches, report.Batch{Size: b.BatchSize, Executions: b.ComputeInfer.Count})
		}
	}
	slices.SortFunc(s.Batches, func(a, b report.Batch) int { return cmp.Compare(a.Size, b.Size) })
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
