package triton

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeData(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileDataGoesRoundAsGiven(t *testing.T) {
	strings64 := base64.StdEncoding.EncodeToString([]byte("\x02\x00\x00\x00ab\x00\x00\x00\x00"))
	tests := []struct {
		name     string
		maxBatch int
		opts     RequestOptions
		input    InputConfig
		data     string
		want     []string // per request: shape and values
	}{
		{"flat lists", 0, RequestOptions{}, InputConfig{DataType: Int32, Dims: []int64{2}},
			`[{"INPUT0":[1,2]},{"INPUT0":[3,-4]}]`, []string{"[2] [1 2]", "[2] [3 -4]", "[2] [1 2]"}},
		{"nested list", 0, RequestOptions{}, InputConfig{DataType: Int32, Dims: []int64{2, 2}},
			`[{"INPUT0":[[1,2],[3,4]]}]`, []string{"[2 2] [1 2 3 4]"}},
		{"batches", 8, RequestOptions{BatchSize: 2}, InputConfig{DataType: Uint8, Dims: []int64{1}},
			`[{"INPUT0":[1]},{"INPUT0":[2]},{"INPUT0":[3]}]`, []string{"[2 1] [1 2]", "[2 1] [3 1]", "[2 1] [2 3]", "[2 1] [1 2]"}},
		{"streams", 0, RequestOptions{}, InputConfig{DataType: Bool, Dims: []int64{1}},
			`[[{"INPUT0":[true]},{"INPUT0":[0]}],[{"INPUT0":[1]}]]`, []string{"[1] [true]", "[1] [false]", "[1] [true]"}},
		{"shapes", 4, RequestOptions{}, InputConfig{DataType: FP32, Dims: []int64{-1, -1}},
			`[{"INPUT0":{"content":[1,2,3,4],"shape":[2,2]}},{"INPUT0":{"shape":[1,3],"content":[0.5,1e3,-0]}}]`, []string{"[1 2 2] [1 2 3 4]", "[1 1 3] [0.5 1000 -0]", "[1 2 2] [1 2 3 4]"}},
		{"length decides the open dimension", 0, RequestOptions{}, InputConfig{DataType: FP16, Dims: []int64{-1, 2}},
			`[{"INPUT0":[1,2,3,4]},{"INPUT0":[5,6]},{"INPUT0":[]}]`, []string{"[2 2] [1 2 3 4]", "[1 2] [5 6]", "[0 2] []"}},
		{"flag decides the open dimension", 0, RequestOptions{Shapes: map[string][]int64{"INPUT0": {1, 2}}}, InputConfig{DataType: BF16, Dims: []int64{-1, -1}},
			`[{"INPUT0":[1,2]}]`, []string{"[1 2] [1 2]"}},
		{"b64", 0, RequestOptions{}, InputConfig{DataType: Int16, Dims: []int64{-1}},
			`[{"INPUT0":{"b64":"AQD//w=="}},{"INPUT0":{"content":{"b64":"AgA="},"shape":[1]}}]`, []string{"[2] [1 -1]", "[1] [2]"}},
		{"strings", 0, RequestOptions{}, InputConfig{DataType: Bytes, Dims: []int64{2}},
			`[{"INPUT0":["é\n",""]},{"INPUT0":{"b64":"` + strings64 + `"}}]`, []string{"[2] [é\n ]", "[2] [ab ]"}},
		{"scalar", 0, RequestOptions{}, InputConfig{DataType: FP64, Dims: []int64{}},
			`[{"INPUT0":{"content":[1.5],"shape":[]}}]`, []string{"[] [1.5]"}},
		{"shape tensor", 8, RequestOptions{BatchSize: 2}, InputConfig{DataType: Int64, Dims: []int64{2}, IsShapeTensor: true},
			`[{"INPUT0":[7,8]},{"INPUT0":[9,9]}]`, []string{"[2] [7 8]"}},
	}
	for _, tt := range tests {
		for _, p := range protocols() {
			if !p.carries(tt.input.DataType) {
				continue
			}
			t.Run(tt.name+"/"+p.name, func(t *testing.T) {
				tt.input.Name = "INPUT0"
				m := &strictModel{cfg: ModelConfig{Name: "m", MaxBatchSize: tt.maxBatch, Input: []InputConfig{tt.input}}}
				tt.opts.Data, tt.opts.File = DataFile, writeData(t, `{"data":`+tt.data+`}`)
				s := p.open(t, m, build(t, m, tt.opts))
				var got []string
				for seq := range uint64(len(tt.want)) {
					if _, err := s.Send(t.Context(), seq); err != nil {
						t.Fatal(err)
					}
					r := m.last()
					values := r.values["INPUT0"]
					if data, ok := r.data["INPUT0"]; ok {
						values = []any{}
						for len(data) > 0 {
							var v any
							v, data = decodeElement(tt.input.DataType, data)
							values = append(values, v)
						}
					}
					got = append(got, fmt.Sprint(r.shapes["INPUT0"], " ", values))
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestSequencesPlayTheirStreams(t *testing.T) {
	m := allTypesModel(4, []Datatype{Int32})
	m.cfg.Input[0].Dims = []int64{1}
	m.cfg.SequenceBatching = sequenceConfig(t, false)
	file := writeData(t, `{"data":[[{"INPUT0":[1]},{"INPUT0":[2]},{"INPUT0":[3]}],[{"INPUT0":[10]}]]}`)
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			s := p.open(t, m, build(t, m, RequestOptions{Data: DataFile, File: file}))
			var got []string
			for seq := range uint64(6) {
				if _, err := s.Send(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
				r := m.last()
				value := fmt.Sprint(r.values["INPUT0"])
				if data, ok := r.data["INPUT0"]; ok {
					value = fmt.Sprintf("%d", data[:1])
				}
				got = append(got, fmt.Sprint(value, " ", r.parameters["sequence_start"], " ", r.parameters["sequence_end"]))
			}
			want := []string{"[1] true false", "[2] false false", "[3] false true", "[10] true true", "[1] true false", "[2] false false"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrongInputDataIsRefusedByPlace(t *testing.T) {
	cfg := ModelConfig{Name: "m", MaxBatchSize: 8, Input: []InputConfig{
		{Name: "A", DataType: Int8, Dims: []int64{2}},
		{Name: "B", DataType: FP16, Dims: []int64{-1, -1}},
		{Name: "S", DataType: Bytes, Dims: []int64{1}, Optional: true},
	}}
	good := `"A":[1,2],"B":{"content":[1],"shape":[1,1]}`
	tests := []struct {
		name, text string
		batch      int
		says       []string
	}{
		{"not JSON", "{\"data\":[\n{]}", 0, []string{"not valid JSON", "line 2"}},
		{"not an object", `[]`, 0, []string{`{"data": […]}`}},
		{"no data", `{"date":[]}`, 0, []string{`no steps in "data"`}},
		{"step is a number", `{"data":[{` + good + `},5]}`, 0, []string{"data[1]", "a number, not an object"}},
		{"stream within stream", `{"data":[[[]]]}`, 0, []string{"data[0][0]", "a list, not an object"}},
		{"empty stream", `{"data":[[]]}`, 0, []string{"data[0]", "without steps"}},
		{"mixed", `{"data":[{` + good + `},[{` + good + `}]]}`, 0, []string{"data[1]", "mixes"}},
		{"unknown input", `{"data":[{` + good + `},{` + good + `,"C":[1]}]}`, 0, []string{"data[1]", "input C", "A, B, S"}},
		{"missing input", `{"data":[{` + good + `},{"A":[1,2]}]}`, 0, []string{"data[1]", "input B", "FP16 [-1,-1]"}},
		{"optional input in some steps", `{"data":[{` + good + `,"S":["x"]},{` + good + `}]}`, 0, []string{"data[1]", "input S"}},
		{"too few elements", `{"data":[{"A":[1],"B":{"content":[1],"shape":[1,1]}}]}`, 0, []string{"data[0]", "input A", "1 element", "INT8 [2] wants 2"}},
		{"open dimensions", `{"data":[{"A":[1,2],"B":[1,2,3]}]}`, 0, []string{"input B", "3 elements", `"shape"`, "--shape B:d,d"}},
		{"wrong rank", `{"data":[{"A":[1,2],"B":{"content":[1],"shape":[1]}}]}`, 0, []string{"input B", "2 dimensions, not 1"}},
		{"wrong shape", `{"data":[{"A":{"content":[1,2,3],"shape":[3]},"B":[1]}]}`, 0, []string{"input A", "[3]", "[2]"}},
		{"negative shape", `{"data":[{"A":[1,2],"B":{"content":[1],"shape":[-1,1]}}]}`, 0, []string{"input B", "dimension 1 is -1"}},
		{"out of range", `{"data":[{"A":[1,128],"B":[1]}]}`, 0, []string{"data[0]", "input A element 1 is 128", "-128 to 127"}},
		{"half out of range", `{"data":[{"A":[1,2],"B":[65520]}]}`, 0, []string{"input B element 0 is 65520", "FP16"}},
		{"fraction", `{"data":[{"A":[1,2.5],"B":[1]}]}`, 0, []string{"input A element 1 is 2.5", "whole number"}},
		{"string", `{"data":[{"A":[1,"2"],"B":[1]}]}`, 0, []string{"input A element 1", `string "2"`}},
		{"null", `{"data":[{"A":[1,null],"B":[1]}]}`, 0, []string{"input A element 1 is null"}},
		{"boolean", `{"data":[{"A":[true,1],"B":[1]}]}`, 0, []string{"input A element 0", "boolean"}},
		{"number as string element", `{"data":[{` + good + `,"S":[1]}]}`, 0, []string{"input S element 0", "strings"}},
		{"object as element", `{"data":[{"A":[{}],"B":[1]}]}`, 0, []string{"input A", "object"}},
		{"scalar as tensor", `{"data":[{"A":1,"B":[1]}]}`, 0, []string{"input A", "a number, not a list"}},
		{"no content", `{"data":[{"A":{"shape":[2]},"B":[1]}]}`, 0, []string{"input A", `without "content" or "b64"`}},
		{"content and b64", `{"data":[{"A":{"content":[1,2],"b64":"AQI="},"B":[1]}]}`, 0, []string{"input A", "both"}},
		{"not base64", `{"data":[{"A":{"b64":"%"},"B":[1]}]}`, 0, []string{"input A", "not base64"}},
		{"odd bytes", `{"data":[{"A":[1,2],"B":{"b64":"AQIDBA=="}},{"A":[1,2],"B":{"b64":"AQ=="}}]}`, 0, []string{"input B", "2 elements"}},
		{"half an element", `{"data":[{"A":[1,2],"B":{"b64":"AQ==","shape":[1,1]}}]}`, 0, []string{"input B", "1 bytes", "multiple of the 2"}},
		{"broken strings", `{"data":[{` + good + `,"S":{"b64":"BQAAAGE="}}]}`, 0, []string{"input S", "string 0"}},
		{"shapes that share a batch", `{"data":[{` + good + `},{"A":[1,2],"B":{"content":[1,2],"shape":[1,2]}}]}`, 2, []string{"data[1]", "input B", "[1,2]", "batch"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeData(t, tt.text)
			_, err := BuildRequest(ModelMetadata{}, cfg, RequestOptions{BatchSize: tt.batch, Data: DataFile, File: path})
			var refused *InputDataError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v", err)
			}
			for _, part := range append(tt.says, path) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "nowhere.json")
	_, err := BuildRequest(ModelMetadata{}, cfg, RequestOptions{Data: DataFile, File: missing})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("missing file: %v", err)
	}
}

func FuzzInputFile(f *testing.F) {
	f.Add(`{"data":[{"A":[1,2],"B":{"content":[1],"shape":[1,1]},"S":["x"]}]}`, 1)
	f.Add(`{"data":[[{"A":{"b64":"AQI="},"B":[[1.5]]}],[{"A":[1,2],"B":{"content":{"b64":"AQI="},"shape":[1,1]}}]],"validation_data":[]}`, 2)
	f.Add(`{"data":[{"A":[1,2],"B":[null]}]}`, 1)
	cfg := ModelConfig{Name: "m", MaxBatchSize: 8, Input: []InputConfig{
		{Name: "A", DataType: Int8, Dims: []int64{2}},
		{Name: "B", DataType: FP16, Dims: []int64{-1, -1}},
		{Name: "S", DataType: Bytes, Dims: []int64{-1}, Optional: true},
	}}
	f.Fuzz(func(t *testing.T, text string, batch int) {
		file, err := parseInputFile("fuzz.json", []byte(text))
		if err != nil {
			if !strings.Contains(err.Error(), "fuzz.json") {
				t.Errorf("error without the file: %v", err)
			}
			return
		}
		b := &builder{opts: RequestOptions{Data: DataFile, File: "fuzz.json"}, inputs: cfg.Input,
			spec: &RequestSpec{model: "m", batching: true, batch: 1 + batch&7, mode: DataFile, file: file}}
		if b.chooseInputs() != nil || b.setVariants() != nil {
			return
		}
		for variant := range b.spec.variants {
			for i, in := range b.spec.inputs {
				data := b.spec.appendFileTensor(nil, i, variant)
				n, err := binaryElements(data, in.datatype)
				want, ok := elements(b.spec.form(variant).shapes[i])
				if err != nil || !ok || int64(n) != want || len(data) != b.spec.form(variant).bytes[i] {
					t.Errorf("variant %d input %s: %d elements in %d bytes for shape %v: %v", variant, in.name, n, len(data), b.spec.form(variant).shapes[i], err)
				}
			}
		}
	})
}
