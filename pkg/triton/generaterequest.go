package triton

import "strconv"

// streamInput switches language models between one response and many: the vLLM
// and TensorRT-LLM backends name it so.
const streamInput = "stream"

// checkGenerate refuses what a flat JSON object can't say.
func (s *RequestSpec) checkGenerate() error {
	refuse := func(input, problem, hint string) error {
		return &RequestError{Model: s.model, Input: input, Problem: problem, Hint: hint}
	}
	switch {
	case s.sequence != nil:
		return refuse("", "it takes sequences, which the generate endpoints don't know", "use the infer endpoint")
	case s.batch > 1:
		return refuse("", "the generate endpoints have no batches", "leave the batch size out")
	case s.expected != nil:
		return refuse("", "answers of the generate endpoints are not validated", "use the infer endpoint")
	case len(s.asked) > 0:
		return refuse("", "the generate endpoints send all outputs", "don't choose outputs")
	}
	for _, in := range s.inputs {
		if len(in.dims) != 1 {
			return refuse(in.name, "has "+count(len(in.dims), "dimension")+"; the generate endpoints take inputs of one dimension", "use the infer endpoint")
		}
	}
	return s.checkJSONEncoding()
}

// generateRequest writes one sender's bodies for the generate endpoints. The
// result stays valid until the next one.
type generateRequest struct {
	spec   *RequestSpec
	gen    *generator
	stream bool
	buf    []byte
	tensor []byte
}

func (r *generateRequest) build(seq uint64, variant int) []byte {
	r.gen.start(seq)
	dst := r.buf[:0]
	dst = append(dst, '{')
	member := func(name string) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, name), ':')
	}
	if r.spec.streamSwitch {
		member(streamInput)
		dst = strconv.AppendBool(dst, r.stream)
	}
	for i, in := range r.spec.inputs {
		r.tensor = r.gen.append(r.tensor[:0], i, variant)
		member(in.name)
		if n, _ := elements(r.spec.form(variant).shapes[i]); n == 1 {
			dst, _ = appendJSONElement(dst, r.tensor, in.datatype)
		} else {
			dst = appendJSONData(dst, r.tensor, in.datatype)
		}
	}
	if len(r.spec.parameters) > 0 {
		member("parameters")
		dst = append(dst, '{')
		for i, p := range r.spec.parameters {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(appendJSONString(dst, p.name), ':'), p.json...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, '}')
	r.buf = dst
	return r.buf
}
