package core

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// Request is one inference request on its way through the server.
type Request struct {
	ID      string
	Model   *Model
	Arrived time.Time // when all of it had been received

	Inputs []tensor.Tensor
	// Raw means that Inputs holds one tensor without shape or type: the body.
	Raw       bool
	Requested []string // outputs; all if empty

	Priority      uint64
	TimeoutMicros uint64
	SequenceID    uint64
	SequenceText  string // a correlation ID that is a string
	SequenceStart bool
	SequenceEnd   bool
	Parameters    map[string]any

	// Respond receives the response, or for a decoupled model every response
	// and at last one with Final. It must not block.
	Respond func(Response)

	// BatchSize is known once the request was accepted; 1 for models without batching.
	BatchSize int
	Timing    Timing

	cancelled   atomic.Bool
	queued      time.Time
	shapeKey    string
	cacheKey    cacheKey
	cacheLookup time.Duration
	deadline    time.Time // of the queue policy; zero is none
	sequence    *sequence

	responses     int           // with outputs, so far
	firstResponse time.Duration // of them, after the arrival
}

// Timing is where a request's time went, known when its final response comes.
type Timing struct {
	Queue, ComputeInput, ComputeInfer, ComputeOutput time.Duration
	ExecutionBatch                                   int
}

// Parameter is one named value of a response: string, int64, bool or float64.
type Parameter struct {
	Name  string
	Value any
}

// Response is one answer. Final without Outputs and Err is the empty message
// that ends a decoupled request.
type Response struct {
	Outputs    []tensor.Tensor
	Parameters []Parameter
	Err        *Error
	Final      bool
}

// Cancel gives the request up. One that still waits in a queue is dropped when
// the scheduler comes across it; one that runs is finished.
func (r *Request) Cancel() {
	r.cancelled.Store(true)
	r.Model.cancelled.Store(true)
}

func (r *Request) respond(response Response) {
	m, seq := r.Model, r.sequence
	if len(response.Outputs) > 0 {
		if r.responses++; r.responses == 1 {
			r.firstResponse = time.Since(r.Arrived)
		}
	}
	r.Respond(response)
	if response.Final {
		if seq != nil {
			m.sequences.finished(seq)
		}
		m.leave()
	}
}

// Input returns the input of that name.
func (r *Request) Input(name string) (*tensor.Tensor, bool) {
	for i := range r.Inputs {
		if r.Inputs[i].Name == name {
			return &r.Inputs[i], true
		}
	}
	return nil, false
}

func (r *Request) wants(output string) bool {
	if len(r.Requested) == 0 {
		return true
	}
	for _, name := range r.Requested {
		if name == output {
			return true
		}
	}
	return false
}

func (r *Request) errorf(code Code, format string, args ...any) *Error {
	id := r.ID
	if id == "" {
		id = "<id_unknown>"
	}
	return &Error{Code: code, Message: "[request id: " + id + "] " + fmt.Sprintf(format, args...)}
}
