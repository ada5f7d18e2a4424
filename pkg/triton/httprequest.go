package triton

import (
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"strconv"
)

// httpRequest writes one sender's requests: HTTP head, JSON, and tensors as
// binary data or within the JSON. The result stays valid until the next one.
type httpRequest struct {
	spec   *RequestSpec
	gen    *generator
	binary bool
	start  []byte // request line and the headers that never change

	// What buf holds up to the tensors is reused while the form is the same.
	buf         []byte
	built       bool
	builtForm   int
	bodyAt      int    // where the tensors begin in buf
	sequenceAt  int    // where the sequence's parameters begin in buf, if any
	content     []byte // the JSON encoding's buffer, of which buf is a part
	tensor      []byte // one tensor's binary data on its way into the JSON
	constantFor int    // the variant whose tensors buf holds, which never change; -1 for none
}

func newHTTPRequest(spec *RequestSpec, host, agent string, binary bool) *httpRequest {
	path := "/v2/models/" + url.PathEscape(spec.model)
	if spec.version != "" {
		path += "/versions/" + url.PathEscape(spec.version)
	}
	contentType := "application/json"
	if binary {
		contentType = "application/octet-stream"
	}
	start := fmt.Sprintf("POST %s/infer HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nContent-Type: %s\r\n", path, host, cmp.Or(agent, defaultUserAgent), contentType)
	return &httpRequest{spec: spec, gen: newGenerator(spec), binary: binary, start: []byte(start), constantFor: -1}
}

// build writes request seq with the data of a variant.
func (r *httpRequest) build(seq uint64, variant int, step *sequenceStep) []byte {
	r.gen.start(seq)
	if r.binary {
		r.buildBinary(variant)
	} else {
		r.buildJSON(variant)
	}
	if step != nil {
		writeSequence(r.buf[r.sequenceAt:], *step, r.spec.sequence.textID)
	}
	return r.buf
}

func (r *httpRequest) buildBinary(variant int) {
	if r.constantFor == variant {
		return
	}
	if index := r.spec.variants[variant]; !r.built || r.builtForm != index {
		r.buildHead(&r.spec.forms[index])
		r.built, r.builtForm = true, index
	}
	r.buf = r.buf[:r.bodyAt]
	for i := range r.spec.inputs {
		r.buf = r.gen.append(r.buf, i, variant)
	}
	if r.constant() {
		r.constantFor = variant
	}
}

// constant tells that every request has the same tensors.
func (r *httpRequest) constant() bool {
	return r.spec.mode != DataRandom && len(r.spec.variants) == 1
}

// buildHead writes everything before the tensors.
func (r *httpRequest) buildHead(f *form) {
	json, sequenceAt := r.appendJSON(nil, f, -1)
	r.buf = append(r.buf[:0], r.start...)
	r.buf = append(r.buf, "Inference-Header-Content-Length: "...)
	r.buf = strconv.AppendInt(r.buf, int64(len(json)), 10)
	r.buf = append(r.buf, "\r\nContent-Length: "...)
	r.buf = strconv.AppendInt(r.buf, int64(len(json)+f.total), 10)
	r.buf = append(r.buf, "\r\n\r\n"...)
	r.sequenceAt = len(r.buf) + sequenceAt
	r.buf = append(r.buf, json...)
	r.bodyAt = len(r.buf)
}

// lengthDigits is room for any Content-Length.
const lengthDigits = 20

// buildJSON writes the body first and the head in front of it, as the body's
// length is not known before.
func (r *httpRequest) buildJSON(variant int) {
	if r.constantFor == variant {
		return
	}
	const label, end = "Content-Length: ", "\r\n\r\n"
	room := len(r.start) + len(label) + lengthDigits + len(end)
	r.content = grow(r.content[:0], room)
	body, sequenceAt := r.appendJSON(r.content, r.spec.form(variant), variant)
	var digits [lengthDigits]byte
	length := strconv.AppendInt(digits[:0], int64(len(body)-room), 10)
	at := room - len(r.start) - len(label) - len(length) - len(end)
	copied := at
	copied += copy(body[copied:], r.start)
	copied += copy(body[copied:], label)
	copied += copy(body[copied:], length)
	copy(body[copied:], end)
	r.content = body
	r.buf = body[at:]
	r.sequenceAt = sequenceAt - at
	if r.constant() {
		r.constantFor = variant
	}
}

// appendJSON writes the JSON part: with the tensors' data for a variant, or
// announcing binary data for variant -1. sequenceAt is the index in the result
// where writeSequence belongs.
func (r *httpRequest) appendJSON(dst []byte, f *form, variant int) (out []byte, sequenceAt int) {
	dst = append(dst, `{"parameters":{`...)
	comma := false
	member := func(name string) {
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(appendJSONString(dst, name), ':')
	}
	if r.spec.sequence != nil {
		sequenceAt = len(dst)
		dst = append(dst, bytes.Repeat([]byte{' '}, sequenceBytes)...)
		comma = true
	}
	for _, p := range r.spec.parameters {
		member(p.name)
		dst = append(dst, p.json...)
	}
	if r.binary {
		member("binary_data_output")
		dst = append(dst, "true"...)
	}
	dst = append(dst, `},"inputs":[`...)
	for i, in := range r.spec.inputs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendJSONString(dst, in.name)
		dst = append(dst, `,"shape":[`...)
		for j, d := range f.shapes[i] {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, d, 10)
		}
		dst = append(dst, `],"datatype":"`...)
		dst = append(dst, in.datatype...)
		if variant < 0 {
			dst = append(dst, `","parameters":{"binary_data_size":`...)
			dst = strconv.AppendInt(dst, int64(f.bytes[i]), 10)
			dst = append(dst, "}}"...)
			continue
		}
		dst = append(dst, `","data":`...)
		r.tensor = r.gen.append(r.tensor[:0], i, variant)
		dst = appendJSONData(dst, r.tensor, in.datatype)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if len(r.spec.asked) > 0 {
		dst = append(dst, `,"outputs":[`...)
		for i, name := range r.spec.asked {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(append(dst, `{"name":`...), name), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), sequenceAt
}

// sequenceBytes is the fixed width of the sequence's parameters, so that they
// can be overwritten in place: ids have up to 20 digits, JSON allows spaces.
const sequenceBytes = len(`"sequence_id":"00000000000000000000","sequence_start":false,"sequence_end":false`)

func writeSequence(dst []byte, step sequenceStep, textID bool) {
	id := fmt.Sprintf("%22d", step.id)
	if textID {
		id = fmt.Sprintf(`"%020d"`, step.id)
	}
	copy(dst, fmt.Sprintf(`"sequence_id":%s,"sequence_start":%-5t,"sequence_end":%-5t`, id, step.start, step.end))
}
