package triton

import (
	"math"
	"slices"
)

// RequestSpec is a model's request, checked against its metadata and
// configuration. It is immutable and shared by all senders.
type RequestSpec struct {
	model, version string
	batching       bool
	batch          int
	inputs         []input
	outputs        map[string]Datatype
	asked          []string
	parameters     []parameter

	mode         DataMode
	seed         uint64
	stringLength int
	file         *inputFile
	expected     []expectation // of the answers, to validate them
	// forms are the distinct combinations of shapes and sizes. Request n takes
	// the data of variant n modulo len(variants), whose value is its form.
	// Only data from a file has more than one variant.
	forms    []form
	variants []int

	decoupled bool
	cached    bool
	// streamSwitch tells that the endpoint decides on the input streamInput.
	streamSwitch bool
	sequence     *sequencePlan
	notes        []string
}

// input is a tensor that every request carries. Its dims have no batch
// dimension; those it lists as assumed were -1 and set by nobody.
type input struct {
	name        string
	datatype    Datatype
	pattern     []int64
	dims        []int64
	assumed     []int
	shapeTensor bool
}

// form is a request's shapes (with batch) and sizes, per input.
type form struct {
	shapes [][]int64
	bytes  []int
	total  int
}

// maxTensorBytes is the protocol's limit of a gRPC message, and far above the
// 64 MiB that Triton's HTTP endpoint accepts by default.
const maxTensorBytes = math.MaxInt32

// BuildRequest makes a model's request from what the server says of it. With
// zero options, every required input is sent, variable dimensions are 1, the
// batch is 1 and the data random. An impossible combination gives a
// *RequestError, unreadable input data an *InputDataError.
func BuildRequest(meta ModelMetadata, cfg ModelConfig, opts RequestOptions) (*RequestSpec, error) {
	b := &builder{opts: opts, inputs: requestInputs(meta, cfg)}
	b.spec = &RequestSpec{
		model: meta.Name, version: opts.Version,
		batching: cfg.MaxBatchSize > 0, batch: max(opts.BatchSize, 1),
		outputs: requestOutputs(meta, cfg),
		mode:    opts.Data, seed: opts.Seed, stringLength: opts.StringLength,
		decoupled: cfg.ModelTransactionPolicy.Decoupled, cached: cfg.ResponseCache.Enable,
	}
	if b.spec.model == "" {
		b.spec.model = cfg.Name
	}
	for _, step := range []func() error{
		func() error { return b.checkBatch(cfg) },
		b.checkOutputs,
		b.setParameters,
		func() error { return b.setSequence(cfg) },
		b.readFile,
		b.setExpectations,
		b.chooseInputs,
		b.setVariants,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.spec, nil
}

// requestInputs takes the inputs of the configuration, which knows more, or of
// the metadata where the configuration lists none.
func requestInputs(meta ModelMetadata, cfg ModelConfig) []InputConfig {
	if len(cfg.Input) > 0 {
		return cfg.Input
	}
	inputs := make([]InputConfig, 0, len(meta.Inputs))
	for _, in := range meta.Inputs {
		dims := in.Shape
		if cfg.MaxBatchSize > 0 && len(dims) > 0 {
			dims = dims[1:]
		}
		inputs = append(inputs, InputConfig{Name: in.Name, DataType: in.Datatype, Dims: dims})
	}
	return inputs
}

func requestOutputs(meta ModelMetadata, cfg ModelConfig) map[string]Datatype {
	outputs := map[string]Datatype{}
	for _, out := range meta.Outputs {
		outputs[out.Name] = out.Datatype
	}
	for _, out := range cfg.Output {
		outputs[out.Name] = out.DataType
	}
	return outputs
}

// Model is the model's name.
func (s *RequestSpec) Model() string { return s.model }

// BatchSize is the number of inferences that one request asks for.
func (s *RequestSpec) BatchSize() int { return s.batch }

// Decoupled tells that the model may send any number of responses to a
// request, which only gRPC streams carry.
func (s *RequestSpec) Decoupled() bool { return s.decoupled }

// Cached tells that the model's responses may come from the server's cache.
func (s *RequestSpec) Cached() bool { return s.cached }

// Sequential tells that requests form sequences, see RequestOptions.
func (s *RequestSpec) Sequential() bool { return s.sequence != nil }

// Tensors are the inputs of the first request, with the batch dimension.
func (s *RequestSpec) Tensors() []Tensor {
	tensors := make([]Tensor, len(s.inputs))
	for i, in := range s.inputs {
		tensors[i] = Tensor{Name: in.name, Datatype: in.datatype, Shape: slices.Clone(s.form(0).shapes[i])}
	}
	return tensors
}

// BytesPerRequest is the size of a request's tensors in bytes as binary data,
// without protocol overhead; the average where requests differ.
func (s *RequestSpec) BytesPerRequest() int {
	sum := 0
	for _, f := range s.variants {
		sum += s.forms[f].total
	}
	return (sum + len(s.variants)/2) / len(s.variants)
}

func (s *RequestSpec) form(variant int) *form { return &s.forms[s.variants[variant]] }

// Notes are sentences on what was assumed, for the reader of a result.
func (s *RequestSpec) Notes() []string { return slices.Clone(s.notes) }
