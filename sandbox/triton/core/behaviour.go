package core

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// computeFunc is what a model computes for one request. It must not wait.
type computeFunc func(i *instance, r *Request) outcome

// behave chooses the model's function and fills in what its backend implies.
func (m *Model) behave(sim *modelconfig.Sim) {
	name := sim.Behaviour
	if name == "" && m.Config.Backend == "identity" {
		name = "identity"
	}
	if m.Config.Backend == "identity" {
		// Triton's identity backend attaches these to every response.
		m.parameters = []Parameter{
			{"param0", "an example string parameter"}, {"param1", int64(42)}, {"param2", false}, {"param3", 123.123},
		}
	}
	if delay := m.Config.Parameters["execute_delay_ms"].GetStringValue(); delay != "" && sim.ServiceTime.Base == 0 {
		if ms, err := strconv.Atoi(delay); err == nil && ms > 0 {
			sim.ServiceTime.Base = modelconfig.Duration(time.Duration(ms) * time.Millisecond)
		}
	}
	switch name {
	case "identity":
		m.compute = identity
	case "add_sub":
		m.compute = addSub
	case "delay":
		m.compute = delay
	case "error":
		m.compute = errorByCode
	case "sequence_sum":
		m.compute = sequenceSum
	case "repeat":
		m.stream = repeat
	case "square":
		m.stream = square
	case "words":
		m.stream = words
	default:
		m.compute = synthetic
	}
}

func identity(i *instance, r *Request) outcome {
	m := i.model
	var outputs []tensor.Tensor
	for k, out := range m.Config.Output {
		if !r.wants(out.Name) {
			continue
		}
		result := tensor.Tensor{Name: out.Name, Type: tensor.FromConfig(out.DataType)}
		var in *tensor.Tensor
		if k < len(m.Config.Input) {
			in, _ = r.Input(m.Config.Input[k].Name)
		}
		if in != nil {
			result.Shape, result.Data = in.Shape, in.Data
		} else {
			result.Shape = m.outputShape(r, out.Dims)
			result.Data = make([]byte, tensor.Elements(result.Shape)*int64(result.Type.Size()))
		}
		outputs = append(outputs, result)
	}
	return outcome{outputs: outputs}
}

// outputShape is an output's shape for a request: its batch dimension, and for
// every variable dimension the size that the inputs' variable dimensions have.
func (m *Model) outputShape(r *Request, dims []int64) []int64 {
	shape := make([]int64, 0, len(dims)+1)
	if m.Config.MaxBatchSize > 0 {
		shape = append(shape, int64(r.BatchSize))
	}
	variable := m.variableDims(r)
	for _, d := range dims {
		if d == -1 {
			d = 1
			if len(variable) > 0 {
				d = variable[0]
				variable = variable[1:]
			}
		}
		shape = append(shape, d)
	}
	return shape
}

func (m *Model) variableDims(r *Request) (sizes []int64) {
	for _, in := range m.Config.Input {
		sent, ok := r.Input(in.Name)
		if !ok {
			continue
		}
		shape := sent.Shape
		if m.Config.MaxBatchSize > 0 && !in.IsShapeTensor {
			shape = shape[1:]
		}
		for k, d := range in.Dims {
			if d == -1 {
				sizes = append(sizes, shape[k])
			}
		}
	}
	return sizes
}

// synthetic makes outputs up: the same for the same inputs, different otherwise.
func synthetic(i *instance, r *Request) outcome {
	m := i.model
	hash := fnv.New64a()
	for k := range r.Inputs {
		data := r.Inputs[k].Data
		_, _ = hash.Write(data[:min(len(data), 256)]) // never fails
	}
	rng := rand.New(rand.NewPCG(hash.Sum64(), 0))
	var outputs []tensor.Tensor
	for _, out := range m.Config.Output {
		if !r.wants(out.Name) {
			continue
		}
		t := tensor.Tensor{Name: out.Name, Type: tensor.FromConfig(out.DataType), Shape: m.outputShape(r, out.Dims)}
		t.Data = invent(t.Type, int(tensor.Elements(t.Shape)), rng)
		outputs = append(outputs, t)
	}
	return outcome{outputs: outputs}
}

func invent(dtype tensor.DataType, elements int, rng *rand.Rand) []byte {
	data := make([]byte, 0, elements*max(8, dtype.Size()))
	for range elements {
		switch dtype {
		case tensor.Bool:
			data = append(data, byte(rng.Uint32()&1))
		case tensor.FP32:
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(rng.Float32()))
		case tensor.FP64:
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(rng.Float64()))
		case tensor.FP16: // 1.0 to 2.0
			data = binary.LittleEndian.AppendUint16(data, 0x3c00|uint16(rng.Uint32()&0x3ff))
		case tensor.BF16: // 1.0 to 2.0
			data = binary.LittleEndian.AppendUint16(data, 0x3f80|uint16(rng.Uint32()&0x7f))
		case tensor.Bytes:
			data = tensor.AppendElement(data, "w"+strconv.Itoa(int(rng.Uint32()%1000)))
		default:
			n := rng.Uint64() % 100
			for shift := 0; shift < dtype.Size()*8; shift += 8 {
				data = append(data, byte(n>>shift))
			}
		}
	}
	return data
}

func addSub(i *instance, r *Request) outcome {
	m := i.model
	if len(r.Inputs) != 2 || len(m.Config.Output) != 2 || len(r.Inputs[0].Data) != len(r.Inputs[1].Data) {
		return outcome{err: Errorf(InvalidArg, "model '%s' adds and subtracts two inputs of one shape", m.Name), raised: true}
	}
	a, _ := r.Input(m.Config.Input[0].Name)
	b, _ := r.Input(m.Config.Input[1].Name)
	var outputs []tensor.Tensor
	for k, out := range m.Config.Output {
		if !r.wants(out.Name) {
			continue
		}
		outputs = append(outputs, tensor.Tensor{
			Name: out.Name, Type: a.Type, Shape: a.Shape, Data: combine(a.Type, a.Data, b.Data, k == 1),
		})
	}
	return outcome{outputs: outputs}
}

func combine(dtype tensor.DataType, a, b []byte, subtract bool) []byte {
	sum := make([]byte, 0, len(a))
	le := binary.LittleEndian
	for k := 0; k+4 <= len(a); k += 4 {
		if dtype == tensor.FP32 {
			x, y := math.Float32frombits(le.Uint32(a[k:])), math.Float32frombits(le.Uint32(b[k:]))
			if subtract {
				y = -y
			}
			sum = le.AppendUint32(sum, math.Float32bits(x+y))
			continue
		}
		x, y := le.Uint32(a[k:]), le.Uint32(b[k:])
		if subtract {
			y = -y
		}
		sum = le.AppendUint32(sum, x+y)
	}
	return sum
}

// delay is an identity whose execution lasts as many ms as its input DELAY_MS says.
func delay(i *instance, r *Request) outcome {
	o := identity(i, r)
	if in, ok := r.Input("DELAY_MS"); ok && len(in.Data) >= 4 {
		o.extra = time.Duration(binary.LittleEndian.Uint32(in.Data)) * time.Millisecond
	}
	return o
}

// errorByCode answers with the error that its first input's first element
// names by number, raises one for 3, and is an identity otherwise.
func errorByCode(i *instance, r *Request) outcome {
	codes := map[uint32]Code{1: Internal, 2: Unavailable, 4: AlreadyExists, 5: NotFound, 6: Cancelled, 8: InvalidArg, 9: Unsupported, 10: Unknown}
	number := uint32(0)
	if len(r.Inputs) > 0 && len(r.Inputs[0].Data) >= 4 {
		number = binary.LittleEndian.Uint32(r.Inputs[0].Data)
	}
	if number == 3 {
		return outcome{err: i.traceback("ValueError: boom from execute", 13), raised: true}
	}
	if code, ok := codes[number]; ok {
		return outcome{err: Errorf(code, "model says no (%d)", number)}
	}
	return identity(i, r)
}

// traceback is what the Python backend makes of an exception in a model.
func (i *instance) traceback(exception string, line int) *Error {
	return Errorf(Internal, "Failed to process the request(s) for model '%s', message: %s\n\nAt:\n  %s(%d): execute\n",
		i.name, exception, fmt.Sprintf("/srv/triton/models/%s/%d/model.py", i.model.Name, i.model.Version), line)
}
