package core

import (
	"fmt"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// validate checks a request against the model's configuration, as Triton does
// before it schedules one, and fills in BatchSize and the shape key.
func (m *Model) validate(r *Request) *Error {
	if r.Raw {
		if err := m.shapeRaw(r); err != nil {
			return err
		}
	}
	for _, name := range r.Requested {
		if m.output(name) == nil {
			return Errorf(InvalidArg, "unexpected inference output '%s' for model '%s'", name, m.Name)
		}
	}
	if err := m.countInputs(r); err != nil {
		return err
	}
	for i := range r.Inputs {
		if m.input(r.Inputs[i].Name) == nil {
			return Errorf(InvalidArg, "unexpected inference input '%s' for model '%s'", r.Inputs[i].Name, m.Name)
		}
	}
	if err := m.batchOf(r); err != nil {
		return err
	}
	for i := range r.Inputs {
		if err := m.checkInput(r, &r.Inputs[i]); err != nil {
			return err
		}
	}
	if m.batches() {
		r.shapeKey = m.shapesOf(r)
	}
	return nil
}

func (m *Model) countInputs(r *Request) *Error {
	required := 0
	for _, in := range m.Config.Input {
		if !in.Optional {
			required++
		}
	}
	all := len(m.Config.Input)
	if n := len(r.Inputs); n >= required && n <= all {
		return nil
	}
	expected := fmt.Sprint(all)
	if required != all {
		expected = fmt.Sprintf("number of inputs between %d and %d", required, all)
	} else {
		expected += " inputs"
	}
	return r.errorf(InvalidArg, "expected %s but got %d inputs for model '%s'. Got input(s) [%s], but missing required input(s) %s. Please provide all required input(s).",
		expected, len(r.Inputs), m.Name, names(r), m.missing(r))
}

func names(r *Request) string {
	list := make([]string, len(r.Inputs))
	for i := range r.Inputs {
		// The server keeps them in a hash map that iterates backwards.
		list[len(list)-1-i] = "'" + r.Inputs[i].Name + "'"
	}
	return strings.Join(list, ",")
}

func (m *Model) missing(r *Request) string {
	var list []string
	for _, in := range m.Config.Input {
		if _, ok := r.Input(in.Name); !ok && !in.Optional {
			list = append(list, "'"+in.Name+"'")
		}
	}
	if len(list) == 0 {
		return "]" // the real server drops the opening bracket
	}
	return "[" + strings.Join(list, ",") + "]"
}

func (m *Model) batchOf(r *Request) *Error {
	r.BatchSize = 1
	limit := int64(m.Config.MaxBatchSize)
	if limit == 0 {
		return nil
	}
	batch := int64(-1)
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if m.input(in.Name).IsShapeTensor {
			continue
		}
		if len(in.Shape) == 0 {
			return r.errorf(InvalidArg, "input '%s' has no shape but model requires batch dimension for '%s'", in.Name, m.Name)
		}
		if batch < 0 {
			batch = in.Shape[0]
		} else if in.Shape[0] != batch {
			return r.errorf(InvalidArg, "input '%s' batch size does not match other inputs for '%s'", in.Name, m.Name)
		}
	}
	if batch > limit {
		return r.errorf(InvalidArg, "inference request batch-size must be <= %d for '%s'", limit, m.Name)
	}
	r.BatchSize = int(max(1, batch))
	return nil
}

func (m *Model) checkInput(r *Request, in *tensor.Tensor) *Error {
	want := m.input(in.Name)
	if dtype := tensor.FromConfig(want.DataType); in.Type != dtype {
		return r.errorf(InvalidArg, "inference input '%s' data-type is '%s', but model '%s' expects '%s'", in.Name, in.Type, m.Name, dtype)
	}
	shape := in.Shape
	batched := m.Config.MaxBatchSize > 0 && !want.IsShapeTensor
	if batched {
		shape = shape[1:]
	}
	if !fits(shape, want.Dims) {
		expected := want.Dims
		note := ""
		if batched {
			expected = append([]int64{-1}, expected...)
			note = ". NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each input shape." +
				" If you want to specify the full shape including the batch dim in your input dims config, try setting max_batch_size to zero." +
				" See the model configuration docs for more info on max_batch_size."
		}
		return r.errorf(InvalidArg, "unexpected shape for input '%s' for model '%s'. Expected %s, got %s%s",
			in.Name, m.Name, tensor.AppendShape(nil, expected), tensor.AppendShape(nil, in.Shape), note)
	}
	elements := tensor.Elements(shape)
	if batched {
		elements *= int64(r.BatchSize)
	}
	if in.Type == tensor.Bytes {
		if got := tensor.CountElements(in.Data); got != elements {
			return r.errorf(InvalidArg, "expected %d string elements for inference input '%s' for model '%s', got %d", elements, in.Name, m.Name, got)
		}
		return nil
	}
	if expected := elements * int64(in.Type.Size()); int64(len(in.Data)) != expected {
		return m.sizeMismatch(r, in.Name, expected, len(in.Data))
	}
	return nil
}

func (m *Model) sizeMismatch(r *Request, input string, expected int64, got int) *Error {
	return r.errorf(InvalidArg, "input byte size mismatch for input '%s' for model '%s'. Expected %d, got %d", input, m.Name, expected, got)
}

func fits(shape, dims []int64) bool {
	if len(shape) != len(dims) {
		return false
	}
	for i, d := range dims {
		if d != -1 && shape[i] != d {
			return false
		}
	}
	return true
}

// shapeRaw gives the only input the shape that its size implies.
func (m *Model) shapeRaw(r *Request) *Error {
	if len(m.Config.Input) != 1 {
		return r.errorf(InvalidArg, "Raw request must only have 1 input (found %d) to be deduced but got %d inputs in '%s' model configuration", len(r.Inputs), len(m.Config.Input), m.Name)
	}
	in := &r.Inputs[0]
	want := m.Config.Input[0]
	dtype := tensor.FromConfig(want.DataType)
	shape := append([]int64(nil), want.Dims...)
	variable, fixed := -1, int64(1)
	for i, d := range shape {
		switch {
		case d != -1:
			fixed *= d
		case dtype == tensor.Bytes:
		case variable >= 0:
			return r.errorf(InvalidArg, "The shape of the raw input '%s' can not be deduced because there are more than one variable-sized dimension", want.Name)
		default:
			variable = i
		}
	}
	if dtype == tensor.Bytes {
		if len(shape) != 1 || shape[0] != 1 {
			return r.errorf(InvalidArg, "For BYTE datatype raw input '%s', the model must have input shape [1]", want.Name)
		}
		in.Data = tensor.AppendElement(nil, in.Data)
	} else {
		size := fixed * int64(dtype.Size())
		if variable >= 0 {
			shape[variable] = int64(len(in.Data)) / size
			size *= shape[variable]
		}
		if int64(len(in.Data)) != size {
			return m.sizeMismatch(r, "raw_input", size, len(in.Data))
		}
	}
	if m.Config.MaxBatchSize > 0 {
		shape = append([]int64{1}, shape...)
	}
	in.Name, in.Type, in.Shape = want.Name, dtype, shape
	return nil
}

// shapesOf is equal for requests that may share a batch.
func (m *Model) shapesOf(r *Request) string {
	var key []byte
	for i, want := range m.Config.Input {
		in, ok := r.Input(want.Name)
		if !ok {
			key = append(key, byte('0'+i%10), '!') // an absent optional input
			continue
		}
		if want.AllowRaggedBatch {
			continue
		}
		fixed := true
		for _, d := range want.Dims {
			fixed = fixed && d != -1
		}
		if !fixed {
			key = tensor.AppendShape(key, in.Shape[1:])
		}
		if want.IsShapeTensor {
			key = append(key, in.Data...)
		}
	}
	return string(key)
}

func (m *Model) input(name string) *inferencepb.ModelInput {
	for _, in := range m.Config.Input {
		if in.Name == name {
			return in
		}
	}
	return nil
}

func (m *Model) output(name string) *inferencepb.ModelOutput {
	for _, out := range m.Config.Output {
		if out.Name == name {
			return out
		}
	}
	return nil
}
