package triton

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestAnswersAreCompared: the model answers with its inputs, so that the
// expected values decide.
func TestAnswersAreCompared(t *testing.T) {
	for _, tt := range []struct {
		name     string
		datatype Datatype
		batch    int
		data     string
		validate string
		want     []string // of requests 0, 1, …: "" or what the error says
	}{
		{"equal", Int32, 1, `[{"INPUT0":[1,2,3]},{"INPUT0":[4,5,6]}]`, `[{"OUTPUT0":[1,2,3]},{"OUTPUT0":[4,5,6]}]`, []string{"", "", ""}},
		{"one wrong", Int32, 1, `[{"INPUT0":[1,2,3]},{"INPUT0":[4,5,6]}]`, `[{"OUTPUT0":[1,2,3]},{"OUTPUT0":[4,-5,6]}]`, []string{"", "element 1 is 5, not -5", "", "element 1"}},
		{"batches", Int32, 2, `[{"INPUT0":[1,2,3]},{"INPUT0":[4,5,6]},{"INPUT0":[7,8,9]}]`, `[{"OUTPUT0":[1,2,3]},{"OUTPUT0":[4,5,6]},{"OUTPUT0":[7,8,0]}]`, []string{"", "element 2 is 9, not 0", "element 5"}},
		{"silent on one", Int32, 1, `[{"INPUT0":[1,2,3]},{"INPUT0":[4,5,6]}]`, `[{"OUTPUT0":[0,2,3]},{}]`, []string{"element 0 is 1, not 0", ""}},
		{"floats nearly", FP32, 1, `[{"INPUT0":[1,2,3]}]`, `[{"OUTPUT0":[1.000001,2,2.99999]}]`, []string{""}},
		{"floats not", FP32, 1, `[{"INPUT0":[1,2,3]}]`, `[{"OUTPUT0":[1.001,2,3]}]`, []string{"element 0 is 1, not 1.001"}},
		{"strings", Bytes, 1, `[{"INPUT0":["a","b","c"]}]`, `[{"OUTPUT0":["a","b","cc"]}]`, []string{`element 2 is "c", not "cc"`}},
		{"too few", Int64, 1, `[{"INPUT0":[1,2,3]}]`, `[{"OUTPUT0":{"content":[1,2,3,4],"shape":[4]}}]`, []string{"only 3 elements"}},
		{"too many", Int64, 1, `[{"INPUT0":[1,2,3]}]`, `[{"OUTPUT0":[1,2]}]`, []string{"more elements"}},
		{"b64", Uint8, 1, `[{"INPUT0":[1,2,3]}]`, `[{"OUTPUT0":{"b64":"AQID"}}]`, []string{""}},
	} {
		for _, p := range protocols() {
			t.Run(tt.name+"/"+p.name, func(t *testing.T) {
				m := &strictModel{cfg: ModelConfig{Name: "m", MaxBatchSize: 4, Input: []InputConfig{{Name: "INPUT0", DataType: tt.datatype, Dims: []int64{3}}}}}
				file := writeData(t, fmt.Sprintf(`{"data":%s,"validation_data":%s}`, tt.data, tt.validate))
				s := p.open(t, m, build(t, m, RequestOptions{Data: DataFile, File: file, Validate: true, BatchSize: tt.batch}))
				for seq, want := range tt.want {
					_, err := s.Send(t.Context(), uint64(seq))
					if want == "" && err != nil || want != "" && (classOf(err) != ClassWrongResult || !strings.Contains(err.Error(), want)) {
						t.Errorf("request %d: class %q, error %v, want %q", seq, classOf(err), err, want)
					}
				}
				if spec := build(t, m, RequestOptions{Data: DataFile, File: file}); len(spec.Notes()) == 0 || !strings.Contains(fmt.Sprint(spec.Notes()), "not compared") {
					t.Errorf("without validation, the notes are %q", spec.Notes())
				}
			})
		}
	}
}

func TestHalvesAndNotANumberAreCompared(t *testing.T) {
	f32 := func(bits uint32) []byte {
		return []byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)}
	}
	f16 := func(f float32) []byte { h := halfFromFloat(f); return []byte{byte(h), byte(h >> 8)} }
	const nan, otherNaN, inf, minusInf, zero, one = 0x7FC00000, 0x7FC00001, 0x7F800000, 0xFF800000, 0, 0x3F800000
	for _, tt := range []struct {
		d         Datatype
		want, got []byte
		equal     bool
	}{
		{FP32, f32(nan), f32(otherNaN), true},
		{FP32, f32(nan), f32(one), false},
		{FP32, f32(one), f32(nan), false},
		{FP32, f32(inf), f32(minusInf), false},
		{FP32, f32(one), f32(inf), false},
		{FP32, f32(zero), f32(0x80000000), true}, // minus zero
		{FP16, f16(1), f16(1.005), true},
		{FP16, f16(1), f16(1.02), false},
	} {
		if got := compareElements("Y", tt.d, tt.want, tt.got) == nil; got != tt.equal {
			t.Errorf("%s %x and %x: equal %t", tt.d, tt.want, tt.got, got)
		}
	}
}

func TestValidationDataHasToFit(t *testing.T) {
	m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: Int32, Dims: []int64{1}}}}}
	for text, says := range map[string]string{
		`{"data":[{"INPUT0":[1]}]}`: "no \"validation_data\"",
		`{"data":[{"INPUT0":[1]}],"validation_data":[{"OUTPUT0":[1]},{"OUTPUT0":[1]}]}`:         "1 step in \"data\" but 2",
		`{"data":[{"INPUT0":[1]}],"validation_data":[{"NOPE":[1]}]}`:                            "not an output",
		`{"data":[{"INPUT0":[1]}],"validation_data":[{"OUTPUT0":["x"]}]}`:                       "element 0 is the string",
		`{"data":[{"INPUT0":[1]}],"validation_data":3}`:                                         "data",
		`{"data":[[{"INPUT0":[1]}],[{"INPUT0":[2]}]],"validation_data":[[{"OUTPUT0":[1]},{}]]}`: "streams",
		`{"data":[{"INPUT0":[1]}],"validation_data":[{"OUTPUT0":{"b64":"AAAA"}}]}`:              "b64",
		`{"data":[{"INPUT0":[1]}],"validation_data":[{"OUTPUT0":[{"a":1}]}]}`:                   "object",
	} {
		_, err := BuildRequest(m.meta(), m.cfg, RequestOptions{Data: DataFile, File: writeData(t, text), Validate: true})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	if _, err := BuildRequest(m.meta(), m.cfg, RequestOptions{Validate: true}); err == nil || !strings.Contains(err.Error(), "validation_data") {
		t.Errorf("random data: %v", err)
	}
}

// FuzzValidationData: any file is read or refused.
func FuzzValidationData(f *testing.F) {
	f.Add(`{"data":[{"INPUT0":[1]}],"validation_data":[{"OUTPUT0":[1]}]}`)
	f.Add(`{"data":[[{"INPUT0":[1]}]],"validation_data":[[{"OUTPUT0":{"content":[1],"shape":[1]}}]]}`)
	m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: Int32, Dims: []int64{1}}}}}
	f.Fuzz(func(t *testing.T, text string) {
		path := t.TempDir() + "/data.json"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := BuildRequest(m.meta(), m.cfg, RequestOptions{Data: DataFile, File: path, Validate: true})
		if err == nil && !json.Valid([]byte(text)) {
			t.Errorf("%q gave %+v", text, spec)
		}
	})
}
