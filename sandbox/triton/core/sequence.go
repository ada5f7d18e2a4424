package core

import (
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// sequences routes the requests of a stateful model: those of one sequence run
// one after the other and share its state.
type sequences struct {
	model *Model
	idle  time.Duration

	mu   sync.Mutex
	live map[string]*sequence
}

type sequence struct {
	id      string
	used    time.Time
	busy    bool
	backlog []*Request
	sum     int32 // touched only by the request that runs
}

func newSequences(m *Model, batching *inferencepb.ModelSequenceBatching) *sequences {
	idle := time.Duration(batching.MaxSequenceIdleMicroseconds) * time.Microsecond
	if idle == 0 {
		idle = time.Second // the schema's default
	}
	return &sequences{model: m, idle: idle, live: map[string]*sequence{}}
}

func (s *sequences) enqueue(r *Request) *Error {
	if r.SequenceText != "" && !s.takesText() {
		return r.errorf(InvalidArg, "sequence batching control 'CORRID' data-type is 'BYTES', but model '%s' expects 'UINT64'", s.model.Name)
	}
	if r.SequenceText == "" && r.SequenceID == 0 {
		return Errorf(InvalidArg, "inference request to model '%s' must specify a non-zero or non-empty correlation ID", s.model.Name)
	}
	id := r.SequenceText
	if id == "" {
		id = strconv.FormatUint(r.SequenceID, 10)
	}
	s.mu.Lock()
	seq := s.live[id]
	if seq != nil && !seq.busy && time.Since(seq.used) > s.idle {
		delete(s.live, id)
		seq = nil
	}
	if r.SequenceStart {
		// A new start abandons what the sequence had; its requests in flight finish.
		seq = &sequence{id: id}
		s.live[id] = seq
	}
	if seq == nil {
		s.mu.Unlock()
		return Errorf(InvalidArg, "inference request for sequence %s to model '%s' must specify the START flag on the first request of the sequence", id, s.model.Name)
	}
	r.sequence = seq
	seq.used = time.Now()
	if r.SequenceEnd && s.live[id] == seq {
		delete(s.live, id)
	}
	waits := seq.busy
	if waits {
		r.queued = time.Now()
		seq.backlog = append(seq.backlog, r)
	}
	seq.busy = true
	s.mu.Unlock()
	if waits {
		return nil
	}
	if err := s.model.scheduler.enqueue(r); err != nil {
		r.sequence = nil
		s.finished(seq)
		return err
	}
	return nil
}

// finished lets the sequence's next request go.
func (s *sequences) finished(seq *sequence) {
	s.mu.Lock()
	seq.busy = len(seq.backlog) > 0
	var next *Request
	if seq.busy {
		next = seq.backlog[0]
		seq.backlog = seq.backlog[1:]
	}
	s.mu.Unlock()
	if next == nil {
		return
	}
	if err := s.model.scheduler.enqueue(next); err != nil {
		next.respond(Response{Err: err, Final: true})
	}
}

func (s *sequences) takesText() bool {
	for _, in := range s.model.Config.GetSequenceBatching().ControlInput {
		for _, c := range in.Control {
			if c.Kind == inferencepb.ModelSequenceBatching_Control_CONTROL_SEQUENCE_CORRID {
				return c.DataType == inferencepb.DataType_TYPE_STRING
			}
		}
	}
	return false
}

// sequenceSum answers with the sum of the sequence's inputs so far.
func sequenceSum(i *instance, r *Request) outcome {
	if r.sequence == nil {
		return outcome{err: Errorf(Internal, "model '%s' needs sequence_batching", i.model.Name), raised: true}
	}
	in := &r.Inputs[0]
	if len(in.Data) < 4 {
		return outcome{err: Errorf(InvalidArg, "model '%s' sums INT32 values", i.model.Name), raised: true}
	}
	r.sequence.sum += int32(binary.LittleEndian.Uint32(in.Data))
	out := i.model.Config.Output[0]
	return outcome{outputs: []tensor.Tensor{{Name: out.Name, Type: in.Type, Shape: in.Shape, Data: le32(uint32(r.sequence.sum))}}}
}
