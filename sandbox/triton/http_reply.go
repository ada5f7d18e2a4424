package triton

import (
	"strconv"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

// encodeResponse is the body of a successful infer reply: JSON, then the
// binary outputs.
func encodeResponse(r *core.Request, answer core.Response, options outputOptions) ([]wire.Header, []byte, *core.Error) {
	body := make([]byte, 0, 512)
	body = append(body, '{')
	if r.ID != "" {
		body = append(body, `"id":`...)
		body = rapidjson.AppendString(body, r.ID)
		body = append(body, ',')
	}
	body = append(body, `"model_name":`...)
	body = rapidjson.AppendString(body, r.Model.Name)
	body = append(body, `,"model_version":"`...)
	body = strconv.AppendInt(body, r.Model.Version, 10)
	body = append(body, '"')
	if len(answer.Parameters) > 0 {
		body = append(body, `,"parameters":{`...)
		for i, p := range answer.Parameters {
			if i > 0 {
				body = append(body, ',')
			}
			body = rapidjson.AppendString(body, p.Name)
			body = append(body, ':')
			body = appendParameter(body, p.Value)
		}
		body = append(body, '}')
	}
	body = append(body, `,"outputs":[`...)
	var binary [][]byte
	for i, out := range answer.Outputs {
		option := options.of(out.Name)
		if option.classes > 0 {
			out = core.Classify(r.Model, out, option.classes)
		}
		if i > 0 {
			body = append(body, ',')
		}
		var err *core.Error
		if body, err = appendOutput(body, out, option.binary); err != nil {
			return nil, nil, err
		}
		if option.binary {
			binary = append(binary, out.Data)
		}
	}
	body = append(body, "]}"...)
	if len(binary) == 0 {
		return []wire.Header{jsonType()}, body, nil
	}
	headers := []wire.Header{
		{Name: "Content-Type", Value: "application/octet-stream"},
		{Name: inferHeaderLength, Value: strconv.Itoa(len(body))},
	}
	for _, data := range binary {
		body = append(body, data...)
	}
	return headers, body, nil
}

func appendOutput(body []byte, out tensor.Tensor, binary bool) ([]byte, *core.Error) {
	body = append(body, `{"name":`...)
	body = rapidjson.AppendString(body, out.Name)
	body = append(body, `,"datatype":"`...)
	body = append(body, out.Type.String()...)
	body = append(body, `","shape":`...)
	body = tensor.AppendShape(body, out.Shape)
	if binary {
		body = append(body, `,"parameters":{"binary_data_size":`...)
		body = strconv.AppendInt(body, int64(len(out.Data)), 10)
		return append(body, "}}"...), nil
	}
	if out.Type == tensor.FP16 || out.Type == tensor.BF16 {
		return nil, core.Errorf(core.InvalidArg, "sending %s data via JSON is not supported. Please use the binary data format for output", out.Type)
	}
	body = append(body, `,"data":[`...)
	body, ok := tensor.AppendJSON(body, out.Type, out.Data, tensor.Elements(out.Shape))
	if !ok {
		return nil, core.Errorf(core.Internal, "output tensor shape does not match size of output for '%s'", out.Name)
	}
	return append(body, "]}"...), nil
}

func appendParameter(body []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return rapidjson.AppendString(body, v)
	case int64:
		return strconv.AppendInt(body, v, 10)
	case bool:
		return strconv.AppendBool(body, v)
	case float64:
		return rapidjson.AppendFloat(body, v)
	}
	return append(body, "null"...)
}
