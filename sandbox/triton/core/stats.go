package core

import (
	"slices"
	"time"
)

// Duration is a number of events and their total time, as the statistics
// extension counts them.
type Duration struct {
	Count uint64
	Ns    uint64
}

func (d *Duration) add(t time.Duration) {
	d.Count++
	d.Ns += uint64(max(0, t))
}

// BatchStats counts the executions of one batch size.
type BatchStats struct {
	Size                                      int
	ComputeInput, ComputeInfer, ComputeOutput Duration
}

// ResponseStats counts the responses of one index within their requests.
type ResponseStats struct {
	ComputeInfer, ComputeOutput, Success, Fail, Empty, Cancel Duration
}

// Stats are one model version's cumulative statistics since it was loaded.
type Stats struct {
	LastInference  int64 // ms since the Unix epoch
	InferenceCount uint64
	ExecutionCount uint64

	Success, Fail                             Duration
	Queue                                     Duration
	ComputeInput, ComputeInfer, ComputeOutput Duration
	CacheHit, CacheMiss                       Duration

	Responses []ResponseStats
	Batches   []BatchStats // ascending by size
}

func (s *Stats) batch(size int) *BatchStats {
	i, found := slices.BinarySearchFunc(s.Batches, size, func(b BatchStats, size int) int { return b.Size - size })
	if !found {
		s.Batches = slices.Insert(s.Batches, i, BatchStats{Size: size})
	}
	return &s.Batches[i]
}

// Stats is a consistent copy of the statistics.
func (m *Model) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Responses = slices.Clone(s.Responses)
	s.Batches = slices.Clone(s.Batches)
	return s
}

// countExecution counts one execution of a batch of requests on an instance.
// failed[i] says that request i counts as a failure.
func (m *Model) countExecution(rep *Reporter, requests []*Request, failed []bool, size int, in, infer, out time.Duration) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.ExecutionCount++
	rep.exec()
	b := m.stats.batch(size)
	b.ComputeInput.add(in)
	b.ComputeInfer.add(infer)
	b.ComputeOutput.add(out)
	for i, r := range requests {
		rep.received(r)
		total := now.Sub(r.Arrived)
		rep.firstResponse(total)
		if failed[i] {
			m.stats.Fail.add(total)
			rep.failure(reasonBackend)
			continue
		}
		m.countSuccess(rep, r, now, total)
	}
}

func (m *Model) countSuccess(rep *Reporter, r *Request, now time.Time, total time.Duration) {
	s := &m.stats
	s.LastInference = now.UnixMilli()
	s.InferenceCount += uint64(r.BatchSize)
	s.Success.add(total)
	s.Queue.add(r.Timing.Queue)
	s.ComputeInput.add(r.Timing.ComputeInput)
	s.ComputeInfer.add(r.Timing.ComputeInfer)
	s.ComputeOutput.add(r.Timing.ComputeOutput)
	rep.success(r, total)
}

// countCacheHit counts a request that the response cache answered.
func (m *Model) countCacheHit(r *Request, lookup time.Duration) {
	now := time.Now()
	total := now.Sub(r.Arrived)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.stats
	s.LastInference = now.UnixMilli()
	s.Success.add(total)
	s.Queue.add(r.Timing.Queue)
	s.CacheHit.add(lookup)
	m.reporter.cacheHit(r, total, lookup)
}

func (m *Model) countCacheMiss(spent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.CacheMiss.add(spent)
	m.reporter.cacheMiss(spent)
}

// countUnexecuted counts a request that failed before it ran.
func (m *Model) countUnexecuted(r *Request, why failureReason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Fail.add(time.Since(r.Arrived))
	m.reporter.failure(why)
}

func (m *Model) countResponse(index int, infer, output time.Duration, empty bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.stats.Responses) <= index {
		m.stats.Responses = append(m.stats.Responses, ResponseStats{})
	}
	s := &m.stats.Responses[index]
	if empty {
		s.Empty.add(infer)
		return
	}
	s.ComputeInfer.add(infer)
	s.ComputeOutput.add(output)
	s.Success.add(infer + output)
}
