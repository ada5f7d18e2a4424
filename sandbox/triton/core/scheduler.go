package core

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/precise"
)

// scheduler hands a model's requests to its instances in batches.
type scheduler struct {
	model   *Model
	pending atomic.Int64 // requests that wait for their execution

	mu     sync.Mutex
	queue  *queue
	idle   []*instance // longest idle first
	timer  *precise.Timer
	closed bool

	instances []*instance
	running   sync.WaitGroup
}

func newScheduler(m *Model, groups []instanceGroup) (*scheduler, error) {
	s := &scheduler{model: m, queue: newQueue(m.Config)}
	if s.queue.dynamic && s.queue.delay > 0 {
		timer, err := precise.NewTimer()
		if err != nil {
			return nil, err
		}
		s.timer = timer
		s.running.Go(s.wakeUp)
	}
	for _, group := range groups {
		for range group.count {
			inst, err := newInstance(s, group, len(s.instances))
			if err != nil {
				return nil, errors.Join(err, s.close())
			}
			s.instances = append(s.instances, inst)
		}
	}
	s.idle = append(s.idle, s.instances...)
	for _, inst := range s.instances {
		s.running.Go(inst.run)
	}
	return s, nil
}

// wakeUp forms the batch whose requests have waited long enough for more.
func (s *scheduler) wakeUp() {
	for {
		if err := s.timer.Wait(); err != nil {
			return // closed
		}
		s.dispatch(nil)
	}
}

// enqueue accepts a request or says that the queue is full.
func (s *scheduler) enqueue(r *Request) *Error {
	r.queued = time.Now()
	if s.model.cache != nil && s.model.cache.answer(r) {
		return nil
	}
	s.mu.Lock()
	accepted := s.queue.push(r)
	s.mu.Unlock()
	if !accepted {
		return r.errorf(Unavailable, "Exceeds maximum queue size")
	}
	s.pending.Add(1)
	s.dispatch(nil)
	return nil
}

// dispatch hands batches to idle instances. An instance that asks for work
// passes itself and receives its batch as the result; nil means that it is
// idle now.
func (s *scheduler) dispatch(asking *instance) (mine []*Request) {
	var rejected, dropped []*Request
	s.mu.Lock()
	if asking != nil && !s.closed {
		s.idle = append(s.idle, asking)
	}
	for len(s.idle) > 0 && s.queue.size > 0 {
		now := time.Now()
		rejected = append(rejected, s.queue.expire(now)...)
		if s.model.cancelled.CompareAndSwap(true, false) {
			dropped = append(dropped, s.queue.dropCancelled()...)
		}
		batch, wait := s.queue.form(now)
		if len(batch) == 0 {
			if wait > 0 && s.timer != nil && !s.closed {
				if err := s.timer.Set(wait); err != nil { // without a timer, waiting would never end
					batch = s.queue.take(s.queue.size)
				}
			}
			if len(batch) == 0 {
				break
			}
		}
		inst := s.idle[0]
		if inst == asking {
			mine = batch
		} else {
			inst.work <- batch
		}
		s.idle = s.idle[1:]
		s.pending.Add(-int64(len(batch)))
	}
	s.mu.Unlock()
	s.refuse(rejected, reasonRejected, Errorf(Unavailable, "Request timeout expired"))
	s.refuse(dropped, reasonCanceled, Errorf(Cancelled, "Request cancelled"))
	return mine
}

func (s *scheduler) refuse(requests []*Request, why failureReason, err *Error) {
	s.pending.Add(-int64(len(requests)))
	for _, r := range requests {
		r.Timing.Queue = time.Since(r.queued)
		s.model.countUnexecuted(r, why)
		r.respond(Response{Err: err, Final: true})
	}
}

// close ends the instances once every request has had its response.
func (s *scheduler) close() error {
	s.mu.Lock()
	s.closed = true
	s.idle = nil
	s.mu.Unlock()
	var err error
	if s.timer != nil {
		err = s.timer.Close()
	}
	for _, inst := range s.instances {
		close(inst.work)
	}
	s.running.Wait()
	for _, inst := range s.instances {
		err = errors.Join(err, inst.timer.Close())
	}
	return err
}
