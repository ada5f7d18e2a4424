package triton

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// setFileVariants turns each step of the file into the inputs' binary data,
// and finds the forms of the requests that they make. Request n holds the steps
// n·batch to n·batch+batch−1, round and round.
func (b *builder) setFileVariants() error {
	file := b.spec.file
	for s := range file.steps {
		step := &file.steps[s]
		for i := range b.spec.inputs {
			in := &b.spec.inputs[i]
			data, dims, err := b.fileTensor(step, in)
			if err != nil {
				return err
			}
			step.data = append(step.data, data)
			step.dims = append(step.dims, dims)
		}
		step.tensors = nil
	}
	for i := range b.spec.inputs {
		b.spec.inputs[i].assumed = nil
	}
	variants := len(file.steps) / gcd(len(file.steps), b.spec.batch)
	known := map[string]int{}
	for v := range variants {
		f, err := b.fileForm(v)
		if err != nil {
			return err
		}
		key := fmt.Sprint(f.shapes, f.bytes)
		index, ok := known[key]
		if !ok {
			index = len(b.spec.forms)
			known[key] = index
			b.spec.forms = append(b.spec.forms, f)
		}
		b.spec.variants = append(b.spec.variants, index)
	}
	if left := len(file.steps) % b.spec.batch; b.spec.batch > len(file.steps) || left != 0 {
		b.note("the file's %s do not fill batches of %d evenly: some are sent more often within a request", count(len(file.steps), "step"), b.spec.batch)
	}
	return b.checkTotal()
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// step is the file's step for batch element j of a variant.
func (s *RequestSpec) step(variant, j int) *fileStep {
	return &s.file.steps[(variant*s.batch+j)%len(s.file.steps)]
}

func (b *builder) fileForm(variant int) (form, error) {
	var f form
	first := b.spec.step(variant, 0)
	for i, in := range b.spec.inputs {
		size := len(first.data[i])
		for j := 1; j < b.spec.batch && !in.shapeTensor; j++ {
			other := b.spec.step(variant, j)
			if !slices.Equal(other.dims[i], first.dims[i]) {
				return f, &InputDataError{File: b.spec.file.path, Where: other.where, Input: in.name,
					Problem: fmt.Sprintf("has shape %s but shares a batch with %s of shape %s; use a batch size of 1 or equal shapes", shapeText(other.dims[i]), first.where, shapeText(first.dims[i]))}
			}
			size += len(other.data[i])
		}
		f.shapes = append(f.shapes, b.spec.withBatch(in, first.dims[i]))
		f.bytes = append(f.bytes, size)
		f.total += size
	}
	return f, nil
}

func (s *RequestSpec) appendFileTensor(dst []byte, i, variant int) []byte {
	if s.inputs[i].shapeTensor {
		return append(dst, s.step(variant, 0).data[i]...)
	}
	for j := range s.batch {
		dst = append(dst, s.step(variant, j).data[i]...)
	}
	return dst
}

// fileTensor is one input's data of a step, and its shape without batch.
func (b *builder) fileTensor(step *fileStep, in *input) (data []byte, dims []int64, err error) {
	fail := func(format string, args ...any) error {
		return &InputDataError{File: b.opts.File, Where: step.where, Input: in.name, Problem: fmt.Sprintf(format, args...)}
	}
	tensor, ok := step.tensors[in.name]
	if !ok {
		return nil, nil, fail("has no data; every step needs %s %s", in.datatype, shapeText(in.pattern))
	}
	n := 0
	if tensor.list != nil {
		err := listElements(tensor.list, func(value any) error {
			data, err = appendElement(data, in.datatype, value)
			n++
			return err
		})
		if err != nil {
			return nil, nil, fail("element %d %v", max(n-1, 0), err)
		}
	} else {
		data = tensor.binary
		if n, err = binaryElements(data, in.datatype); err != nil {
			return nil, nil, fail("%v", err)
		}
	}
	dims = slices.Clone(in.dims)
	switch {
	case tensor.shape != nil:
		if problem := mismatch(tensor.shape, in.pattern); problem != "" {
			return nil, nil, fail("has shape %s but the model wants %s: %s (without the batch dimension)", shapeText(tensor.shape), shapeText(in.pattern), problem)
		}
		dims = tensor.shape
	case len(in.assumed) == 1:
		// The only open dimension follows from the number of elements.
		dims[in.assumed[0]] = 1
		if rest, ok := elements(dims); ok && rest > 0 && n%int(rest) == 0 {
			dims[in.assumed[0]] = int64(n) / rest
		}
	}
	want, ok := elements(dims)
	if !ok || want != int64(n) {
		hint := ""
		if len(in.assumed) > 1 && tensor.shape == nil {
			hint = "; its variable dimensions are taken as 1, set them by \"shape\" in the file or --shape " + in.name + ":" + example(in.pattern)
		}
		return nil, nil, fail("has %s but %s %s wants %d per batch element%s", count(n, "element"), in.datatype, shapeText(dims), want, hint)
	}
	return data, dims, nil
}

// binaryElements counts the elements of binary data.
func binaryElements(data []byte, d Datatype) (int, error) {
	if size := d.Size(); size > 0 {
		if len(data)%size != 0 {
			return 0, fmt.Errorf("has %d bytes of b64 data, not a multiple of the %d of a %s", len(data), size, d)
		}
		return len(data) / size, nil
	}
	n := 0
	for rest := data; len(rest) > 0; n++ {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.LittleEndian.Uint32(rest)) {
			return 0, fmt.Errorf("has b64 data that is not a row of strings with a 4-byte length each: it breaks off in string %d", n)
		}
		rest = rest[4+binary.LittleEndian.Uint32(rest):]
	}
	return n, nil
}

// appendElement writes one JSON value (bool, json.Number or string) as binary
// data; a value that the datatype can't hold is an error.
func appendElement(dst []byte, d Datatype, value any) ([]byte, error) {
	switch v := value.(type) {
	case bool:
		if d != Bool {
			return dst, fmt.Errorf("is the boolean %t, not a %s", v, d)
		}
		if v {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case string:
		if d != Bytes {
			return dst, fmt.Errorf("is the string %q, not a %s", shorten(v), d)
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v)))
		return append(dst, v...), nil
	case json.Number:
		return appendNumber(dst, d, v.String())
	default:
		return dst, fmt.Errorf("is null, not a %s", d)
	}
}

func appendNumber(dst []byte, d Datatype, text string) ([]byte, error) {
	bits := 8 * d.Size()
	switch d {
	case Bytes:
		return dst, fmt.Errorf("is the number %s; write BYTES elements as strings", text)
	case Bool:
		if text != "0" && text != "1" {
			return dst, fmt.Errorf("is %s, not a BOOL", text)
		}
		return append(dst, text[0]-'0'), nil
	case Int8, Int16, Int32, Int64:
		v, err := strconv.ParseInt(text, 10, bits)
		if errors.Is(err, strconv.ErrRange) {
			return dst, fmt.Errorf("is %s, outside of %s (%d to %d)", text, d, int64(-1)<<(bits-1), int64(1)<<(bits-1)-1)
		}
		if err != nil {
			return dst, fmt.Errorf("is %s, not a whole number for %s", text, d)
		}
		return append(dst, encodeInteger(d, uint64(v))...), nil
	case Uint8, Uint16, Uint32, Uint64:
		v, err := strconv.ParseUint(text, 10, bits)
		if errors.Is(err, strconv.ErrRange) || text[0] == '-' {
			return dst, fmt.Errorf("is %s, outside of %s (0 to %d)", text, d, uint64(math.MaxUint64)>>(64-bits))
		}
		if err != nil {
			return dst, fmt.Errorf("is %s, not a whole number for %s", text, d)
		}
		return append(dst, encodeInteger(d, v)...), nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return dst, fmt.Errorf("is %s, outside of %s", text, d)
	}
	single := float32(v)
	tooLarge := false
	switch d {
	case FP64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), nil
	case FP32:
		tooLarge = math.IsInf(float64(single), 0)
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(single))
	case FP16:
		half := halfFromFloat(single)
		tooLarge = half&0x7FFF == 0x7C00
		dst = binary.LittleEndian.AppendUint16(dst, half)
	case BF16:
		brain := bfloatFromFloat(single)
		tooLarge = brain&0x7FFF == 0x7F80
		dst = binary.LittleEndian.AppendUint16(dst, brain)
	}
	if tooLarge {
		return dst, fmt.Errorf("is %s, outside of %s", text, d)
	}
	return dst, nil
}

// encodeInteger is the little-endian form of the low bits of v.
func encodeInteger(d Datatype, v uint64) []byte {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	return word[:max(d.Size(), 0)]
}
