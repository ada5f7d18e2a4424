package triton

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// builder fills in a RequestSpec step by step.
type builder struct {
	opts   RequestOptions
	inputs []InputConfig
	spec   *RequestSpec
}

func (b *builder) refuse(input, hint, format string, args ...any) error {
	return &RequestError{Model: b.spec.model, Input: input, Problem: fmt.Sprintf(format, args...), Hint: hint}
}

func (b *builder) note(format string, args ...any) {
	b.spec.notes = append(b.spec.notes, fmt.Sprintf(format, args...))
}

func (b *builder) checkBatch(cfg ModelConfig) error {
	switch batch := b.opts.BatchSize; {
	case batch < 0:
		return b.refuse("", "use 1 or more", "the batch size is %d", batch)
	case batch > 1 && cfg.MaxBatchSize == 0:
		return b.refuse("", "leave the batch size out", "it has no batch dimension (max_batch_size 0), so a batch of %d can't be sent", batch)
	case cfg.MaxBatchSize > 0 && batch > cfg.MaxBatchSize:
		return b.refuse("", fmt.Sprintf("use a batch size of at most %d", cfg.MaxBatchSize), "a batch of %d is above its max_batch_size %d", batch, cfg.MaxBatchSize)
	case b.opts.StringLength < 0:
		return b.refuse("", "use 0 or more", "the string length is %d", b.opts.StringLength)
	}
	return nil
}

func (b *builder) checkOutputs() error {
	for i, name := range b.opts.OutputNames {
		if _, known := b.spec.outputs[name]; !known {
			return b.refuse("", "it has "+list(slices.Sorted(maps.Keys(b.spec.outputs))), "it has no output %q", name)
		}
		if slices.Contains(b.opts.OutputNames[:i], name) {
			return b.refuse("", "name it once", "output %q is asked for twice", name)
		}
	}
	b.spec.asked = slices.Clone(b.opts.OutputNames)
	return nil
}

func (b *builder) setSequence(cfg ModelConfig) error {
	if cfg.SequenceBatching == nil {
		if b.opts.SequenceLength != 0 {
			return b.refuse("", "leave the sequence length out", "it has no sequence batching")
		}
		return nil
	}
	if b.spec.batch > 1 {
		return b.refuse("", "leave the batch size out", "its sequence batching takes requests of batch size 1 only, not %d", b.spec.batch)
	}
	if b.opts.SequenceLength < 0 {
		return b.refuse("", "use 1 or more", "the sequence length is %d", b.opts.SequenceLength)
	}
	if v := b.opts.SequenceLengthVariation; !(v >= 0 && v <= 1) {
		return b.refuse("", "use a share from 0 to 1", "the variation of the sequence length is %v", v)
	}
	if b.opts.SequenceLength != 0 && b.opts.Data == DataFile {
		return b.refuse("", "leave the sequence length out", "its sequences are as long as the streams of the input data file")
	}
	textID := false
	for _, in := range cfg.SequenceBatching.ControlInput {
		for _, control := range in.Control {
			textID = textID || control.Kind == "CONTROL_SEQUENCE_CORRID" && control.DataType == Bytes
		}
	}
	length := b.opts.SequenceLength
	if length == 0 {
		length = DefaultSequenceLength
	}
	idle := time.Duration(cfg.SequenceBatching.MaxSequenceIdleMicroseconds) * time.Microsecond
	if idle <= 0 {
		idle = time.Second // the configuration's default
	}
	b.spec.sequence = newSequencePlan(length, b.opts.SequenceLengthVariation, b.opts.Seed, textID, idle)
	return nil
}

func (b *builder) readFile() error {
	if b.opts.Data != DataFile {
		return nil
	}
	file, err := readInputFile(b.opts.File)
	if err != nil {
		return err
	}
	b.spec.file = file
	return nil
}

// chooseInputs decides which inputs are sent, and their shapes.
func (b *builder) chooseInputs() error {
	byName := map[string]bool{}
	names := make([]string, 0, len(b.inputs))
	needed := false // an input is sent even without the optional ones
	for _, in := range b.inputs {
		byName[in.Name] = true
		names = append(names, in.Name)
		needed = needed || !in.Optional || b.given(in.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(b.opts.Shapes)) {
		if !byName[name] {
			return b.refuse("", "it has "+list(names), "a shape is given for %q, which is not one of its inputs", name)
		}
	}
	if b.spec.file != nil {
		if name, at := b.spec.file.unknownInput(byName); name != "" {
			return &InputDataError{File: b.opts.File, Where: at, Input: name, Problem: "is not an input of model " + b.spec.model + ", which has " + list(names)}
		}
	}
	var left []string
	for _, in := range b.inputs {
		if in.DataType.Size() < 0 {
			return b.refuse(in.Name, "", "has the datatype %s, which the inference protocol doesn't have", in.DataType)
		}
		if b.opts.Generate && in.Name == streamInput && in.DataType == Bool && !b.given(in.Name) {
			b.spec.streamSwitch = true
			continue
		}
		if in.Optional && needed && !b.given(in.Name) {
			left = append(left, in.Name)
			continue
		}
		chosen, err := b.shape(in)
		if err != nil {
			return err
		}
		b.spec.inputs = append(b.spec.inputs, chosen)
	}
	if len(left) > 0 {
		b.note("optional %s left out; a shape or data given for an optional input sends it", list(left))
	}
	return nil
}

// given tells whether the caller wants an optional input to be sent.
func (b *builder) given(name string) bool {
	_, shaped := b.opts.Shapes[name]
	return shaped || b.spec.file != nil && b.spec.file.inputs[name]
}

// shape makes an input's dims concrete from --shape, else 1 per variable one.
func (b *builder) shape(in InputConfig) (input, error) {
	chosen := input{
		name: in.Name, datatype: in.DataType, pattern: slices.Clone(in.Dims), dims: slices.Clone(in.Dims),
		shapeTensor: in.IsShapeTensor,
	}
	if given, ok := b.opts.Shapes[in.Name]; ok {
		if problem := mismatch(given, in.Dims); problem != "" {
			hint := "give the shape without the batch dimension, such as --shape " + in.Name + ":" + example(in.Dims)
			if b.spec.batching && len(given) == len(in.Dims)+1 {
				hint += ", and the batch with --batch-size"
			}
			return input{}, b.refuse(in.Name, hint, "wants %s %s but is given %s: %s", in.DataType, shapeText(in.Dims), shapeText(given), problem)
		}
		chosen.dims = slices.Clone(given)
		return chosen, nil
	}
	for i, d := range chosen.dims {
		if d < 0 {
			chosen.dims[i] = 1
			chosen.assumed = append(chosen.assumed, i)
		}
	}
	return chosen, nil
}

// setVariants computes the shapes and sizes of the requests' forms.
func (b *builder) setVariants() error {
	if b.spec.file != nil {
		return b.setFileVariants()
	}
	var f form
	for _, in := range b.spec.inputs {
		shape := b.spec.withBatch(in, in.dims)
		size, err := b.tensorBytes(in, shape)
		if err != nil {
			return err
		}
		f.shapes = append(f.shapes, shape)
		f.bytes = append(f.bytes, size)
		f.total += size
		if len(in.assumed) > 0 {
			b.note("variable dimensions of %s %s are taken as 1; set them with --shape %s:%s", in.name, shapeText(in.pattern), in.name, example(in.pattern))
		}
		if in.shapeTensor {
			b.note("%s is a shape tensor: its values are all 1; give real ones in a data file", in.name)
		}
	}
	b.spec.forms, b.spec.variants = []form{f}, []int{0}
	return b.checkTotal()
}

func (b *builder) checkTotal() error {
	for _, f := range b.spec.forms {
		if f.total > maxTensorBytes {
			return b.refuse("", "use smaller shapes or a smaller batch", "its request would hold %d bytes of tensors, above the protocol's 2 GiB", f.total)
		}
	}
	return nil
}

// tensorBytes is the size of a random or zero tensor as binary data.
func (b *builder) tensorBytes(in input, shape []int64) (int, error) {
	elementBytes := int64(in.datatype.Size())
	if in.datatype == Bytes {
		elementBytes = 4 + int64(b.opts.StringLength)
	}
	n, ok := elements(shape)
	if !ok || n > math.MaxInt64/elementBytes || n*elementBytes > maxTensorBytes {
		return 0, b.refuse(in.name, "use smaller shapes or a smaller batch", "with shape %s is above the protocol's 2 GiB", shapeText(shape))
	}
	return int(n * elementBytes), nil
}

// withBatch is the shape that goes over the wire. A shape tensor has one value
// set for the whole batch, so it has no batch dimension.
func (s *RequestSpec) withBatch(in input, dims []int64) []int64 {
	if !s.batching || in.shapeTensor {
		return slices.Clone(dims)
	}
	return append([]int64{int64(s.batch)}, dims...)
}

// list joins names as a sentence does.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
