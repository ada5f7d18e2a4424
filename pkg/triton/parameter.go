package triton

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// parameter is a request parameter in both protocols' forms.
type parameter struct {
	name string
	json []byte
	grpc *inferencepb.InferParameter
}

// reservedParameters are set by this package itself.
var reservedParameters = []string{"sequence_id", "sequence_start", "sequence_end", "binary_data_output"}

func (b *builder) setParameters() error {
	for _, name := range slices.Sorted(maps.Keys(b.opts.Parameters)) {
		if slices.Contains(reservedParameters, name) {
			return b.refuse("", "leave it out", "parameter %q is set by the sender itself", name)
		}
		if strings.HasPrefix(name, "triton_") {
			return b.refuse("", "rename it", "parameter %q begins with triton_, which the server keeps to itself", name)
		}
		p := parameter{name: name}
		switch v := b.opts.Parameters[name].(type) {
		case bool:
			p.grpc = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_BoolParam{BoolParam: v}}
		case int:
			p.grpc = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_Int64Param{Int64Param: int64(v)}}
		case int64:
			p.grpc = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_Int64Param{Int64Param: v}}
		case string:
			p.grpc = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_StringParam{StringParam: v}}
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return b.refuse("", "use a finite number", "parameter %q is %v", name, v)
			}
			p.grpc = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_DoubleParam{DoubleParam: v}}
		default:
			return b.refuse("", "use a boolean, a number or a string", "parameter %q is a %T", name, v)
		}
		text, err := json.Marshal(b.opts.Parameters[name])
		if err != nil {
			return b.refuse("", "", "parameter %q can't be written as JSON: %v", name, err)
		}
		p.json = text
		b.spec.parameters = append(b.spec.parameters, p)
	}
	return nil
}
