package core

import (
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// ensemble runs one request through the steps of its model: each step begins
// as soon as its inputs are there.
type ensemble struct {
	server  *Server
	model   *Model
	request *Request
	steps   []*inferencepb.ModelEnsembling_Step

	mu      sync.Mutex
	tensors map[string]tensor.Tensor
	started []bool
	open    int
	err     *Error
	sums    Timing
}

func (s *Server) runEnsemble(r *Request) {
	r.queued = time.Now()
	e := &ensemble{
		server: s, model: r.Model, request: r,
		steps:   r.Model.Config.GetEnsembleScheduling().Step,
		tensors: map[string]tensor.Tensor{},
	}
	e.started = make([]bool, len(e.steps))
	for _, in := range r.Inputs {
		e.tensors[in.Name] = in
	}
	r.Timing.Queue = time.Since(r.queued)
	e.advance()
}

// advance starts the steps that are ready, and finishes if nothing is left.
func (e *ensemble) advance() {
	e.mu.Lock()
	var ready []int
	if e.err == nil {
		for i, step := range e.steps {
			if !e.started[i] && e.has(step) {
				e.started[i] = true
				ready = append(ready, i)
			}
		}
	}
	e.open += len(ready)
	done := e.open == 0
	e.mu.Unlock()
	for _, i := range ready {
		e.start(e.steps[i])
	}
	if done {
		e.finish()
	}
}

func (e *ensemble) has(step *inferencepb.ModelEnsembling_Step) bool {
	for _, name := range step.InputMap {
		if _, ok := e.tensors[name]; !ok {
			return false
		}
	}
	return true
}

func (e *ensemble) start(step *inferencepb.ModelEnsembling_Step) {
	sub := &Request{ID: e.request.ID, Arrived: time.Now(), Priority: e.request.Priority, TimeoutMicros: e.request.TimeoutMicros}
	e.mu.Lock()
	for to, from := range step.InputMap {
		in := e.tensors[from]
		in.Name = to
		sub.Inputs = append(sub.Inputs, in)
	}
	e.mu.Unlock()
	sub.Respond = func(response Response) { e.stepDone(step, sub, response) }
	version := ""
	if step.ModelVersion > 0 {
		version = formatVersion(step.ModelVersion)
	}
	m, err := e.server.Find(step.ModelName, version)
	if err == nil {
		sub.Model = m
		err = e.server.Infer(sub)
	}
	if err != nil {
		e.stepDone(step, sub, Response{Err: err, Final: true})
	}
}

func (e *ensemble) stepDone(step *inferencepb.ModelEnsembling_Step, sub *Request, response Response) {
	e.mu.Lock()
	if response.Err != nil && e.err == nil {
		e.err = Errorf(response.Err.Code, "in ensemble '%s', %s", e.model.Name, response.Err.Message)
	}
	for _, out := range response.Outputs {
		if name, ok := step.OutputMap[out.Name]; ok {
			out.Name = name
			e.tensors[name] = out
		}
	}
	if response.Final {
		e.open--
		e.sums.ComputeInput += sub.Timing.ComputeInput
		e.sums.ComputeInfer += sub.Timing.ComputeInfer
		e.sums.ComputeOutput += sub.Timing.ComputeOutput
	}
	e.mu.Unlock()
	if response.Final {
		e.advance()
	}
}

func (e *ensemble) finish() {
	r := e.request
	queue := r.Timing.Queue
	r.Timing = e.sums
	r.Timing.Queue = queue
	r.Timing.ExecutionBatch = r.BatchSize
	var outputs []tensor.Tensor
	if e.err == nil {
		for _, out := range e.model.Config.Output {
			t, ok := e.tensors[out.Name]
			switch {
			case ok && r.wants(out.Name):
				outputs = append(outputs, t)
			case !ok && e.err == nil:
				e.err = Errorf(InvalidArg, "in ensemble '%s', unexpected deadlock, at least one output is not set while no more ensemble steps can be made", e.model.Name)
			}
		}
	}
	if e.err != nil {
		e.model.countUnexecuted(r, reasonOther)
		r.respond(Response{Err: e.err, Final: true})
		return
	}
	e.model.countExecution(e.model.reporter, []*Request{r}, []bool{false}, r.BatchSize, r.Timing.ComputeInput, r.Timing.ComputeInfer, r.Timing.ComputeOutput)
	r.respond(Response{Outputs: outputs, Final: true, Parameters: []Parameter{
		{"sequence_id", int64(0)}, {"sequence_start", false}, {"sequence_end", false},
	}})
}
