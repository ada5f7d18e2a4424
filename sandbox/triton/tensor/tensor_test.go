package tensor

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
)

func decode(t *testing.T, text string, dtype DataType, elements int64) ([]byte, error) {
	t.Helper()
	v, err := rapidjson.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return DecodeJSON(v, dtype, elements)
}

func TestJSONBothWays(t *testing.T) {
	for _, tc := range []struct {
		dtype DataType
		in    string
		n     int64
		out   string // if it differs
	}{
		{dtype: Bool, in: "true,false", n: 2},
		{dtype: Uint8, in: "0,255", n: 2},
		{dtype: Uint16, in: "65535", n: 1},
		{dtype: Uint32, in: "4294967295", n: 1},
		{dtype: Uint64, in: "18446744073709551615", n: 1},
		{dtype: Int8, in: "-129,300", n: 2, out: "127,44"}, // wraps
		{dtype: Int16, in: "-32768", n: 1},
		{dtype: Int32, in: "[-2147483648],[2147483647]", n: 2, out: "-2147483648,2147483647"},
		{dtype: Int64, in: "-9223372036854775808", n: 1},
		{dtype: FP32, in: "1,NaN,-Infinity", n: 3, out: "1.0,NaN,-Infinity"},
		{dtype: FP64, in: "0.1", n: 1},
		{dtype: Bytes, in: `"a","","é\n"`, n: 3},
	} {
		data, err := decode(t, "["+tc.in+"]", tc.dtype, tc.n)
		if err != nil {
			t.Errorf("%s: %v", tc.dtype, err)
			continue
		}
		want := tc.out
		if want == "" {
			want = tc.in
		}
		if got, ok := AppendJSON(nil, tc.dtype, data, tc.n); !ok || string(got) != want {
			t.Errorf("%s: %s comes back as %s", tc.dtype, tc.in, got)
		}
		if _, ok := AppendJSON(nil, tc.dtype, data, tc.n+1); ok {
			t.Errorf("%s: one element too many is written", tc.dtype)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tc := range []struct {
		dtype DataType
		text  string
		n     int64
		want  string
	}{
		{FP32, "[1,2]", 3, ErrTooFew.Error()},
		{FP32, "[1,2]", 1, ErrTooMany.Error()},
		{FP32, `["1"]`, 1, "Unable to parse 'data': attempt to access JSON non-number as double"},
		{Int32, "[1.5]", 1, "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"},
		{Uint8, "[-1]", 1, "Unable to parse 'data': attempt to access JSON non-unsigned-integer as unsigned-integer"},
		{Bool, "[1]", 1, "Unable to parse 'data': attempt to access JSON non-boolean as boolean"},
		{Bytes, "[5]", 1, "Unable to parse JSON bytes array: attempt to access JSON non-string as string"},
	} {
		if _, err := decode(t, tc.text, tc.dtype, tc.n); err == nil || err.Error() != tc.want {
			t.Errorf("%s as %s: %v, want %s", tc.text, tc.dtype, err, tc.want)
		}
	}
}

func TestElements(t *testing.T) {
	for _, tc := range []struct {
		shape []int64
		want  int64
	}{{nil, 1}, {[]int64{2, 3}, 6}, {[]int64{0, 1 << 40}, 0}, {[]int64{-2, -2}, -1}, {[]int64{1 << 40, 1 << 40}, -1}, {[]int64{1 << 62, 4}, -1}} {
		if got := Elements(tc.shape); got != tc.want {
			t.Errorf("%v has %d elements, want %d", tc.shape, got, tc.want)
		}
	}
}

// A shape that promises more than the text holds must not allocate it.
func TestHostileShape(t *testing.T) {
	if _, err := decode(t, "[1]", FP32, 1<<40); !errors.Is(err, ErrTooFew) {
		t.Errorf("got %v", err)
	}
}

func FuzzSplitElements(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'a', 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		elements, ok := SplitElements(data)
		if !ok {
			return
		}
		var joined []byte
		for _, e := range elements {
			joined = AppendElement(joined, e)
		}
		if !bytes.Equal(joined, data) || int64(len(elements)) != CountElements(data) {
			t.Fatalf("%q is split into %q", data, elements)
		}
	})
}
