package triton

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/h2"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// grpcRequest encodes the messages of one sender's requests. What is the same
// for all of a form is encoded once; of each request only the tensors are made,
// in their place, and what tells its sequence is put behind them: the order of a
// message's fields is free.
type grpcRequest struct {
	spec *RequestSpec
	gen  *generator
	// heads are the messages up to the tensors, per form, with room for the
	// prefix before them.
	heads [][]byte

	bytes []byte
	form  int // whose head bytes begins with, -1 at first
	// tensors is where they end, 0 if they must be made anew.
	tensors int
}

// The fields of ModelInferRequest, and of an entry of its map of parameters.
const (
	parametersField       = 4
	rawInputContentsField = 7
	keyField              = 1
	valueField            = 2
	boolParamField        = 1
	int64ParamField       = 2
	stringParamField      = 3
)

// newGRPCRequest fails if a name or a parameter is not UTF-8.
func newGRPCRequest(spec *RequestSpec) (*grpcRequest, error) {
	r := &grpcRequest{spec: spec, gen: newGenerator(spec), form: -1}
	for _, f := range spec.forms {
		message := spec.newMessage()
		for i := range spec.inputs {
			message.Inputs[i].Shape = f.shapes[i]
		}
		head, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(make([]byte, h2.PrefixBytes), message)
		if err != nil {
			return nil, &RequestError{Model: spec.model, Problem: "its request can't be encoded: " + err.Error()}
		}
		r.heads = append(r.heads, head)
	}
	return r, nil
}

// newMessage is a request without shapes and contents.
func (s *RequestSpec) newMessage() *inferencepb.ModelInferRequest {
	m := &inferencepb.ModelInferRequest{ModelName: s.model, ModelVersion: s.version}
	for _, in := range s.inputs {
		m.Inputs = append(m.Inputs, &inferencepb.ModelInferRequest_InferInputTensor{Name: in.name, Datatype: string(in.datatype)})
	}
	for _, name := range s.asked {
		m.Outputs = append(m.Outputs, &inferencepb.ModelInferRequest_InferRequestedOutputTensor{Name: name})
	}
	if len(s.parameters) > 0 || s.sequence != nil || s.decoupled {
		m.Parameters = map[string]*inferencepb.InferParameter{}
	}
	for _, p := range s.parameters {
		m.Parameters[p.name] = p.grpc
	}
	return m
}

// build encodes request seq with its prefix. The result stands until the next.
func (r *grpcRequest) build(seq uint64, variant int, step *sequenceStep) []byte {
	if r.tensors == 0 {
		r.buildTensors(seq, variant)
	}
	end := r.tensors
	r.bytes = r.bytes[:end]
	if step != nil {
		r.bytes = appendSequence(r.bytes, step, r.spec.sequence.textID)
	}
	h2.PutPrefix(r.bytes)
	if r.spec.mode == DataRandom || len(r.spec.variants) > 1 {
		r.tensors = 0
	}
	return r.bytes
}

func (r *grpcRequest) buildTensors(seq uint64, variant int) {
	if form := r.spec.variants[variant]; form != r.form {
		r.form = form
		r.bytes = append(r.bytes[:0], r.heads[form]...)
	}
	r.bytes = r.bytes[:len(r.heads[r.form])]
	r.gen.start(seq)
	sizes := r.spec.form(variant).bytes
	for i := range r.spec.inputs {
		r.bytes = protowire.AppendTag(r.bytes, rawInputContentsField, protowire.BytesType)
		r.bytes = protowire.AppendVarint(r.bytes, uint64(sizes[i]))
		r.bytes = r.gen.append(r.bytes, i, variant)
	}
	r.tensors = len(r.bytes)
}

// appendSequence writes the parameters that tell a request's place in its
// sequence.
func appendSequence(dst []byte, step *sequenceStep, textID bool) []byte {
	if textID {
		dst = appendParameter(dst, "sequence_id", func(dst []byte) []byte {
			return protowire.AppendString(protowire.AppendTag(dst, stringParamField, protowire.BytesType), strconv.FormatUint(step.id, 10))
		})
	} else {
		dst = appendParameter(dst, "sequence_id", func(dst []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(dst, int64ParamField, protowire.VarintType), step.id)
		})
	}
	flag := func(v bool) func([]byte) []byte {
		return func(dst []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(dst, boolParamField, protowire.VarintType), protowire.EncodeBool(v))
		}
	}
	dst = appendParameter(dst, "sequence_start", flag(step.start))
	return appendParameter(dst, "sequence_end", flag(step.end))
}

// appendParameter writes an entry of a map of parameters. Neither it nor its
// value reaches the 128 bytes from which on a length takes more than a byte.
func appendParameter(dst []byte, name string, value func([]byte) []byte) []byte {
	dst = protowire.AppendTag(dst, parametersField, protowire.BytesType)
	entry := len(dst) + 1
	dst = append(dst, 0)
	dst = protowire.AppendString(protowire.AppendTag(dst, keyField, protowire.BytesType), name)
	dst = protowire.AppendTag(dst, valueField, protowire.BytesType)
	content := len(dst) + 1
	dst = value(append(dst, 0))
	dst[content-1] = byte(len(dst) - content)
	dst[entry-1] = byte(len(dst) - entry)
	return dst
}
