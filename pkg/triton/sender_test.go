package triton

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var everyDatatype = []Datatype{Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, FP16, FP32, FP64, BF16, Bytes}

// allTypesModel has one input per datatype, with fixed, variable and no dims.
func allTypesModel(maxBatch int, datatypes []Datatype) *strictModel {
	m := &strictModel{cfg: ModelConfig{Name: "all types", MaxBatchSize: maxBatch}}
	for i, d := range datatypes {
		dims := [][]int64{{3}, {-1, 5}, {2, 3, 1}, {1}, {-1}}[i%5]
		m.cfg.Input = append(m.cfg.Input, InputConfig{Name: fmt.Sprintf("INPUT%d", i), DataType: d, Dims: dims})
	}
	return m
}

// dimensions of an input, and the shape that a user gives it; nil for none.
type dimensions struct {
	dims, shape []int64
	reshape     *Reshape
}

// everyDimension are fixed, variable, mixed, empty, and scalar ones, which a
// model takes as [1] and reshapes.
var everyDimension = []dimensions{
	{dims: []int64{3}},
	{dims: []int64{-1, 5}, shape: []int64{4, 5}},
	{dims: []int64{2, 3, 1}},
	{dims: []int64{1}, reshape: &Reshape{Shape: []int64{}}},
	{dims: []int64{-1}},
	{dims: []int64{-1}, shape: []int64{0}},
	{dims: []int64{2, -1, 3}, shape: []int64{2, 0, 3}},
}

// everyShapeModel has one input per datatype. Their dimensions are taken in turn,
// beginning with the given one.
func everyShapeModel(maxBatch int, datatypes []Datatype, first int) (*strictModel, map[string][]int64) {
	m, shapes := &strictModel{cfg: ModelConfig{Name: "all types", MaxBatchSize: maxBatch}}, map[string][]int64{}
	for i, d := range datatypes {
		x, name := everyDimension[(first+i)%len(everyDimension)], fmt.Sprintf("INPUT%d", i)
		m.cfg.Input = append(m.cfg.Input, InputConfig{Name: name, DataType: d, Dims: x.dims, Reshape: x.reshape})
		if x.shape != nil {
			shapes[name] = x.shape
		}
	}
	return m, shapes
}

func build(t testing.TB, m *strictModel, opts RequestOptions) *RequestSpec {
	t.Helper()
	spec, err := BuildRequest(m.meta(), m.cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

type protocol struct {
	name string
	// carries tells whether a datatype can be sent.
	carries func(Datatype) bool
	open    func(t testing.TB, m *strictModel, spec *RequestSpec) Sender
}

func protocols() []protocol {
	all := func(Datatype) bool { return true }
	overHTTP := func(binary bool) func(testing.TB, *strictModel, *RequestSpec) Sender {
		return func(t testing.TB, m *strictModel, spec *RequestSpec) Sender {
			s, err := NewHTTPSender(m.serveHTTP(t), spec, HTTPOptions{Binary: binary})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
	}
	return []protocol{
		{"http binary", all, overHTTP(true)},
		{"http json", func(d Datatype) bool { return d != FP16 && d != BF16 }, overHTTP(false)},
		{"grpc", all, func(t testing.TB, m *strictModel, spec *RequestSpec) Sender {
			dial, _ := m.serveGRPC(t)
			cc, err := NewGRPCConnection(dial, GRPCAddress{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewGRPCSender(cc, spec, GRPCOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close(); _ = cc.Close() })
			return s
		}},
	}
}

func TestEveryDatatypeBatchAndModeArrives(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("send", func(t *testing.T) {
		for _, p := range protocols() {
			var datatypes []Datatype
			for _, d := range everyDatatype {
				if p.carries(d) {
					datatypes = append(datatypes, d)
				}
			}
			for _, c := range []struct{ maxBatch, batch int }{{0, 0}, {0, 1}, {1, 1}, {8, 0}, {8, 3}, {8, 8}} {
				// As many rounds as there are dimensions give each datatype each of them.
				for round := range 2 * len(everyDimension) {
					mode, first := []DataMode{DataRandom, DataZero}[round%2], round/2
					t.Run(fmt.Sprintf("%s/max%d/batch%d/%s/dims%d", p.name, c.maxBatch, c.batch, mode, first), func(t *testing.T) {
						m, shapes := everyShapeModel(c.maxBatch, datatypes, first)
						spec := build(t, m, RequestOptions{BatchSize: c.batch, Data: mode, Seed: 7, StringLength: 13, Shapes: shapes})
						s := p.open(t, m, spec)
						for seq := range uint64(3) {
							reply, err := s.Send(t.Context(), seq)
							if err != nil {
								t.Fatal(err)
							}
							if want := max(c.batch, 1); reply.Inferences != want || reply.Bytes == 0 || reply.Responses != 1 {
								t.Errorf("reply %+v", reply)
							}
							compareReceived(t, spec, seq, m.last())
						}
					})
				}
			}
		}
	})
}

// compareReceived holds what the server got against the generator's data.
func compareReceived(t *testing.T, spec *RequestSpec, seq uint64, got received) {
	t.Helper()
	variant := int(seq % uint64(len(spec.variants)))
	for i, data := range tensorsOf(spec, seq) {
		in := spec.inputs[i]
		if shape := spec.form(variant).shapes[i]; fmt.Sprint(shape) != fmt.Sprint(got.shapes[in.name]) {
			t.Errorf("%s arrived with shape %v, not %v", in.name, got.shapes[in.name], shape)
		}
		values, isJSON := got.values[in.name]
		if !isJSON {
			if !bytes.Equal(got.data[in.name], data) {
				t.Errorf("%s arrived as % x, not % x", in.name, got.data[in.name], data)
			}
			continue
		}
		for _, value := range values {
			var want any
			want, data = decodeElement(in.datatype, data)
			if number, ok := value.(json.Number); ok {
				f, err := number.Float64()
				if err != nil {
					t.Fatal(err)
				}
				if in.datatype == FP32 {
					f = float64(float32(f))
				}
				value = f
			}
			if value != want {
				t.Errorf("%s %s arrived as %v, not %v", in.name, in.datatype, value, want)
			}
		}
	}
}

func tensorsOf(spec *RequestSpec, seq uint64) [][]byte {
	g := newGenerator(spec)
	g.start(seq)
	var tensors [][]byte
	for i := range spec.inputs {
		tensors = append(tensors, g.append(nil, i, int(seq%uint64(len(spec.variants)))))
	}
	return tensors
}

func TestRandomDataIsReproducibleAndFresh(t *testing.T) {
	m := allTypesModel(8, everyDatatype)
	opts := RequestOptions{BatchSize: 4, Seed: 42, StringLength: 20, Shapes: map[string][]int64{"INPUT1": {64, 5}}}
	spec := build(t, m, opts)
	first, again, next := tensorsOf(spec, 5), tensorsOf(build(t, m, opts), 5), tensorsOf(spec, 6)
	opts.Seed++
	reseeded := tensorsOf(build(t, m, opts), 5)
	for i, in := range spec.inputs {
		if !bytes.Equal(first[i], again[i]) {
			t.Errorf("%s differs between equal seeds and numbers", in.datatype)
		}
		// The few booleans may well be equal by chance.
		if in.datatype != Bool && (bytes.Equal(first[i], next[i]) || bytes.Equal(first[i], reseeded[i])) {
			t.Errorf("%s is the same for another number or seed", in.datatype)
		}
	}
}

func TestRandomDataStaysInItsRangeAndFillsIt(t *testing.T) {
	for _, d := range everyDatatype {
		t.Run(string(d), func(t *testing.T) {
			m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: d, Dims: []int64{20001}}}}}
			data := tensorsOf(build(t, m, RequestOptions{StringLength: 7}), 1)[0]
			sum, n := 0.0, 0
			seen := map[any]bool{}
			for len(data) > 0 {
				var v any
				v, data = decodeElement(d, data)
				n++
				if len(seen) < 200 {
					seen[v] = true
				}
				switch v := v.(type) {
				case float64:
					top := 1.0
					if d != FP16 && d != FP32 && d != FP64 && d != BF16 {
						top = randomIntegers
					}
					if !(v >= 0 && v < top) {
						t.Fatalf("%v is out of range", v)
					}
					sum += v / top
				case bool:
					if v {
						sum++
					}
				case string:
					if len(v) != 7 || strings.Trim(v, alphabet) != "" {
						t.Fatalf("string %q", v)
					}
				}
			}
			if n != 20001 || d == Bool && len(seen) != 2 || d != Bool && len(seen) < randomIntegers {
				t.Errorf("%d elements, %d different values", n, len(seen))
			}
			// 20001 uniform draws: the mean's standard deviation is about 0.002,
			// for booleans 0.0035; a byte's 100/256 steps add up to 0.005.
			if mean := sum / float64(n); d != Bytes && (mean < 0.47 || mean > 0.53) {
				t.Errorf("mean at %.3f of the range", mean)
			}
		})
	}
}

func TestPreparedRequestIsTheOneSent(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			m := allTypesModel(8, []Datatype{Int32, FP32})
			spec := build(t, m, RequestOptions{Seed: 3})
			s := p.open(t, m, spec)
			for seq := range uint64(4) {
				s.Prepare(seq + seq%2) // wrong for every other request
				if _, err := s.Send(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
				compareReceived(t, spec, seq, m.last())
			}
		})
	}
}

func TestSequencesStartAndEndOncePerStream(t *testing.T) {
	for _, p := range protocols() {
		for _, textID := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/text id %t", p.name, textID), func(t *testing.T) {
				m := allTypesModel(4, []Datatype{Int32})
				m.cfg.SequenceBatching = sequenceConfig(t, textID)
				spec := build(t, m, RequestOptions{SequenceLength: 3})
				if !spec.Sequential() {
					t.Fatal("not recognised as a sequence model")
				}
				s := p.open(t, m, spec)
				ids := map[any]int{}
				for seq := range uint64(7) {
					if _, err := s.Send(t.Context(), seq); err != nil {
						t.Fatal(err)
					}
					got := m.last().parameters
					ids[got["sequence_id"]]++
					if got["sequence_start"] != (seq%3 == 0) || got["sequence_end"] != (seq%3 == 2) {
						t.Errorf("request %d: %v", seq, got)
					}
					if _, isText := got["sequence_id"].(string); isText != textID {
						t.Errorf("id %#v", got["sequence_id"])
					}
				}
				if len(ids) != 3 {
					t.Errorf("requests per sequence: %v", ids)
				}
			})
		}
	}
}

func sequenceConfig(t testing.TB, textID bool) *SequenceBatching {
	t.Helper()
	_, cfg := capturedModel(t, "", "seq_sum")
	if textID {
		cfg.SequenceBatching.ControlInput[3].Control[0].DataType = Bytes
	}
	return cfg.SequenceBatching
}

func TestParametersAndVersionTravel(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			m := allTypesModel(4, []Datatype{Int32})
			spec := build(t, m, RequestOptions{Parameters: map[string]any{"priority": 1, "na\"me": "va\nlue", "flag": true}})
			s := p.open(t, m, spec)
			if _, err := s.Send(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			got := m.last().parameters
			if fmt.Sprint(got["priority"]) != "1" || got["na\"me"] != "va\nlue" || got["flag"] != true {
				t.Errorf("parameters %v", got)
			}
		})
	}
}

func BenchmarkBuildHTTPBinary(b *testing.B) {
	for _, elements := range []int64{16, 150528} {
		b.Run(fmt.Sprint(elements), func(b *testing.B) {
			m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: FP32, Dims: []int64{elements}}}}}
			r := newHTTPRequest(build(b, m, RequestOptions{}), "triton", "", true)
			b.SetBytes(elements * 4)
			b.ReportAllocs()
			for seq := uint64(0); b.Loop(); seq++ {
				r.build(seq, 0, nil)
			}
		})
	}
}

func BenchmarkSend(b *testing.B) {
	for _, p := range protocols() {
		b.Run(p.name, func(b *testing.B) {
			m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: Int32, Dims: []int64{16}}}}}
			s := p.open(b, m, build(b, m, RequestOptions{}))
			b.ReportAllocs()
			for seq := uint64(0); b.Loop(); seq++ {
				if _, err := s.Send(b.Context(), seq); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
