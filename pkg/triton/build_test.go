package triton

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuildRequestFromCapturedModels(t *testing.T) {
	tests := []struct {
		model string
		opts  RequestOptions
		want  []Tensor
		note  string // part of a note, "" if there must be none
	}{
		{"identity_fp32", RequestOptions{}, []Tensor{{"INPUT0", FP32, []int64{1, 4}}}, ""},
		{"identity_fp32", RequestOptions{BatchSize: 8}, []Tensor{{"INPUT0", FP32, []int64{8, 4}}}, ""},
		{"identity_fp32", RequestOptions{Shapes: map[string][]int64{"INPUT0": {4}}}, []Tensor{{"INPUT0", FP32, []int64{1, 4}}}, ""},
		{"identity_bytes", RequestOptions{BatchSize: 2}, []Tensor{{"INPUT0", Bytes, []int64{2, 1}}}, "--shape INPUT0:d"},
		{"identity_var", RequestOptions{}, []Tensor{{"INPUT0", FP32, []int64{1, 1, 3}}}, "[-1,-1,3] are taken as 1; set them with --shape INPUT0:d,d,3"},
		{"identity_var", RequestOptions{BatchSize: 1, Shapes: map[string][]int64{"INPUT0": {224, 0, 3}}}, []Tensor{{"INPUT0", FP32, []int64{224, 0, 3}}}, ""},
		{"optional_in", RequestOptions{}, []Tensor{{"INPUT0", Int32, []int64{1, 2}}}, "optional INPUT1 left out"},
		{"optional_in", RequestOptions{BatchSize: 3, Shapes: map[string][]int64{"INPUT1": {2}}}, []Tensor{{"INPUT0", Int32, []int64{3, 2}}, {"INPUT1", Int32, []int64{3, 2}}}, ""},
		{"reshape_in", RequestOptions{BatchSize: 2}, []Tensor{{"INPUT0", Int32, []int64{2, 1}}}, ""},
		{"ens", RequestOptions{BatchSize: 4}, []Tensor{{"INPUT0", FP32, []int64{4, 4}}}, ""},
		{"simple", RequestOptions{}, []Tensor{{"INPUT0", Int32, []int64{1, 16}}, {"INPUT1", Int32, []int64{1, 16}}}, ""},
		{"two_versions", RequestOptions{Version: "1"}, []Tensor{{"INPUT0", Int32, []int64{1, 2}}}, ""},
		{"repeat_int32", RequestOptions{Shapes: map[string][]int64{"IN": {3}, "DELAY": {3}}}, []Tensor{{"IN", Int32, []int64{3}}, {"DELAY", Uint32, []int64{3}}, {"WAIT", Uint32, []int64{1}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.model, func(t *testing.T) {
			meta, cfg := capturedModel(t, tt.model, tt.model)
			spec, err := BuildRequest(meta, cfg, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, spec.Tensors()); diff != "" {
				t.Error(diff)
			}
			notes := strings.Join(spec.Notes(), "; ")
			if tt.note == "" && notes != "" || !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q", notes)
			}
			if spec.Model() != tt.model || spec.BatchSize() != max(tt.opts.BatchSize, 1) || spec.Decoupled() != (tt.model == "repeat_int32") {
				t.Errorf("model %s, batch %d, decoupled %t", spec.Model(), spec.BatchSize(), spec.Decoupled())
			}
		})
	}
}

func TestBuildRequestFromMetadataAlone(t *testing.T) {
	meta, _ := capturedModel(t, "identity_alltypes", "")
	spec, err := BuildRequest(meta, ModelConfig{MaxBatchSize: 4}, RequestOptions{BatchSize: 2, StringLength: 6})
	if err != nil {
		t.Fatal(err)
	}
	want := 2 * (1 + 1 + 2 + 4 + 8 + 1 + 2 + 4 + 8 + 2 + 4 + 8 + (4 + 6) + 2)
	if len(spec.Tensors()) != 14 || spec.BytesPerRequest() != want {
		t.Errorf("%d tensors of %d bytes, want %d", len(spec.Tensors()), spec.BytesPerRequest(), want)
	}
}

func TestShapeTensorsAndRaggedInputs(t *testing.T) {
	cfg := ModelConfig{Name: "m", MaxBatchSize: 8, Input: []InputConfig{
		{Name: "SIZE", DataType: Int32, Dims: []int64{2}, IsShapeTensor: true},
		{Name: "X", DataType: FP32, Dims: []int64{-1}, AllowRaggedBatch: true},
	}}
	spec, err := BuildRequest(ModelMetadata{}, cfg, RequestOptions{BatchSize: 4, Shapes: map[string][]int64{"X": {5}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Tensor{{"SIZE", Int32, []int64{2}}, {"X", FP32, []int64{4, 5}}}
	if diff := cmp.Diff(want, spec.Tensors()); diff != "" {
		t.Error(diff)
	}
	if data := tensorsOf(spec, 0)[0]; string(data) != "\x01\x00\x00\x00\x01\x00\x00\x00" {
		t.Errorf("shape tensor % x", data)
	}
	if notes := spec.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "SIZE is a shape tensor") {
		t.Errorf("notes %q", notes)
	}
}

func TestAllOptionalInputsAreSentUnlessSomeAreGiven(t *testing.T) {
	cfg := ModelConfig{Name: "m", Input: []InputConfig{
		{Name: "A", DataType: Int8, Dims: []int64{-1}, Optional: true},
		{Name: "B", DataType: Int8, Dims: []int64{-1}, Optional: true},
	}}
	for given, want := range map[string]int{"": 2, "B": 1} {
		opts := RequestOptions{}
		if given != "" {
			opts.Shapes = map[string][]int64{given: {3}}
		}
		spec, err := BuildRequest(ModelMetadata{}, cfg, opts)
		if err != nil || len(spec.Tensors()) != want {
			t.Errorf("given %q: %v, %v", given, spec.Tensors(), err)
		}
	}
}

func TestDescribe(t *testing.T) {
	meta, cfg := capturedModel(t, "identity_var", "identity_var")
	spec, err := BuildRequest(meta, cfg, RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := spec.Describe(), "INPUT0 FP32 [-1→1,-1→1,3], 12 B of random data"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
	meta, cfg = capturedModel(t, "identity_bytes", "identity_bytes")
	spec, err = BuildRequest(meta, cfg, RequestOptions{BatchSize: 2, Data: DataZero, StringLength: 4})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := spec.Describe(), "INPUT0 BYTES [2,-1→1], 16 B of zeros"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
}

func TestImpossibleRequestsAreRefused(t *testing.T) {
	huge := map[string][]int64{"INPUT0": {math.MaxInt64 / 2, 3, 3}}
	tests := []struct {
		name, model string
		opts        RequestOptions
		says        []string
	}{
		{"batch above max", "identity_fp32", RequestOptions{BatchSize: 9}, []string{"batch of 9", "max_batch_size 8", "at most 8"}},
		{"negative batch", "identity_fp32", RequestOptions{BatchSize: -1}, []string{"batch size is -1"}},
		{"batch without batching", "identity_var", RequestOptions{BatchSize: 2}, []string{"no batch dimension", "batch of 2"}},
		{"batch of sequences", "seq_sum", RequestOptions{BatchSize: 2}, []string{"sequence", "batch size 1"}},
		{"sequence variation", "seq_sum", RequestOptions{SequenceLengthVariation: 2}, []string{"variation", "0 to 1"}},
		{"sequence length without sequences", "simple", RequestOptions{SequenceLength: 3}, []string{"no sequence batching"}},
		{"sequence length", "seq_sum", RequestOptions{SequenceLength: -2}, []string{"sequence length is -2"}},
		{"unknown input", "identity_fp32", RequestOptions{Shapes: map[string][]int64{"INPUT": {4}}}, []string{`"INPUT"`, "it has INPUT0"}},
		{"wrong rank", "identity_fp32", RequestOptions{Shapes: map[string][]int64{"INPUT0": {1, 4}}}, []string{"input INPUT0", "FP32 [4]", "[1,4]", "1 dimension, not 2", "--batch-size"}},
		{"wrong dimension", "identity_var", RequestOptions{Shapes: map[string][]int64{"INPUT0": {7, 7, 4}}}, []string{"INPUT0", "[-1,-1,3]", "dimension 3 is 3, not 4", "--shape INPUT0:d,d,3"}},
		{"negative dimension", "identity_var", RequestOptions{Shapes: map[string][]int64{"INPUT0": {7, -7, 3}}}, []string{"INPUT0", "dimension 2 is -7"}},
		{"too large", "identity_var", RequestOptions{Shapes: map[string][]int64{"INPUT0": {1 << 20, 1 << 10, 3}}}, []string{"INPUT0", "2 GiB"}},
		{"overflow", "identity_var", RequestOptions{Shapes: huge}, []string{"INPUT0", "2 GiB"}},
		{"unknown output", "simple", RequestOptions{OutputNames: []string{"OUTPUT2"}}, []string{`output "OUTPUT2"`, "OUTPUT0, OUTPUT1"}},
		{"output twice", "simple", RequestOptions{OutputNames: []string{"OUTPUT1", "OUTPUT1"}}, []string{"twice"}},
		{"string length", "identity_bytes", RequestOptions{StringLength: -1}, []string{"string length is -1"}},
		{"parameter of the sender", "simple", RequestOptions{Parameters: map[string]any{"sequence_id": 1}}, []string{`"sequence_id"`}},
		{"parameter of the server", "simple", RequestOptions{Parameters: map[string]any{"triton_x": 1}}, []string{`"triton_x"`}},
		{"parameter type", "simple", RequestOptions{Parameters: map[string]any{"x": []int{1}}}, []string{"[]int"}},
		{"parameter NaN", "simple", RequestOptions{Parameters: map[string]any{"x": math.NaN()}}, []string{"NaN"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, cfg := capturedModel(t, "", tt.model)
			_, err := BuildRequest(ModelMetadata{}, cfg, tt.opts)
			var refused *RequestError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v", err)
			}
			for _, part := range append(tt.says, tt.model) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestEncodingsThatCannotCarryTheModelAreRefused(t *testing.T) {
	half := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: FP16, Dims: []int64{1}}}}}
	if _, err := NewHTTPSender(nil, build(t, half, RequestOptions{}), HTTPOptions{}); err == nil || !strings.Contains(err.Error(), "input INPUT0 is FP16") || !strings.Contains(err.Error(), "use binary") {
		t.Errorf("FP16 in JSON: %v", err)
	}
	halfOut := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: FP32, Dims: []int64{1}}},
		Output: []OutputConfig{{Name: "Y", DataType: BF16}, {Name: "Z", DataType: FP32}}}}
	if _, err := NewHTTPSender(nil, build(t, halfOut, RequestOptions{}), HTTPOptions{}); err == nil || !strings.Contains(err.Error(), "output Y is BF16") {
		t.Errorf("BF16 from JSON: %v", err)
	}
	if _, err := NewHTTPSender(nil, build(t, halfOut, RequestOptions{OutputNames: []string{"Z"}}), HTTPOptions{}); err != nil {
		t.Errorf("only the FP32 output: %v", err)
	}
	meta, cfg := capturedModel(t, "repeat_int32", "repeat_int32")
	spec, err := BuildRequest(meta, cfg, RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewHTTPSender(nil, spec, HTTPOptions{Binary: true}); err == nil || !strings.Contains(err.Error(), "gRPC") {
		t.Errorf("decoupled over HTTP: %v", err)
	}
	path := filepath.Join(t.TempDir(), "nan.json")
	if err := os.WriteFile(path, []byte(`{"data":[{"INPUT0":{"b64":"AADAfw=="}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	single := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: FP32, Dims: []int64{1}}}}}
	if _, err := NewHTTPSender(nil, build(t, single, RequestOptions{Data: DataFile, File: path}), HTTPOptions{}); err == nil || !strings.Contains(err.Error(), "NaN") {
		t.Errorf("NaN in JSON: %v", err)
	}
}

func TestHalfFloats(t *testing.T) {
	for h := range 1 << 16 {
		half := uint16(h)
		if f := floatFromHalf(half); f == f {
			if back := halfFromFloat(f); back != half {
				t.Fatalf("half %04x is %v, which is %04x", half, f, back)
			}
		} else if halfFromFloat(f)&0x7C00 != 0x7C00 || halfFromFloat(f)&0x3FF == 0 {
			t.Fatalf("half NaN %04x does not stay NaN", half)
		}
		if f := floatFromBfloat(half); f == f && bfloatFromFloat(f) != half {
			t.Fatalf("bfloat %04x is %v, which is %04x", half, f, bfloatFromFloat(f))
		}
	}
	// Between neighbours, the nearer one; in the middle, the even one.
	for h := uint16(0); h < 0x7BFF; h++ {
		low, high := float64(floatFromHalf(h)), float64(floatFromHalf(h+1))
		for share, want := range map[float64]uint16{0.25: h, 0.5: h + h&1, 0.75: h + 1} {
			if got := halfFromFloat(float32(low + share*(high-low))); got != want {
				t.Fatalf("%v between %v and %v became %04x, not %04x", share, low, high, got, want)
			}
		}
	}
	for f, want := range map[float32]uint16{65519: 0x7BFF, 65520: 0x7C00, -1e9: 0xFC00, 1e-9: 0, -1e-9: 0x8000} {
		if got := halfFromFloat(f); got != want {
			t.Errorf("halfFromFloat(%v) = %04x, want %04x", f, got, want)
		}
	}
}
