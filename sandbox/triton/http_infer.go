package triton

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

const inferHeaderLength = "Inference-Header-Content-Length"

// outputOptions are what a request asks of its outputs' form.
type outputOptions struct {
	binaryDefault bool
	outputs       map[string]outputOption
}

type outputOption struct {
	binary  bool
	classes int
}

func (o outputOptions) of(name string) outputOption {
	if option, ok := o.outputs[name]; ok {
		return option
	}
	return outputOption{binary: o.binaryDefault}
}

func (h *httpAPI) infer(x *wire.Exchange, name, version string) {
	if !methodIs(x, http.MethodPost, false) {
		return
	}
	r := &core.Request{Arrived: time.Now()}
	finish := func(status core.Code) { h.core.Log.Finish(r, core.HTTP, name, status) }
	options, refused := h.prepare(x, r, name, version)
	if refused != nil {
		finish(refused.err.Code)
		refused.reply(x)
		return
	}
	answers := make(chan core.Response, 1)
	r.Respond = func(response core.Response) { answers <- response }
	if err := h.core.Infer(r); err != nil {
		finish(err.Code)
		replyError(x, err)
		return
	}
	answer := <-answers
	if answer.Err != nil {
		finish(answer.Err.Code)
		replyPlainError(x, answer.Err)
		return
	}
	headers, body, err := encodeResponse(r, answer, options)
	if err != nil {
		finish(err.Code)
		replyPlainError(x, err)
		return
	}
	if encoding := acceptable(x.Header("Accept-Encoding")); encoding != "" {
		body = compress(encoding, body)
		headers = append(headers, wire.Header{Name: "Content-Encoding", Value: encoding})
	}
	finish(core.OK)
	x.Reply(http.StatusOK, headers, body)
}

// refusal is an error before a request was accepted; plain ones come from
// before the server has set a content type.
type refusal struct {
	err     *core.Error
	plain   bool
	headers []wire.Header
}

func (f *refusal) reply(x *wire.Exchange) {
	if f.plain {
		x.Reply(statusOf(f.err.Code), f.headers, errorBody(f.err.Message))
	} else {
		replyError(x, f.err)
	}
}

// prepare turns an HTTP request into an inference request.
func (h *httpAPI) prepare(x *wire.Exchange, r *core.Request, name, version string) (outputOptions, *refusal) {
	options := outputOptions{outputs: map[string]outputOption{}}
	m, err := h.core.Find(name, version)
	if err != nil {
		return options, &refusal{err: err, plain: true}
	}
	r.Model = m
	if m.Decoupled() {
		return options, &refusal{err: core.Errorf(core.Unsupported, "HTTP end point doesn't support models with decoupled transaction policy"), plain: true}
	}
	body, ok := decompress(x.Header("Content-Encoding"), x.Body, h.maxInput)
	if !ok {
		return options, &refusal{
			err: core.Errorf(core.Unsupported, "Unsupported compression type"), plain: true,
			headers: []wire.Header{{Name: "Accept-Encoding", Value: "gzip, deflate"}},
		}
	}
	header, binary := len(body), x.HasHeader(inferHeaderLength)
	if binary {
		text := x.Header(inferHeaderLength)
		n, convErr := strconv.Atoi(text)
		if convErr != nil {
			return options, &refusal{err: core.Errorf(core.InvalidArg, "Unable to parse %s, got: %s", inferHeaderLength, text), plain: true}
		}
		if n < 0 || n > len(body) {
			return options, &refusal{err: core.Errorf(core.InvalidArg, "inference header size should be in range (0, %d), got: %d", len(body), n), plain: true}
		}
		header = n
	}
	if header == 0 {
		r.Raw = true
		r.Inputs = []tensor.Tensor{{Data: body}}
		options.binaryDefault = true
		return options, nil
	}
	if err := parseInfer(r, body[:header], body[header:], &options); err != nil {
		return options, &refusal{err: err}
	}
	return options, nil
}

// decompress returns an empty body for one that isn't what its encoding says,
// as Triton does, and false for an unknown encoding.
func decompress(encoding string, body []byte, limit int64) ([]byte, bool) {
	var (
		reader io.Reader
		err    error
	)
	switch encoding {
	case "", "identity":
		return body, true
	case "gzip":
		reader, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		reader, err = zlib.NewReader(bytes.NewReader(body))
	default:
		return nil, false
	}
	if err != nil {
		return nil, true
	}
	plain, err := io.ReadAll(io.LimitReader(reader, limit))
	if err != nil {
		return nil, true
	}
	return plain, true
}

// acceptable is the encoding that an Accept-Encoding header prefers of those
// that the server has, or none.
func acceptable(header string) string {
	best, bestQ := "", 0.0
	for item := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(item), ";")
		if name != "gzip" && name != "deflate" {
			continue
		}
		q := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
			q, _ = strconv.ParseFloat(text, 64)
		}
		if q > bestQ {
			best, bestQ = name, q
		}
	}
	return best
}

func compress(encoding string, body []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	if encoding == "gzip" {
		zw := gzip.NewWriter(&out)
		zw.OS = 3 // Unix
		w = zw
	} else {
		w = zlib.NewWriter(&out)
	}
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// field errors, in the words of Triton's JSON library
func noMember(name string) *core.Error {
	return core.Errorf(core.Internal, "Unable to parse '%s': attempt to access non-existing object member '%s'", name, name)
}

func wrongType(name, got, want string) *core.Error {
	return core.Errorf(core.Internal, "Unable to parse '%s': attempt to access JSON %s as %s", name, got, want)
}

// parseInfer reads the JSON part of a request; binary is what follows it.
func parseInfer(r *core.Request, text, binary []byte, options *outputOptions) *core.Error {
	root, err := rapidjson.Parse(text)
	if err != nil {
		return malformed(err)
	}
	members := root.Members()
	if id, ok := members.Find("id"); ok {
		if r.ID, ok = id.Str(); !ok {
			return wrongType("id", "non-string", "string")
		}
	}
	if parameters, ok := members.Find("parameters"); ok {
		if err := parseParameters(r, parameters.Members(), options); err != nil {
			return err
		}
	}
	inputs, ok := members.Find("inputs")
	if !ok {
		return noMember("inputs")
	}
	if !inputs.IsArray() {
		return wrongType("inputs", "non-array", "array")
	}
	var failed *core.Error
	inputs.Each(func(v rapidjson.Value) bool {
		binary, failed = parseInput(r, v.Members(), binary)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	if len(binary) > 0 {
		return core.Errorf(core.InvalidArg, "unexpected additional input data for model '%s'", r.Model.Name)
	}
	if outputs, ok := members.Find("outputs"); ok {
		if !outputs.IsArray() {
			return wrongType("outputs", "non-array", "array")
		}
		outputs.Each(func(v rapidjson.Value) bool {
			failed = parseOutput(r, v.Members(), options)
			return failed == nil
		})
	}
	return failed
}

func parseParameters(r *core.Request, members rapidjson.Object, options *outputOptions) *core.Error {
	for _, m := range members {
		number := func(into *uint64) *core.Error {
			n, ok := m.Value.Uint64()
			if !ok {
				return wrongType(m.Name, "non-unsigned-integer", "unsigned-integer")
			}
			*into = n
			return nil
		}
		boolean := func(into *bool) *core.Error {
			b, ok := m.Value.Bool()
			if !ok {
				return wrongType(m.Name, "non-boolean", "boolean")
			}
			*into = b
			return nil
		}
		var err *core.Error
		switch m.Name {
		case "priority":
			err = number(&r.Priority)
		case "timeout":
			err = number(&r.TimeoutMicros)
		case "sequence_id":
			if text, ok := m.Value.Str(); ok {
				r.SequenceText = text
			} else {
				err = number(&r.SequenceID)
			}
		case "sequence_start":
			err = boolean(&r.SequenceStart)
		case "sequence_end":
			err = boolean(&r.SequenceEnd)
		case "binary_data_output":
			err = boolean(&options.binaryDefault)
		default:
			if strings.HasPrefix(m.Name, "triton_") {
				err = core.Errorf(core.InvalidArg, "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseInput reads one input and takes its data off binary if it is there.
func parseInput(r *core.Request, members rapidjson.Object, binary []byte) ([]byte, *core.Error) {
	var in tensor.Tensor
	value, ok := members.Find("name")
	if !ok {
		return nil, noMember("name")
	}
	if in.Name, ok = value.Str(); !ok {
		return nil, wrongType("name", "non-string", "string")
	}
	if value, ok = members.Find("datatype"); !ok {
		return nil, noMember("datatype")
	}
	datatype, ok := value.Str()
	if !ok {
		return nil, wrongType("datatype", "non-string", "string")
	}
	if in.Type = tensor.ParseDataType(datatype); in.Type == tensor.Invalid {
		return nil, core.Errorf(core.InvalidArg, "invalid datatype for input %s", in.Name)
	}
	if value, ok = members.Find("shape"); !ok {
		return nil, noMember("shape")
	}
	var err *core.Error
	if in.Shape, err = parseShape(value); err != nil {
		return nil, err
	}
	if _, twice := r.Input(in.Name); twice {
		return nil, core.Errorf(core.InvalidArg, "[request id: %s] input '%s' already exists in request", requestID(r), in.Name)
	}
	in.Data, binary, err = inputData(r, &in, members, binary)
	if err != nil {
		return nil, err
	}
	r.Inputs = append(r.Inputs, in)
	return binary, nil
}

func requestID(r *core.Request) string {
	if r.ID == "" {
		return "<id_unknown>"
	}
	return r.ID
}

func parseShape(value rapidjson.Value) ([]int64, *core.Error) {
	if !value.IsArray() {
		return nil, wrongType("shape", "non-array", "array")
	}
	shape := make([]int64, 0, 4)
	var failed *core.Error
	value.Each(func(v rapidjson.Value) bool {
		d, ok := v.Uint64()
		if !ok || d > 1<<40 {
			failed = wrongType("shape", "non-unsigned-integer", "unsigned-integer")
			return false
		}
		shape = append(shape, int64(d))
		return true
	})
	return shape, failed
}

func inputData(r *core.Request, in *tensor.Tensor, members rapidjson.Object, binary []byte) (data, rest []byte, err *core.Error) {
	var binarySize rapidjson.Value
	isBinary := false
	if parameters, ok := members.Find("parameters"); ok {
		list := parameters.Members()
		if region, ok := list.Find("shared_memory_region"); ok {
			name, _ := region.Str()
			return nil, nil, core.Errorf(core.NotFound, "Unable to find shared memory region: '%s'", name)
		}
		binarySize, isBinary = list.Find("binary_data_size")
	}
	if isBinary {
		size, ok := binarySize.Uint64()
		if !ok {
			return nil, nil, wrongType("binary_data_size", "non-unsigned-integer", "unsigned-integer")
		}
		if size > uint64(len(binary)) {
			return nil, nil, core.Errorf(core.InvalidArg, "unexpected size for input '%s', expecting %d additional bytes for model '%s'", in.Name, size-uint64(len(binary)), r.Model.Name)
		}
		return binary[:size], binary[size:], nil
	}
	value, ok := members.Find("data")
	if !ok {
		return nil, nil, core.Errorf(core.InvalidArg, "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'. But no field is set")
	}
	if in.Type == tensor.FP16 || in.Type == tensor.BF16 {
		return nil, nil, core.Errorf(core.InvalidArg, "receiving %s data via JSON is not supported. Please use the binary data format for input %s", in.Type, in.Name)
	}
	data, decodeErr := tensor.DecodeJSON(value, in.Type, tensor.Elements(in.Shape))
	if decodeErr != nil {
		return nil, nil, &core.Error{Code: core.Internal, Message: decodeErr.Error()}
	}
	return data, binary, nil
}

func parseOutput(r *core.Request, members rapidjson.Object, options *outputOptions) *core.Error {
	value, ok := members.Find("name")
	if !ok {
		return noMember("name")
	}
	name, ok := value.Str()
	if !ok {
		return wrongType("name", "non-string", "string")
	}
	r.Requested = append(r.Requested, name)
	option := outputOption{binary: options.binaryDefault}
	parameters, ok := members.Find("parameters")
	if !ok {
		options.outputs[name] = option
		return nil
	}
	list := parameters.Members()
	if region, ok := list.Find("shared_memory_region"); ok {
		name, _ := region.Str()
		return core.Errorf(core.NotFound, "Unable to find shared memory region: '%s'", name)
	}
	if classes, ok := list.Find("classification"); ok {
		n, ok := classes.Uint64()
		if !ok {
			return wrongType("classification", "non-unsigned-integer", "unsigned-integer")
		}
		option.classes = int(min(n, 1<<30))
	}
	if binary, ok := list.Find("binary_data"); ok {
		if option.binary, ok = binary.Bool(); !ok {
			return wrongType("binary_data", "non-boolean", "boolean")
		}
	}
	options.outputs[name] = option
	return nil
}
