package triton

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// grpcChecker validates answers against the request. Answers of a model mostly
// differ in their raw contents only, which follow the rest: that head is then
// recognised instead of parsed.
type grpcChecker struct {
	spec *RequestSpec
	// knownHead is that of a good answer, with outputs; nil before there was one.
	knownHead []byte
	outputs   []replyOutput
	raw       [][]byte // of the last answer
}

// rawContentsField is ModelInferResponse's.
const rawContentsField = 6

// check validates a serialized ModelInferResponse.
func (c *grpcChecker) check(message []byte) error {
	if c.knownHead != nil && bytes.HasPrefix(message, c.knownHead) && c.contents(message[len(c.knownHead):]) && c.fits() {
		return c.checkStrings()
	}
	c.knownHead = nil
	var m inferencepb.ModelInferResponse
	if err := proto.Unmarshal(message, &m); err != nil {
		return wrongAnswer("it is no ModelInferResponse: %v", err)
	}
	outputs, err := c.spec.checkMessage(&m)
	if err != nil {
		return err
	}
	c.outputs, c.raw = outputs, append(c.raw[:0], m.GetRawOutputContents()...)
	if n := headBytes(message); len(c.raw) > 0 && c.contents(message[n:]) {
		c.knownHead = bytes.Clone(message[:n])
	}
	return nil
}

// headBytes is the length of what precedes the first raw contents.
func headBytes(message []byte) int {
	for at := 0; at < len(message); {
		field, _, n := protowire.ConsumeField(message[at:])
		if n < 0 || field == rawContentsField {
			return at
		}
		at += n
	}
	return len(message)
}

// contents takes the raw contents, which must be all that there is.
func (c *grpcChecker) contents(rest []byte) bool {
	c.raw = c.raw[:0]
	for len(rest) > 0 {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || field != rawContentsField || kind != protowire.BytesType {
			return false
		}
		content, m := protowire.ConsumeBytes(rest[n:])
		if m < 0 {
			return false
		}
		c.raw, rest = append(c.raw, content), rest[n+m:]
	}
	return true
}

// fits tells that the contents have the sizes that the known head implies.
func (c *grpcChecker) fits() bool {
	if len(c.raw) != len(c.outputs) {
		return false
	}
	for i, out := range c.outputs {
		if out.datatype != Bytes && int64(len(c.raw[i])) != out.binaryBytes {
			return false
		}
	}
	return true
}

func (c *grpcChecker) checkStrings() error {
	for i, out := range c.outputs {
		if out.datatype == Bytes {
			if err := checkStrings(out, c.raw[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// validate compares the answer that was checked last with what the file
// expects of a variant. Triton answers raw contents with raw contents.
func (c *grpcChecker) validate(variant int) error {
	if c.spec.expected == nil {
		return nil
	}
	return c.spec.validateResults(variant, func(name string) (result, bool) {
		i := slices.IndexFunc(c.outputs, func(out replyOutput) bool { return out.name == name })
		if i < 0 || i >= len(c.raw) {
			return result{}, false
		}
		return result{name: name, binary: c.raw[i]}, true
	})
}

// checkMessage compares an answer with what was asked for.
func (s *RequestSpec) checkMessage(m *inferencepb.ModelInferResponse) ([]replyOutput, error) {
	if m.GetModelName() != s.model {
		return nil, wrongAnswer("it is of model %q, not %q", shorten(m.GetModelName()), s.model)
	}
	raw := m.GetRawOutputContents()
	if len(raw) > 0 && len(raw) != len(m.GetOutputs()) {
		return nil, wrongAnswer("it has %s but %d raw contents", count(len(m.GetOutputs()), "output"), len(raw))
	}
	outputs := make([]replyOutput, len(m.GetOutputs()))
	for i, out := range m.GetOutputs() {
		outputs[i] = replyOutput{name: out.GetName(), datatype: Datatype(out.GetDatatype()), shape: out.GetShape(), binaryBytes: -1, elements: -1}
		if outputs[i].shape == nil {
			outputs[i].shape = []int64{}
		}
		if len(raw) > 0 {
			outputs[i].binaryBytes = int64(len(raw[i]))
		} else {
			outputs[i].elements = contentElements(out.GetContents())
		}
	}
	if err := s.checkOutputs(outputs); err != nil {
		return nil, err
	}
	for i, out := range outputs {
		if out.datatype == Bytes && out.binaryBytes >= 0 {
			if err := checkStrings(out, raw[i]); err != nil {
				return nil, err
			}
		}
	}
	return outputs, nil
}

func contentElements(c *inferencepb.InferTensorContents) int {
	return len(c.GetBoolContents()) + len(c.GetIntContents()) + len(c.GetInt64Contents()) + len(c.GetUintContents()) +
		len(c.GetUint64Contents()) + len(c.GetFp32Contents()) + len(c.GetFp64Contents()) + len(c.GetBytesContents())
}
