package core

import (
	"slices"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// queue holds the requests of one model in the order in which they may run: by
// priority, then those within their time limit, then those delayed beyond it.
// It isn't safe for concurrent use.
type queue struct {
	levels []level // by priority, 1 first; one level without priorities
	byRank int     // the default level, as an index
	size   int

	dynamic   bool
	maxBatch  int
	preferred []int // ascending
	delay     time.Duration
}

type level struct {
	policy  policy
	waiting []*Request
	delayed []*Request
	limited bool // some waiting request has a deadline
}

type policy struct {
	reject        bool
	timeout       time.Duration
	allowOverride bool
	maxSize       int
}

func newQueue(config *inferencepb.ModelConfig) *queue {
	q := &queue{maxBatch: int(config.MaxBatchSize)}
	batching := config.GetDynamicBatching()
	if batching == nil {
		q.levels = []level{{policy: policyOf(nil)}}
		return q
	}
	q.dynamic = config.MaxBatchSize > 0
	q.delay = time.Duration(batching.MaxQueueDelayMicroseconds) * time.Microsecond
	for _, size := range batching.PreferredBatchSize {
		q.preferred = append(q.preferred, int(size))
	}
	slices.Sort(q.preferred)
	for rank := uint64(1); rank <= max(1, batching.PriorityLevels); rank++ {
		p := batching.DefaultQueuePolicy
		if own, ok := batching.PriorityQueuePolicy[rank]; ok {
			p = own
		}
		q.levels = append(q.levels, level{policy: policyOf(p)})
	}
	q.byRank = max(0, min(len(q.levels), int(batching.DefaultPriorityLevel))-1)
	return q
}

func policyOf(p *inferencepb.ModelQueuePolicy) policy {
	return policy{
		reject:        p.GetTimeoutAction() == inferencepb.ModelQueuePolicy_REJECT,
		timeout:       time.Duration(p.GetDefaultTimeoutMicroseconds()) * time.Microsecond,
		allowOverride: p.GetAllowTimeoutOverride(),
		maxSize:       int(p.GetMaxQueueSize()),
	}
}

// push appends a request; false means that its level is full.
func (q *queue) push(r *Request) bool {
	rank := q.byRank
	if r.Priority > 0 && r.Priority <= uint64(len(q.levels)) {
		rank = int(r.Priority) - 1
	}
	l := &q.levels[rank]
	if l.policy.maxSize > 0 && len(l.waiting)+len(l.delayed) >= l.policy.maxSize {
		return false
	}
	timeout := l.policy.timeout
	if l.policy.allowOverride && r.TimeoutMicros > 0 {
		if override := time.Duration(r.TimeoutMicros) * time.Microsecond; timeout == 0 || override < timeout {
			timeout = override
		}
	}
	if timeout > 0 {
		r.deadline = r.queued.Add(timeout)
		l.limited = true
	}
	l.waiting = append(l.waiting, r)
	q.size++
	return true
}

// expire applies the time limits: it returns the requests to reject and moves
// those to delay. A limit is looked at only when a batch is about to be formed.
func (q *queue) expire(now time.Time) (rejected []*Request) {
	for i := range q.levels {
		l := &q.levels[i]
		if !l.limited {
			continue
		}
		l.limited = false
		l.waiting = slices.DeleteFunc(l.waiting, func(r *Request) bool {
			if r.deadline.IsZero() || now.Before(r.deadline) {
				l.limited = l.limited || !r.deadline.IsZero()
				return false
			}
			if l.policy.reject {
				rejected = append(rejected, r)
			} else {
				l.delayed = append(l.delayed, r)
			}
			return true
		})
	}
	q.size -= len(rejected)
	return rejected
}

// dropCancelled removes and returns the requests that were given up.
func (q *queue) dropCancelled() (dropped []*Request) {
	gone := func(r *Request) bool {
		if !r.cancelled.Load() {
			return false
		}
		dropped = append(dropped, r)
		return true
	}
	for i := range q.levels {
		l := &q.levels[i]
		l.waiting = slices.DeleteFunc(l.waiting, gone)
		l.delayed = slices.DeleteFunc(l.delayed, gone)
	}
	q.size -= len(dropped)
	return dropped
}

// form takes the next batch off the queue. Without one, wait tells how long
// the requests at hand may still be held back for a fuller batch.
func (q *queue) form(now time.Time) (batch []*Request, wait time.Duration) {
	if q.size == 0 {
		return nil, 0
	}
	count, wait := q.plan(now)
	if count == 0 {
		return nil, wait
	}
	return q.take(count), 0
}

// plan decides how many of the first requests form the next batch. It follows
// the documented rules of Triton's dynamic batcher: the largest preferred size
// at hand runs at once; a batch that can't grow, because of the size limit or
// because the next request has another shape, runs at once; anything else waits
// until its oldest request is as old as the delay.
func (q *queue) plan(now time.Time) (count int, wait time.Duration) {
	if !q.dynamic {
		return 1, 0
	}
	largest := q.maxBatch
	if len(q.preferred) > 0 {
		largest = q.preferred[len(q.preferred)-1]
	}
	var (
		size, bestCount int
		full            bool
		shape           string
		oldest          time.Time
	)
	for r := range q.each {
		if count == 0 {
			shape, oldest = r.shapeKey, r.queued
		} else {
			if size+r.BatchSize > largest && bestCount == 0 {
				bestCount = count
			}
			if size+r.BatchSize > q.maxBatch || r.shapeKey != shape {
				full = true
				break
			}
		}
		if r.queued.Before(oldest) {
			oldest = r.queued
		}
		size += r.BatchSize
		count++
		if slices.Contains(q.preferred, size) {
			bestCount = count
		}
	}
	age := now.Sub(oldest)
	overdue := q.delay > 0 && age >= q.delay
	switch {
	case bestCount > 0 && !overdue:
		return bestCount, 0
	case full, size >= largest, overdue, q.delay == 0:
		return count, 0
	}
	return 0, q.delay - age
}

// each yields the requests in the order in which they may run.
func (q *queue) each(yield func(*Request) bool) {
	for i := range q.levels {
		for _, r := range q.levels[i].waiting {
			if !yield(r) {
				return
			}
		}
		for _, r := range q.levels[i].delayed {
			if !yield(r) {
				return
			}
		}
	}
}

func (q *queue) take(count int) []*Request {
	batch := make([]*Request, 0, count)
	for i := range q.levels {
		l := &q.levels[i]
		batch = shift(&l.waiting, batch, count)
		batch = shift(&l.delayed, batch, count)
	}
	q.size -= len(batch)
	return batch
}

func shift(from *[]*Request, batch []*Request, count int) []*Request {
	n := min(count-len(batch), len(*from))
	batch = append(batch, (*from)[:n]...)
	clear((*from)[:n]) // the array behind must not keep finished requests alive
	*from = (*from)[n:]
	return batch
}
