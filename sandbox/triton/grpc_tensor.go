package triton

import (
	"encoding/binary"
	"math"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// prepare turns a gRPC request into an inference request.
func (g *grpcAPI) prepare(r *core.Request, in *inferencepb.ModelInferRequest) (outputOptions, *core.Error) {
	options := outputOptions{binaryDefault: true, outputs: map[string]outputOption{}}
	m, err := g.core.Find(in.ModelName, in.ModelVersion)
	if err != nil {
		return options, err
	}
	r.Model = m
	if err := grpcParameters(r, in.Parameters); err != nil {
		return options, err
	}
	raw := in.RawInputContents
	for _, t := range in.Inputs {
		converted := tensor.Tensor{Name: t.Name, Type: tensor.ParseDataType(t.Datatype), Shape: t.Shape}
		if t.Datatype == "" { // the model's own, if the client says nothing
			for _, want := range m.Config.Input {
				if want.Name == t.Name {
					converted.Type = tensor.FromConfig(want.DataType)
				}
			}
		}
		if region, ok := t.Parameters["shared_memory_region"]; ok {
			return options, core.Errorf(core.NotFound, "Unable to find shared memory region: '%s'", region.GetStringParam())
		}
		switch {
		case len(in.RawInputContents) == 0:
			if converted.Data, err = explicitContents(m, t, converted.Type); err != nil {
				return options, err
			}
		case t.Contents != nil:
			return options, core.Errorf(core.InvalidArg, "contents field must not be specified when using raw_input_contents for '%s' for model '%s'", t.Name, m.Name)
		case len(raw) == 0:
			return options, core.Errorf(core.InvalidArg, "expected tensor data for input tensor '%s' for model '%s'", t.Name, m.Name)
		default:
			converted.Data, raw = raw[0], raw[1:]
		}
		if _, twice := r.Input(t.Name); twice {
			return options, core.Errorf(core.InvalidArg, "[request id: %s] input '%s' already exists in request", requestID(r), t.Name)
		}
		r.Inputs = append(r.Inputs, converted)
	}
	for _, out := range in.Outputs {
		r.Requested = append(r.Requested, out.Name)
		options.outputs[out.Name] = outputOption{binary: true, classes: int(out.Parameters["classification"].GetInt64Param())}
	}
	return options, nil
}

func grpcParameters(r *core.Request, parameters map[string]*inferencepb.InferParameter) *core.Error {
	number := func(name string, p *inferencepb.InferParameter, into *uint64) *core.Error {
		switch v := p.ParameterChoice.(type) {
		case *inferencepb.InferParameter_Int64Param:
			*into = uint64(v.Int64Param)
		case *inferencepb.InferParameter_Uint64Param:
			*into = v.Uint64Param
		default:
			return core.Errorf(core.InvalidArg, "invalid value type for '%s' parameter, expected int64_param or uint64_param.", name)
		}
		return nil
	}
	boolean := func(name string, p *inferencepb.InferParameter, into *bool) *core.Error {
		v, ok := p.ParameterChoice.(*inferencepb.InferParameter_BoolParam)
		if !ok {
			return core.Errorf(core.InvalidArg, "invalid value type for '%s' parameter, expected bool_param.", name)
		}
		*into = v.BoolParam
		return nil
	}
	for name, p := range parameters {
		var err *core.Error
		switch name {
		case "priority":
			err = number(name, p, &r.Priority)
		case "timeout":
			err = number(name, p, &r.TimeoutMicros)
		case "sequence_id":
			if v, ok := p.ParameterChoice.(*inferencepb.InferParameter_StringParam); ok {
				r.SequenceText = v.StringParam
			} else if err = number(name, p, &r.SequenceID); err != nil {
				err = core.Errorf(core.InvalidArg, "invalid value type for 'sequence_id' parameter, expected int64_param or string_param.")
			}
		case "sequence_start":
			err = boolean(name, p, &r.SequenceStart)
		case "sequence_end":
			err = boolean(name, p, &r.SequenceEnd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// explicitContents reads the typed fields of an input.
func explicitContents(m *core.Model, in *inferencepb.ModelInferRequest_InferInputTensor, dtype tensor.DataType) ([]byte, *core.Error) {
	c := in.Contents
	var data []byte
	var failed *core.Error
	use := func(elements int, kind tensor.DataType, allowed bool) bool {
		if elements == 0 || failed != nil {
			return false
		}
		if !allowed {
			failed = core.Errorf(core.InvalidArg, "unexpected explicit tensor data for input tensor '%s' for model '%s' of type '%s', expected datatype '%s'", in.Name, m.Name, kind, dtype)
			return false
		}
		return true
	}
	le := binary.LittleEndian
	if list := c.GetBoolContents(); use(len(list), tensor.Bool, dtype == tensor.Bool) {
		for _, v := range list {
			if v {
				data = append(data, 1)
			} else {
				data = append(data, 0)
			}
		}
	}
	if list := c.GetIntContents(); use(len(list), tensor.Int32, dtype == tensor.Int8 || dtype == tensor.Int16 || dtype == tensor.Int32) {
		for _, v := range list {
			data = appendInteger(data, uint64(v), dtype.Size())
		}
	}
	if list := c.GetUintContents(); use(len(list), tensor.Uint32, dtype == tensor.Uint8 || dtype == tensor.Uint16 || dtype == tensor.Uint32) {
		for _, v := range list {
			data = appendInteger(data, uint64(v), dtype.Size())
		}
	}
	if list := c.GetInt64Contents(); use(len(list), tensor.Int64, dtype == tensor.Int64) {
		for _, v := range list {
			data = appendInteger(data, uint64(v), 8)
		}
	}
	if list := c.GetUint64Contents(); use(len(list), tensor.Uint64, dtype == tensor.Uint64) {
		for _, v := range list {
			data = appendInteger(data, v, 8)
		}
	}
	if list := c.GetFp32Contents(); use(len(list), tensor.FP32, dtype == tensor.FP32) {
		for _, v := range list {
			data = le.AppendUint32(data, math.Float32bits(v))
		}
	}
	if list := c.GetFp64Contents(); use(len(list), tensor.FP64, dtype == tensor.FP64) {
		for _, v := range list {
			data = le.AppendUint64(data, math.Float64bits(v))
		}
	}
	if list := c.GetBytesContents(); use(len(list), tensor.Bytes, dtype == tensor.Bytes) {
		for _, v := range list {
			data = tensor.AppendElement(data, v)
		}
	}
	return data, failed
}

func appendInteger(data []byte, v uint64, size int) []byte {
	for range size {
		data = append(data, byte(v))
		v >>= 8
	}
	return data
}

func encodeInfer(r *core.Request, answer core.Response, options outputOptions) *inferencepb.ModelInferResponse {
	out := &inferencepb.ModelInferResponse{ModelName: r.Model.Name, ModelVersion: versionText(r.Model), Id: r.ID}
	for _, p := range answer.Parameters {
		if out.Parameters == nil {
			out.Parameters = make(map[string]*inferencepb.InferParameter, len(answer.Parameters))
		}
		out.Parameters[p.Name] = grpcParameter(p.Value)
	}
	for _, t := range answer.Outputs {
		if classes := options.of(t.Name).classes; classes > 0 {
			t = core.Classify(r.Model, t, classes)
		}
		out.Outputs = append(out.Outputs, &inferencepb.ModelInferResponse_InferOutputTensor{Name: t.Name, Datatype: t.Type.String(), Shape: t.Shape})
		out.RawOutputContents = append(out.RawOutputContents, t.Data)
	}
	return out
}

func grpcParameter(value any) *inferencepb.InferParameter {
	switch v := value.(type) {
	case string:
		return &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_StringParam{StringParam: v}}
	case int64:
		return &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_Int64Param{Int64Param: v}}
	case bool:
		return &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_BoolParam{BoolParam: v}}
	case float64:
		return &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_DoubleParam{DoubleParam: v}}
	}
	return &inferencepb.InferParameter{}
}
