// Package tensor holds typed tensors as Triton's protocol carries them:
// little-endian, row-major, BYTES elements as a 32-bit length and the bytes.
package tensor

import (
	"encoding/binary"
	"strconv"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// DataType is a tensor's element type.
type DataType uint8

// The element types of the protocol.
const (
	Invalid DataType = iota
	Bool
	Uint8
	Uint16
	Uint32
	Uint64
	Int8
	Int16
	Int32
	Int64
	FP16
	FP32
	FP64
	Bytes
	BF16
)

// names returns the protocol's names in the order of the constants, which is
// that of the model configuration's DataType.
func names() [15]string {
	return [...]string{"", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"}
}

// String is the protocol's name, such as FP32.
func (d DataType) String() string { return names()[d] }

// ParseDataType returns Invalid for an unknown name.
func ParseDataType(name string) DataType {
	for i, n := range names() {
		if i > 0 && n == name {
			return DataType(i)
		}
	}
	return Invalid
}

// FromConfig translates a model configuration's type.
func FromConfig(t inferencepb.DataType) DataType {
	if t < 0 || t > inferencepb.DataType_TYPE_BF16 {
		return Invalid
	}
	return DataType(t)
}

// Size is one element's size in bytes; 0 for BYTES, whose elements vary.
func (d DataType) Size() int {
	switch d {
	case Bool, Uint8, Int8:
		return 1
	case Uint16, Int16, FP16, BF16:
		return 2
	case Uint32, Int32, FP32:
		return 4
	case Uint64, Int64, FP64:
		return 8
	}
	return 0
}

// Tensor is one named tensor of a request or a response.
type Tensor struct {
	Name  string
	Type  DataType
	Shape []int64
	Data  []byte
}

// Elements is the product of the dimensions; -1, which fits no data, if one is
// negative or the product is absurd.
func Elements(shape []int64) int64 {
	const most = 1 << 48
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > most || n > most/max(1, d) {
			return -1
		}
		n *= d
	}
	return n
}

// AppendShape appends a shape as [1,2,3].
func AppendShape(dst []byte, shape []int64) []byte {
	dst = append(dst, '[')
	for i, d := range shape {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, d, 10)
	}
	return append(dst, ']')
}

// AppendElement appends one BYTES element.
func AppendElement[T string | []byte](dst []byte, element T) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(element)))
	return append(dst, element...)
}

// CountElements counts the BYTES elements that begin in data, complete or not.
func CountElements(data []byte) int64 {
	n := int64(0)
	for len(data) >= 4 {
		size := int64(binary.LittleEndian.Uint32(data))
		n++
		if size > int64(len(data)-4) {
			return n
		}
		data = data[4+size:]
	}
	return n
}

// SplitElements returns the BYTES elements; ok is false if data isn't made of
// whole elements.
func SplitElements(data []byte) (elements [][]byte, ok bool) {
	for len(data) > 0 {
		if len(data) < 4 {
			return elements, false
		}
		size := int64(binary.LittleEndian.Uint32(data))
		if size > int64(len(data)-4) {
			return elements, false
		}
		elements = append(elements, data[4:4+size])
		data = data[4+size:]
	}
	return elements, true
}
