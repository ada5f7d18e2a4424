package triton

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// checkJSONEncoding refuses tensors that the protocol's JSON can't carry, in
// either direction.
func (s *RequestSpec) checkJSONEncoding() error {
	for i, in := range s.inputs {
		if in.datatype == FP16 || in.datatype == BF16 {
			return &RequestError{Model: s.model, Input: in.name, Problem: "is " + string(in.datatype) + ", which the protocol does not carry in JSON", Hint: "use binary encoding"}
		}
		if s.file == nil {
			continue
		}
		for _, step := range s.file.steps {
			if problem := notJSON(step.data[i], in.datatype); problem != "" {
				return &InputDataError{File: s.file.path, Where: step.where, Input: in.name, Problem: problem + ", which JSON does not carry; use binary encoding"}
			}
		}
	}
	outputs := s.asked
	if len(outputs) == 0 {
		outputs = slices.Sorted(maps.Keys(s.outputs))
	}
	for _, name := range outputs {
		if d := s.outputs[name]; d == FP16 || d == BF16 {
			return &RequestError{Model: s.model, Problem: "output " + name + " is " + string(d) + ", which the protocol does not carry in JSON", Hint: "use binary encoding"}
		}
	}
	return nil
}

func notJSON(data []byte, d Datatype) string {
	switch d {
	case FP32:
		for ; len(data) >= 4; data = data[4:] {
			if v := float64(math.Float32frombits(binary.LittleEndian.Uint32(data))); math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Sprintf("holds %v", v)
			}
		}
	case FP64:
		for ; len(data) >= 8; data = data[8:] {
			if v := math.Float64frombits(binary.LittleEndian.Uint64(data)); math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Sprintf("holds %v", v)
			}
		}
	case Bytes:
		for len(data) >= 4 {
			n := 4 + binary.LittleEndian.Uint32(data)
			if !utf8.Valid(data[4:n]) {
				return "holds a string that is not UTF-8"
			}
			data = data[n:]
		}
	}
	return ""
}

// appendJSONData writes binary data as the flat list of a tensor's "data".
func appendJSONData(dst, data []byte, d Datatype) []byte {
	dst = append(dst, '[')
	for first := true; len(data) > 0; first = false {
		if !first {
			dst = append(dst, ',')
		}
		dst, data = appendJSONElement(dst, data, d)
	}
	return append(dst, ']')
}

func appendJSONElement(dst, data []byte, d Datatype) (out, rest []byte) {
	le := binary.LittleEndian
	switch d {
	case Bool:
		return strconv.AppendBool(dst, data[0] != 0), data[1:]
	case Int8:
		return strconv.AppendInt(dst, int64(int8(data[0])), 10), data[1:]
	case Uint8:
		return strconv.AppendUint(dst, uint64(data[0]), 10), data[1:]
	case Int16:
		return strconv.AppendInt(dst, int64(int16(le.Uint16(data))), 10), data[2:]
	case Uint16:
		return strconv.AppendUint(dst, uint64(le.Uint16(data)), 10), data[2:]
	case Int32:
		return strconv.AppendInt(dst, int64(int32(le.Uint32(data))), 10), data[4:]
	case Uint32:
		return strconv.AppendUint(dst, uint64(le.Uint32(data)), 10), data[4:]
	case Int64:
		return strconv.AppendInt(dst, int64(le.Uint64(data)), 10), data[8:]
	case Uint64:
		return strconv.AppendUint(dst, le.Uint64(data), 10), data[8:]
	case FP32:
		return strconv.AppendFloat(dst, float64(math.Float32frombits(le.Uint32(data))), 'g', -1, 32), data[4:]
	case FP64:
		return strconv.AppendFloat(dst, math.Float64frombits(le.Uint64(data)), 'g', -1, 64), data[8:]
	default: // BYTES; checkJSONEncoding has refused the half floats
		n := le.Uint32(data)
		return appendJSONString(dst, string(data[4:4+n])), data[4+n:]
	}
}

// appendJSONString quotes text. Marshalling a string can't fail.
func appendJSONString(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7F {
			quoted, _ := json.Marshal(text)
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
