package triton

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// ClassWrongResult is a well-formed answer that differs from what the input
// data file expects.
const ClassWrongResult = "wrong result"

// expectation is an output that the input data file knows, per step.
type expectation struct {
	name     string
	datatype Datatype
	steps    [][]byte // binary data of one batch element; nil where not given
}

// setExpectations reads validation_data, whose entries stand beside those of
// data, into binary data by output.
func (b *builder) setExpectations() error {
	if !b.opts.Validate {
		if b.spec.file != nil && b.spec.file.validation != nil {
			b.note("validation_data in %s is not compared with the answers", b.opts.File)
		}
		return nil
	}
	switch {
	case b.spec.file == nil:
		return b.refuse("", "give a JSON input data file with validation_data", "its answers can't be validated: what they should be is not known")
	case b.spec.file.validation == nil:
		return &InputDataError{File: b.opts.File, Problem: "has no \"validation_data\" to compare answers with"}
	case b.spec.decoupled:
		return b.refuse("", "leave the validation out", "it is decoupled, and validation_data has one answer per request")
	}
	expected, err := parseInputFile(b.opts.File, b.spec.file.validation)
	if err != nil {
		return err
	}
	if len(expected.steps) != len(b.spec.file.steps) || !slices.Equal(expected.streams, b.spec.file.streams) {
		return &InputDataError{File: b.opts.File, Problem: fmt.Sprintf("has %s in \"data\" but %d in \"validation_data\"; each needs its own, in streams of the same lengths", count(len(b.spec.file.steps), "step"), len(expected.steps))}
	}
	outputs := map[string]int{}
	for n, step := range expected.steps {
		for name, tensor := range step.tensors {
			fail := func(format string, args ...any) error {
				return &InputDataError{File: b.opts.File, Where: "validation " + step.where, Input: name, Problem: fmt.Sprintf(format, args...)}
			}
			datatype, known := b.spec.outputs[name]
			if !known {
				return fail("is not an output of model %s", b.spec.model)
			}
			data, err := tensor.encode(datatype)
			if err != nil {
				return fail("%v", err)
			}
			i, ok := outputs[name]
			if !ok {
				i = len(b.spec.expected)
				outputs[name] = i
				b.spec.expected = append(b.spec.expected, expectation{name: name, datatype: datatype, steps: make([][]byte, len(expected.steps))})
			}
			b.spec.expected[i].steps[n] = data
		}
	}
	slices.SortStableFunc(b.spec.expected, func(x, y expectation) int { return bytes.Compare([]byte(x.name), []byte(y.name)) })
	return nil
}

// encode is the tensor as binary data of a type.
func (t fileTensor) encode(d Datatype) (data []byte, err error) {
	if t.list == nil {
		_, err = binaryElements(t.binary, d)
		return t.binary, err
	}
	n := 0
	err = listElements(t.list, func(value any) error {
		data, err = appendElement(data, d, value)
		n++
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("element %d %w", max(n-1, 0), err)
	}
	return data, nil
}

// result is one output of an answer, as binary data or as the list of a JSON
// answer.
type result struct {
	name   string
	binary []byte
	list   []byte
}

// validateResults compares an answer with what the file expects of a variant.
func (s *RequestSpec) validateResults(variant int, results func(name string) (result, bool)) error {
	for _, e := range s.expected {
		want := s.expectedOutput(&e, variant)
		if want == nil {
			continue
		}
		got, ok := results(e.name)
		if !ok {
			return wrongResult("it has no output %s", e.name)
		}
		data := got.binary
		if got.list != nil {
			var err error
			// Triton's JSON has no other form of NaN and infinities than bare words.
			if data, err = (fileTensor{list: json.RawMessage(got.list)}).encode(e.datatype); err != nil {
				return wrongResult("output %s %v", e.name, err)
			}
		}
		if err := compareElements(e.name, e.datatype, want, data); err != nil {
			return err
		}
	}
	return nil
}

// expectedOutput joins the batch elements of a variant; nil if the file is
// silent on one of them.
func (s *RequestSpec) expectedOutput(e *expectation, variant int) []byte {
	if s.batch == 1 {
		return e.steps[variant%len(e.steps)]
	}
	var want []byte
	for j := range s.batch {
		step := e.steps[(variant*s.batch+j)%len(e.steps)]
		if step == nil {
			return nil
		}
		want = append(want, step...)
	}
	return want
}

func wrongResult(format string, args ...any) *Error {
	return &Error{Class: ClassWrongResult, Message: fmt.Sprintf(format, args...)}
}

// compareElements allows floats the differences that another order of additions
// makes: 1e-5 of the expected value, 1e-2 for 16-bit ones. All else is exact.
func compareElements(name string, d Datatype, want, got []byte) error {
	if bytes.Equal(want, got) {
		return nil
	}
	for n := 0; len(want) > 0; n++ {
		if len(got) == 0 {
			return wrongResult("output %s has only %s", name, count(n, "element"))
		}
		var x, y []byte
		x, want = cutElement(want, d)
		y, got = cutElement(got, d)
		if !equalElements(d, x, y) {
			return wrongResult("output %s, element %d is %s, not %s", name, n, elementText(d, y), elementText(d, x))
		}
	}
	if len(got) > 0 {
		return wrongResult("output %s has more elements than expected", name)
	}
	return nil
}

// cutElement splits the first element off data that is known to be whole.
func cutElement(data []byte, d Datatype) (element, rest []byte) {
	size := d.Size()
	if d == Bytes {
		size = 4 + int(binary.LittleEndian.Uint32(data))
	}
	return data[:size], data[size:]
}

func equalElements(d Datatype, want, got []byte) bool {
	if bytes.Equal(want, got) {
		return true
	}
	tolerance := 1e-5
	switch d {
	case FP16, BF16:
		tolerance = 1e-2
	case FP32, FP64:
	default:
		return false
	}
	x, y := floatElement(d, want), floatElement(d, got)
	if math.IsNaN(x) || math.IsInf(x, 0) || math.IsInf(y, 0) {
		return math.IsNaN(x) && math.IsNaN(y) || x == y
	}
	return math.Abs(x-y) <= tolerance*math.Abs(x)
}

func floatElement(d Datatype, data []byte) float64 {
	switch d {
	case FP16:
		return float64(floatFromHalf(binary.LittleEndian.Uint16(data)))
	case BF16:
		return float64(floatFromBfloat(binary.LittleEndian.Uint16(data)))
	case FP32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(data)))
	default:
		return math.Float64frombits(binary.LittleEndian.Uint64(data))
	}
}

func elementText(d Datatype, data []byte) string {
	switch d {
	case FP16, BF16:
		return fmt.Sprint(floatElement(d, data))
	}
	text, _ := appendJSONElement(nil, data, d)
	return shorten(string(text))
}
