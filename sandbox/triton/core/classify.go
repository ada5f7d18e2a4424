package core

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// Classify replaces an output by its count largest values per batch item, each
// as the string value:index or value:index:label.
func Classify(m *Model, out tensor.Tensor, count int) tensor.Tensor {
	shape := []int64{}
	items := int64(1)
	if m.Config.MaxBatchSize > 0 && len(out.Shape) > 0 {
		items = out.Shape[0]
		shape = append(shape, items)
	}
	classes := int64(0)
	if items > 0 {
		classes = tensor.Elements(out.Shape) / items
	}
	count = min(count, int(classes))
	labels := m.Labels(out.Name)
	var data []byte
	for item := range items {
		values := make([]float64, classes)
		for k := range values {
			values[k] = element(out, item*classes+int64(k))
		}
		order := make([]int, classes)
		for k := range order {
			order[k] = k
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case values[a] > values[b]:
				return -1
			case values[a] < values[b]:
				return 1
			}
			return 0
		})
		for _, k := range order[:count] {
			text := strconv.FormatFloat(values[k], 'f', 6, 64)
			if integer(out.Type) {
				text = strconv.FormatFloat(values[k], 'f', 0, 64)
			}
			text += ":" + strconv.Itoa(k)
			if k < len(labels) {
				text += ":" + labels[k]
			}
			data = tensor.AppendElement(data, text)
		}
	}
	return tensor.Tensor{Name: out.Name, Type: tensor.Bytes, Shape: append(shape, int64(count)), Data: data}
}

func integer(t tensor.DataType) bool { return t != tensor.FP32 && t != tensor.FP64 }

func element(t tensor.Tensor, index int64) float64 {
	size := int64(t.Type.Size())
	if size == 0 || (index+1)*size > int64(len(t.Data)) {
		return 0
	}
	e := t.Data[index*size:]
	le := binary.LittleEndian
	switch t.Type {
	case tensor.Bool, tensor.Uint8:
		return float64(e[0])
	case tensor.Int8:
		return float64(int8(e[0]))
	case tensor.Uint16:
		return float64(le.Uint16(e))
	case tensor.Int16:
		return float64(int16(le.Uint16(e)))
	case tensor.Uint32:
		return float64(le.Uint32(e))
	case tensor.Int32:
		return float64(int32(le.Uint32(e)))
	case tensor.Uint64:
		return float64(le.Uint64(e))
	case tensor.Int64:
		return float64(int64(le.Uint64(e)))
	case tensor.FP32:
		return float64(math.Float32frombits(le.Uint32(e)))
	case tensor.FP64:
		return math.Float64frombits(le.Uint64(e))
	}
	return 0
}
