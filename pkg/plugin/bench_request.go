package plugin

import (
	"strconv"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// The endpoints of Triton that --endpoint chooses from.
const (
	endpointInfer          = "infer"
	endpointGenerate       = "generate"
	endpointGenerateStream = "generate-stream"
)

// validateRequest checks and reads the flags that say what each request is.
func (o *BenchOptions) validateRequest() error {
	switch {
	case o.Endpoint != endpointInfer && o.Protocol == "grpc":
		return usageErrorf("--endpoint %s is HTTP only; leave --protocol grpc out", o.Endpoint)
	case o.Streaming && o.Protocol != "grpc":
		return usageErrorf("--streaming is a gRPC stream; use --protocol grpc, or --endpoint generate-stream over HTTP")
	}
	if o.SequenceLength < 0 {
		return usageErrorf("--sequence-length must be 1 or above")
	}
	if o.CheckAnswers && (o.InputData == "random" || o.InputData == "zero") {
		return usageErrorf("--validate needs an --input-data file with validation_data")
	}
	variation, err := parseRatio(o.SequenceLengthVariation)
	if err != nil {
		return usageErrorf("--sequence-length-variation %w", err)
	}
	shapes, err := parseShapes(o.Shapes)
	if err != nil {
		return err
	}
	parameters, err := parseParameters(o.Parameters)
	if err != nil {
		return err
	}
	o.request = triton.RequestOptions{
		BatchSize: o.BatchSize, Shapes: shapes, Seed: o.Seed, StringLength: o.StringLength, Parameters: parameters, Validate: o.CheckAnswers,
		Generate:       o.Endpoint != endpointInfer,
		SequenceLength: o.SequenceLength, SequenceLengthVariation: variation,
	}
	switch o.InputData {
	case "random":
		o.request.Data = triton.DataRandom
	case "zero":
		o.request.Data = triton.DataZero
	default:
		o.request.Data, o.request.File = triton.DataFile, o.InputData
	}
	return nil
}

// parseShapes reads NAME:d,d,… An input name may itself hold colons.
func parseShapes(flags []string) (map[string][]int64, error) {
	shapes := map[string][]int64{}
	for _, flag := range flags {
		i := strings.LastIndexByte(flag, ':')
		if i <= 0 {
			return nil, usageErrorf("--shape is %q; it must be NAME:d,d,… such as INPUT0:3,224,224", flag)
		}
		name := flag[:i]
		if _, twice := shapes[name]; twice {
			return nil, usageErrorf("--shape names input %s twice", name)
		}
		dims := []int64{}
		for text := range strings.SplitSeq(flag[i+1:], ",") {
			d, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil || d < 0 {
				return nil, usageErrorf("--shape %s: %q is not a dimension; use whole numbers such as %s:3,224,224", flag, text, name)
			}
			dims = append(dims, d)
		}
		shapes[name] = dims
	}
	return shapes, nil
}

// parseParameters reads NAME:VALUE:TYPE; the value may hold colons.
func parseParameters(flags []string) (map[string]any, error) {
	parameters := map[string]any{}
	for _, flag := range flags {
		name, rest, _ := strings.Cut(flag, ":")
		i := strings.LastIndexByte(rest, ':')
		if name == "" || i < 0 {
			return nil, usageErrorf("--request-parameter is %q; it must be NAME:VALUE:TYPE such as max_tokens:256:int", flag)
		}
		if _, twice := parameters[name]; twice {
			return nil, usageErrorf("--request-parameter names %s twice", name)
		}
		text, kind := rest[:i], rest[i+1:]
		var value any
		var err error
		switch kind {
		case "bool":
			value, err = strconv.ParseBool(text)
		case "int":
			value, err = strconv.ParseInt(text, 10, 64)
		case "double":
			value, err = strconv.ParseFloat(text, 64)
		case "string":
			value = text
		default:
			return nil, usageErrorf("--request-parameter %s has the type %q; it can be bool, int, double or string", name, kind)
		}
		if err != nil {
			return nil, usageErrorf("--request-parameter %s: %q is not of type %s", name, text, kind)
		}
		parameters[name] = value
	}
	return parameters, nil
}
