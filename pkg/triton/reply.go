package triton

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Reply is what a successful request brought.
type Reply struct {
	// Inferences is the request's batch size.
	Inferences int
	// Bytes is the size of the answer's body (HTTP) or message (gRPC).
	Bytes int
	// Responses is 1, or any number for a decoupled model.
	Responses int
}

// replyHead is the JSON of an inference answer. Other members are skipped.
type replyHead struct {
	model   string
	failure string
	outputs []replyOutput
}

type replyOutput struct {
	name        string
	datatype    Datatype
	shape       []int64
	binaryBytes int64  // -1 when the data is in the JSON
	elements    int    // of the data in the JSON, -1 without
	list        []byte // that data
}

func parseReplyHead(text []byte) (replyHead, error) {
	var head replyHead
	s := &jsonScanner{text: text}
	err := s.object(func(name string) (err error) {
		switch name {
		case "model_name":
			head.model, err = s.string()
		case "error":
			if s.peek() == '"' {
				head.failure, err = s.string()
				return err
			}
			_, err = s.skip()
		case "outputs":
			err = s.array(func() error {
				out, err := parseReplyOutput(s)
				head.outputs = append(head.outputs, out)
				return err
			})
		default:
			_, err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	return head, err
}

func parseReplyOutput(s *jsonScanner) (replyOutput, error) {
	out := replyOutput{binaryBytes: -1, elements: -1}
	err := s.object(func(name string) (err error) {
		switch name {
		case "name":
			out.name, err = s.string()
		case "datatype":
			var text string
			text, err = s.string()
			out.datatype = Datatype(text)
		case "shape":
			out.shape = []int64{}
			err = s.array(func() error {
				d, err := s.integer()
				out.shape = append(out.shape, d)
				return err
			})
		case "data":
			s.peek()
			from := s.at
			out.elements, err = s.skip()
			out.list = s.text[from:s.at]
		case "parameters":
			err = s.object(func(name string) (err error) {
				if name == "binary_data_size" {
					out.binaryBytes, err = s.integer()
					return err
				}
				_, err = s.skip()
				return err
			})
		default:
			_, err = s.skip()
		}
		return err
	})
	return out, err
}

// replyChecker validates answers against the request. Answers of a model
// mostly have the same head, which is then recognised instead of parsed.
type replyChecker struct {
	spec *RequestSpec
	// knownHead is that of a good answer if there are outputs.
	knownHead []byte
	outputs   []replyOutput
	results   []result // of the last answer, if it is to be validated
}

// validate compares the answer that was checked last with what the file
// expects of a variant.
func (c *replyChecker) validate(variant int) error {
	if c.spec.expected == nil {
		return nil
	}
	return c.spec.validateResults(variant, func(name string) (result, bool) {
		i := slices.IndexFunc(c.results, func(r result) bool { return r.name == name })
		if i < 0 {
			return result{}, false
		}
		return c.results[i], true
	})
}

// check validates the body of an answer with status 200. headBytes is the
// length of its JSON part, -1 without binary data.
func (c *replyChecker) check(body []byte, headBytes int) error {
	head, data := body, []byte(nil)
	if headBytes >= 0 {
		if headBytes > len(body) {
			return wrongAnswer("its Inference-Header-Content-Length %d is more than the %d bytes of its body", headBytes, len(body))
		}
		head, data = body[:headBytes], body[headBytes:]
	}
	if len(c.outputs) == 0 || !bytes.Equal(head, c.knownHead) {
		if err := c.learn(head); err != nil {
			c.outputs = nil
			return err
		}
	}
	c.results = c.results[:0]
	for _, out := range c.outputs {
		if out.binaryBytes < 0 {
			c.keep(result{name: out.name, list: out.list})
			continue
		}
		if out.binaryBytes > int64(len(data)) {
			return wrongAnswer("output %s has %d bytes of binary data, but only %d are left of the body", out.name, out.binaryBytes, len(data))
		}
		if out.datatype == Bytes {
			if err := checkStrings(out, data[:out.binaryBytes]); err != nil {
				return err
			}
		}
		c.keep(result{name: out.name, binary: data[:out.binaryBytes]})
		data = data[out.binaryBytes:]
	}
	if len(data) > 0 {
		return wrongAnswer("%d bytes follow the last output", len(data))
	}
	return nil
}

// learn reads and checks a head. What it keeps refers to a copy, as the body's
// memory is that of later answers too.
func (c *replyChecker) learn(head []byte) error {
	c.knownHead = append(c.knownHead[:0], head...)
	parsed, err := parseReplyHead(c.knownHead)
	switch {
	case err != nil:
		return wrongAnswer("%v", err)
	case parsed.failure != "":
		return wrongAnswer("status 200 with an error: %s", shorten(parsed.failure))
	case parsed.model != c.spec.model:
		return wrongAnswer("it is of model %q, not %q", shorten(parsed.model), c.spec.model)
	}
	if err := c.spec.checkOutputs(parsed.outputs); err != nil {
		return err
	}
	c.outputs = parsed.outputs
	return nil
}

func (c *replyChecker) keep(r result) {
	if c.spec.expected != nil {
		c.results = append(c.results, r)
	}
}

// checkOutputs compares names, types and sizes with what was asked for. A model
// may leave out outputs that belong to optional inputs, so that without asking
// for some by name, any of its outputs will do.
func (s *RequestSpec) checkOutputs(outputs []replyOutput) error {
	for i, out := range outputs {
		datatype, known := s.outputs[out.name]
		wanted := len(s.asked) == 0 || slices.Contains(s.asked, out.name)
		switch {
		case !known || !wanted:
			return wrongAnswer("it has an output %q that was not asked for", shorten(out.name))
		case out.datatype != datatype:
			return wrongAnswer("output %s is %s, not %s", out.name, shorten(string(out.datatype)), datatype)
		case slices.ContainsFunc(outputs[:i], func(o replyOutput) bool { return o.name == out.name }):
			return wrongAnswer("it has output %s twice", out.name)
		}
		n, ok := elements(out.shape)
		if !ok || out.shape == nil {
			return wrongAnswer("output %s has the impossible shape %s", out.name, shapeText(out.shape))
		}
		size := int64(datatype.Size())
		switch {
		case out.elements < 0 && out.binaryBytes < 0:
			return wrongAnswer("output %s has no data", out.name)
		case out.elements >= 0 && int64(out.elements) != n:
			return wrongAnswer("output %s of shape %s has %d elements", out.name, shapeText(out.shape), out.elements)
		case out.binaryBytes >= 0 && size > 0 && (out.binaryBytes%size != 0 || out.binaryBytes/size != n):
			return wrongAnswer("output %s %s %s has %d bytes", out.name, datatype, shapeText(out.shape), out.binaryBytes)
		}
	}
	for _, name := range s.asked {
		if !slices.ContainsFunc(outputs, func(o replyOutput) bool { return o.name == name }) {
			return wrongAnswer("output %s is missing", name)
		}
	}
	if len(outputs) == 0 && len(s.outputs) > 0 {
		return wrongAnswer("it has no outputs")
	}
	return nil
}

// checkStrings walks the strings of a BYTES output.
func checkStrings(out replyOutput, data []byte) error {
	want, _ := elements(out.shape)
	n := int64(0)
	for ; len(data) > 0; n++ {
		if len(data) < 4 || uint64(len(data)-4) < uint64(binary.LittleEndian.Uint32(data)) {
			return wrongAnswer("output %s breaks off in string %d", out.name, n)
		}
		data = data[4+binary.LittleEndian.Uint32(data):]
	}
	if n != want {
		return wrongAnswer("output %s of shape %s has %d strings", out.name, shapeText(out.shape), n)
	}
	return nil
}
