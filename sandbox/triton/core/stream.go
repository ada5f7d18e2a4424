package core

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// streamFunc runs one request of a decoupled model: any number of responses,
// then the final one. It occupies the instance until it returns.
type streamFunc func(i *instance, sim *modelconfig.Sim, r *Request)

// repeat sends every element of IN after its DELAY in ms. Its instance is free
// after WAIT ms, while a goroutine goes on with the responses.
func repeat(i *instance, sim *modelconfig.Sim, r *Request) {
	begin := time.Now()
	values, delays, wait := uint32s(r, "IN"), uint32s(r, "DELAY"), uint32s(r, "WAIT")
	r.Timing.ExecutionBatch = 1
	i.model.emitting.Go(func() {
		for k, value := range values {
			if k < len(delays) {
				time.Sleep(time.Duration(delays[k]) * time.Millisecond)
			}
			r.respond(Response{Outputs: r.keep(
				tensor.Tensor{Name: "OUT", Type: tensor.Int32, Shape: []int64{1}, Data: le32(value)},
				tensor.Tensor{Name: "IDX", Type: tensor.Uint32, Shape: []int64{1}, Data: le32(uint32(k))},
			)})
		}
		r.respond(Response{Final: true})
	})
	if len(wait) > 0 {
		i.rest(time.Duration(wait[0]) * time.Millisecond)
	}
	i.until(sim, begin, sim.ServiceTime.Sample(1, i.rng))
	timing := Timing{Queue: begin.Sub(r.queued), ComputeInfer: time.Since(begin), ExecutionBatch: 1}
	// The goroutine may have answered already: the request isn't ours any more.
	counted := &Request{Model: r.Model, Arrived: r.Arrived, BatchSize: 1, Timing: timing, Inputs: r.Inputs}
	i.model.countExecution(i.reporter, []*Request{counted}, []bool{false}, 1, 0, timing.ComputeInfer, 0)
}

// square sends its input as many times as the input says. Its backend reports
// only response statistics.
func square(i *instance, sim *modelconfig.Sim, r *Request) {
	values := uint32s(r, "IN")
	begin := time.Now()
	if len(values) > 0 {
		for k := range int(values[0]) {
			i.device.begin()
			i.until(sim, time.Now(), sim.ServiceTime.Sample(1, i.rng))
			i.device.end()
			inferred := time.Now()
			r.respond(Response{Outputs: r.keep(tensor.Tensor{Name: "OUT", Type: tensor.Int32, Shape: []int64{1}, Data: le32(values[0])})})
			i.model.countResponse(k, inferred.Sub(begin), time.Since(inferred), false)
			begin = time.Now()
		}
	}
	r.Timing.ComputeInfer = time.Since(r.queued) - r.Timing.Queue
	r.Timing.ExecutionBatch = 1
	r.respond(Response{Final: true})
}

// words sends the words of text_input one by one, as a language model its
// tokens, or all at once if the input stream is false. A request that is to fail
// does so after half of them.
func words(i *instance, sim *modelconfig.Sim, r *Request) {
	begin := time.Now()
	finish := func(last Response, raised bool) {
		r.Timing.ComputeInfer = time.Since(begin)
		r.Timing.ExecutionBatch = 1
		i.model.countExecution(i.reporter, []*Request{r}, []bool{raised}, 1, 0, r.Timing.ComputeInfer, 0)
		r.respond(last)
	}
	text, ok := r.Input("text_input")
	if !ok {
		finish(Response{Err: i.traceback("AttributeError: 'NoneType' object has no attribute 'as_numpy'", 8), Final: true}, true)
		return
	}
	elements, _ := tensor.SplitElements(text.Data)
	var list []string
	if len(elements) > 0 {
		list = strings.Fields(string(elements[0]))
	}
	if limit := uint32s(r, "max_tokens"); len(limit) > 0 && int(limit[0]) < len(list) {
		list = list[:limit[0]]
	}
	if stream, ok := r.Input("stream"); ok && len(stream.Data) > 0 && stream.Data[0] == 0 {
		list = []string{strings.Join(list, " ")}
	}
	fails := sim.Failures.Ratio > 0 && i.failing.Float64() < sim.Failures.Ratio
	for k, word := range list {
		if r.cancelled.Load() {
			break
		}
		if fails && k == len(list)/2 {
			failure := i.injected(sim)
			finish(Response{Err: failure.err, Final: true}, failure.raised)
			return
		}
		i.device.begin()
		i.until(sim, time.Now(), sim.ServiceTime.Sample(1, i.rng))
		i.device.end()
		r.respond(Response{Outputs: r.keep(tensor.Tensor{
			Name: "text_output", Type: tensor.Bytes, Shape: []int64{1}, Data: tensor.AppendElement(nil, word),
		})})
	}
	finish(Response{Final: true}, false)
}

func (r *Request) keep(outputs ...tensor.Tensor) []tensor.Tensor {
	kept := outputs[:0]
	for _, out := range outputs {
		if r.wants(out.Name) {
			kept = append(kept, out)
		}
	}
	return kept
}

func uint32s(r *Request, input string) []uint32 {
	in, ok := r.Input(input)
	if !ok {
		return nil
	}
	values := make([]uint32, len(in.Data)/4)
	for k := range values {
		values[k] = binary.LittleEndian.Uint32(in.Data[4*k:])
	}
	return values
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
