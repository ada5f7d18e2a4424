package triton

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

const exactlyOne = "generate expects model to produce exactly 1 response, use generate stream for model that generates various number of responses"

// generate serves the generate extension: flat JSON in, one JSON object out or
// a stream of server-sent events.
func (h *httpAPI) generate(x *wire.Exchange, name, version string, stream bool) {
	if !methodIs(x, http.MethodPost, true) {
		return
	}
	r := &core.Request{Arrived: time.Now()}
	finish := func(status core.Code) { h.core.Log.Finish(r, core.HTTP, name, status) }
	answers := newMailbox()
	r.Respond = answers.put
	m, err := h.core.Find(name, version)
	if err == nil {
		r.Model = m
		err = parseGenerate(r, x.Body)
	}
	if err == nil {
		err = h.core.Infer(r)
	}
	if err != nil {
		finish(err.Code)
		replyError(x, err)
		return
	}
	if stream {
		finish(streamEvents(x, r, answers))
		return
	}
	var got []core.Response
	for {
		answer := answers.get()
		if answer.Err != nil || len(answer.Outputs) > 0 {
			got = append(got, answer)
		}
		if answer.Final {
			break
		}
	}
	status, code, body := http.StatusOK, core.OK, []byte(nil)
	switch {
	case len(got) != 1:
		body = errorBody(exactlyOne)
	case got[0].Err != nil:
		// Whatever the error's code is, the status is 400.
		status, code, body = http.StatusBadRequest, got[0].Err.Code, errorBody(got[0].Err.Message)
	default:
		body = encodeGenerated(r, got[0])
	}
	finish(code)
	x.Begin(status, []wire.Header{jsonType()})
	x.Chunk(body)
	x.Chunk(nil)
}

func streamEvents(x *wire.Exchange, r *core.Request, answers *mailbox) core.Code {
	begun := false
	send := func(status int, body []byte) {
		if !begun {
			x.Begin(status, []wire.Header{{Name: "Content-Type", Value: "text/event-stream; charset=utf-8"}})
			begun = true
		}
		x.Chunk(append(append([]byte("data: "), body...), "\n\n"...))
	}
	code := core.OK
	for {
		answer := answers.get()
		switch {
		case answer.Err != nil:
			code = answer.Err.Code
			send(http.StatusBadRequest, errorBody(answer.Err.Message))
		case len(answer.Outputs) > 0:
			send(http.StatusOK, encodeGenerated(r, answer))
		}
		if answer.Final {
			break
		}
	}
	if !begun {
		x.Begin(http.StatusOK, []wire.Header{{Name: "Content-Type", Value: "text/event-stream; charset=utf-8"}})
	}
	x.Chunk(nil)
	return code
}

// parseGenerate makes inputs of the members that are named as one.
func parseGenerate(r *core.Request, body []byte) *core.Error {
	root, err := rapidjson.Parse(body)
	if err != nil {
		return malformed(err)
	}
	members := root.Members()
	if id, ok := members.Find("id"); ok {
		r.ID, _ = id.Str()
	}
	for _, want := range r.Model.Config.Input {
		value, ok := members.Find(want.Name)
		if !ok {
			continue
		}
		in := tensor.Tensor{Name: want.Name, Type: tensor.FromConfig(want.DataType)}
		if in.Type == tensor.FP16 || in.Type == tensor.BF16 {
			return core.Errorf(core.InvalidArg, "receiving %s data via JSON is not supported. Please use the binary data format for input %s", in.Type, in.Name)
		}
		elements := int64(1)
		if value.IsArray() {
			elements = 0
			value.Each(func(rapidjson.Value) bool { elements++; return true })
		}
		in.Shape = []int64{elements}
		if r.Model.Config.MaxBatchSize > 0 {
			in.Shape = []int64{1, elements}
		}
		if in.Data, err = tensor.DecodeJSON(value, in.Type, elements); err != nil {
			return &core.Error{Code: core.Internal, Message: err.Error()}
		}
		r.Inputs = append(r.Inputs, in)
	}
	return nil
}

// encodeGenerated is a response as one flat object, its members by name.
func encodeGenerated(r *core.Request, answer core.Response) []byte {
	type member struct {
		name string
		text []byte
	}
	members := []member{
		{"model_name", rapidjson.AppendString(nil, r.Model.Name)},
		{"model_version", rapidjson.AppendString(nil, strconv.FormatInt(r.Model.Version, 10))},
	}
	if r.ID != "" {
		members = append(members, member{"id", rapidjson.AppendString(nil, r.ID)})
	}
	for _, p := range answer.Parameters {
		members = append(members, member{p.Name, appendParameter(nil, p.Value)})
	}
	for _, out := range answer.Outputs {
		elements := tensor.Elements(out.Shape)
		text, _ := tensor.AppendJSON(nil, out.Type, out.Data, elements)
		if elements != 1 {
			text = append(append([]byte{'['}, text...), ']')
		}
		members = append(members, member{out.Name, text})
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	body := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			body = append(body, ',')
		}
		body = rapidjson.AppendString(body, m.name)
		body = append(body, ':')
		body = append(body, m.text...)
	}
	return append(body, '}')
}
