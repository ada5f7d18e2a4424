package triton

import (
	"fmt"
	"strings"
)

// Datatype is a tensor's element type by the name the inference protocol gives
// it. Model configurations write the same types with a TYPE_ prefix, and BYTES
// as TYPE_STRING.
type Datatype string

// The element types of the inference protocol.
const (
	Bool   Datatype = "BOOL"
	Uint8  Datatype = "UINT8"
	Uint16 Datatype = "UINT16"
	Uint32 Datatype = "UINT32"
	Uint64 Datatype = "UINT64"
	Int8   Datatype = "INT8"
	Int16  Datatype = "INT16"
	Int32  Datatype = "INT32"
	Int64  Datatype = "INT64"
	FP16   Datatype = "FP16"
	FP32   Datatype = "FP32"
	FP64   Datatype = "FP64"
	BF16   Datatype = "BF16"
	Bytes  Datatype = "BYTES"
)

// Size is the number of bytes of one element, 0 for BYTES, whose elements are
// a little-endian uint32 length followed by that many bytes, and -1 for a type
// that the protocol doesn't have.
func (d Datatype) Size() int {
	switch d {
	case Bool, Int8, Uint8:
		return 1
	case Int16, Uint16, FP16, BF16:
		return 2
	case Int32, Uint32, FP32:
		return 4
	case Int64, Uint64, FP64:
		return 8
	case Bytes:
		return 0
	default:
		return -1
	}
}

// UnmarshalJSON reads either spelling: FP32 or TYPE_FP32.
func (d *Datatype) UnmarshalJSON(text []byte) error {
	s := strings.Trim(string(text), `"`)
	name := strings.TrimPrefix(s, "TYPE_")
	if name == "STRING" {
		name = string(Bytes)
	}
	if len(text) < 2 || text[0] != '"' {
		return fmt.Errorf("datatype %s is not a string", text)
	}
	*d = Datatype(name)
	return nil
}

// Tensor is a tensor's name, type and shape; -1 marks a variable dimension.
type Tensor struct {
	Name     string   `json:"name"`
	Datatype Datatype `json:"datatype"`
	Shape    []int64  `json:"shape"`
}
