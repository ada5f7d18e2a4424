package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
)

// ErrTooFew and ErrTooMany say that JSON data doesn't fill its shape.
var (
	ErrTooFew  = errors.New("Failed to parse 'data' field: shape does not match true shape")           //nolint:staticcheck // Triton's wording
	ErrTooMany = errors.New("Unable to parse 'data': Shape does not match true shape of 'data' field") //nolint:staticcheck // Triton's wording
)

// DecodeJSON reads a tensor's data field, flat or nested, of the given number
// of elements. The errors are Triton's.
func DecodeJSON(data rapidjson.Value, dtype DataType, elements int64) ([]byte, error) {
	d := decoder{dtype: dtype, left: elements}
	if size := dtype.Size(); size > 0 && elements >= 0 && elements < 1<<28 {
		// A hostile shape must not allocate what the text can't fill.
		d.out = make([]byte, 0, min(int(elements)*size, len(data.Text())*size))
	}
	if err := d.value(data); err != nil {
		return nil, err
	}
	if d.left > 0 {
		return nil, ErrTooFew
	}
	return d.out, nil
}

type decoder struct {
	dtype DataType
	left  int64
	out   []byte
}

func (d *decoder) value(v rapidjson.Value) error {
	if v.IsArray() {
		var err error
		v.Each(func(e rapidjson.Value) bool {
			err = d.value(e)
			return err == nil
		})
		return err
	}
	if d.left == 0 {
		return ErrTooMany
	}
	d.left--
	return d.element(v)
}

func (d *decoder) element(v rapidjson.Value) error {
	switch d.dtype {
	case Bool:
		b, ok := v.Bool()
		if !ok {
			return access("non-boolean", "boolean")
		}
		if b {
			d.out = append(d.out, 1)
		} else {
			d.out = append(d.out, 0)
		}
	case Uint8, Uint16, Uint32, Uint64:
		n, ok := v.Uint64()
		if !ok {
			return access("non-unsigned-integer", "unsigned-integer")
		}
		d.integer(n)
	case Int8, Int16, Int32, Int64:
		n, ok := v.Int64()
		if !ok {
			return access("non-signed-integer", "signed-integer")
		}
		d.integer(uint64(n))
	case FP32, FP64:
		f, ok := v.Float64()
		if !ok {
			return access("non-number", "double")
		}
		if d.dtype == FP32 {
			d.out = binary.LittleEndian.AppendUint32(d.out, math.Float32bits(float32(f)))
		} else {
			d.out = binary.LittleEndian.AppendUint64(d.out, math.Float64bits(f))
		}
	case Bytes:
		s, ok := v.Str()
		if !ok {
			return errors.New("Unable to parse JSON bytes array: attempt to access JSON non-string as string") //nolint:staticcheck // Triton's wording
		}
		d.out = AppendElement(d.out, s)
	default:
		return fmt.Errorf("datatype %s can't be read from JSON", d.dtype)
	}
	return nil
}

// integer keeps the low bits: Triton lets an overflow wrap silently.
func (d *decoder) integer(n uint64) {
	switch d.dtype.Size() {
	case 1:
		d.out = append(d.out, byte(n))
	case 2:
		d.out = binary.LittleEndian.AppendUint16(d.out, uint16(n))
	case 4:
		d.out = binary.LittleEndian.AppendUint32(d.out, uint32(n))
	default:
		d.out = binary.LittleEndian.AppendUint64(d.out, n)
	}
}

func access(got, want string) error {
	return fmt.Errorf("Unable to parse 'data': attempt to access JSON %s as %s", got, want) //nolint:staticcheck // Triton's wording
}

// AppendJSON appends the elements as JSON values separated by commas. It
// returns false if the data doesn't hold that many whole elements.
func AppendJSON(dst []byte, dtype DataType, data []byte, elements int64) ([]byte, bool) {
	if dtype == Bytes {
		list, ok := SplitElements(data)
		if !ok || int64(len(list)) != elements {
			return dst, false
		}
		for i, e := range list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = rapidjson.AppendString(dst, e)
		}
		return dst, true
	}
	size := dtype.Size()
	if size == 0 || int64(len(data)) != elements*int64(size) {
		return dst, false
	}
	for i := 0; i < len(data); i += size {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendElementJSON(dst, dtype, data[i:i+size])
	}
	return dst, true
}

func appendElementJSON(dst []byte, dtype DataType, e []byte) []byte {
	le := binary.LittleEndian
	switch dtype {
	case Bool:
		return strconv.AppendBool(dst, e[0] != 0)
	case Uint8:
		return strconv.AppendUint(dst, uint64(e[0]), 10)
	case Uint16:
		return strconv.AppendUint(dst, uint64(le.Uint16(e)), 10)
	case Uint32:
		return strconv.AppendUint(dst, uint64(le.Uint32(e)), 10)
	case Uint64:
		return strconv.AppendUint(dst, le.Uint64(e), 10)
	case Int8:
		return strconv.AppendInt(dst, int64(int8(e[0])), 10)
	case Int16:
		return strconv.AppendInt(dst, int64(int16(le.Uint16(e))), 10)
	case Int32:
		return strconv.AppendInt(dst, int64(int32(le.Uint32(e))), 10)
	case Int64:
		return strconv.AppendInt(dst, int64(le.Uint64(e)), 10)
	case FP32:
		return rapidjson.AppendFloat(dst, float64(math.Float32frombits(le.Uint32(e))))
	}
	return rapidjson.AppendFloat(dst, math.Float64frombits(le.Uint64(e)))
}
