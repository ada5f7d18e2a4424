package triton

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// replyModel has an output of fixed size, and one of strings.
func replyModel(t testing.TB) *RequestSpec {
	t.Helper()
	m := &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{
		{Name: "INPUT0", DataType: Int32, Dims: []int64{2}}, {Name: "INPUT1", DataType: Bytes, Dims: []int64{-1}},
	}}}
	return build(t, m, RequestOptions{})
}

// goodMessage answers replyModel; each call's contents differ.
func goodMessage(t testing.TB, n byte, text string) []byte {
	t.Helper()
	m, err := proto.Marshal(&inferencepb.ModelInferResponse{ModelName: "m", ModelVersion: "1",
		Outputs: []*inferencepb.ModelInferResponse_InferOutputTensor{
			{Name: "OUTPUT0", Datatype: "INT32", Shape: []int64{2}}, {Name: "OUTPUT1", Datatype: "BYTES", Shape: []int64{1}},
		},
		RawOutputContents: [][]byte{{n, 0, 0, 0, n, 0, 0, 0}, append([]byte{byte(len(text)), 0, 0, 0}, text...)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkAsNew is the verdict of a checker that has seen nothing before.
func checkAsNew(spec *RequestSpec, message []byte) error {
	return (&grpcChecker{spec: spec}).check(message)
}

func says(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestKnownHeadsHideNothing: what a checker has learned never changes a verdict.
func TestKnownHeadsHideNothing(t *testing.T) {
	spec := replyModel(t)
	good := goodMessage(t, 1, "text")
	raw := func(b ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, rawContentsField, protowire.BytesType), b)
	}
	head := good[:headBytes(good)]
	parameter := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), []byte{0x0A, 1, 'x'})
	for _, tt := range []struct {
		name, says string
		message    []byte
	}{
		{"the same", "", good},
		{"other contents", "", goodMessage(t, 9, "a longer text than before")},
		{"empty string", "", goodMessage(t, 9, "")},
		{"head alone", "has 0 elements", head},
		{"one content", "2 outputs but 1 raw contents", append(append([]byte{}, head...), raw(1, 2, 3, 4, 5, 6, 7, 8)...)},
		{"three contents", "2 outputs but 3 raw contents", append(append([]byte{}, good...), raw()...)},
		{"short content", "has 7 bytes", append(append(append([]byte{}, head...), raw(1, 2, 3, 4, 5, 6, 7)...), raw(0, 0, 0, 0)...)},
		{"broken string", "breaks off in string 0", append(append(append([]byte{}, head...), raw(1, 2, 3, 4, 5, 6, 7, 8)...), raw(9, 0, 0, 0)...)},
		{"two strings", "has 2 strings", append(append(append([]byte{}, head...), raw(1, 2, 3, 4, 5, 6, 7, 8)...), raw(0, 0, 0, 0, 0, 0, 0, 0)...)},
		{"a parameter after the contents", "", append(append([]byte{}, good...), parameter...)},
		{"another model after the contents", `model "n"`, append(append([]byte{}, good...), 0x0A, 1, 'n')},
		{"cut off", "no ModelInferResponse", good[:len(good)-1]},
		{"empty", `model ""`, nil},
		{"nonsense", "no ModelInferResponse", []byte{0xFF, 0xFF}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &grpcChecker{spec: spec}
			for range 2 {
				if err := c.check(good); err != nil || c.knownHead == nil {
					t.Fatalf("%v, learned %t", err, c.knownHead != nil)
				}
				err := c.check(tt.message)
				if says(err) != says(checkAsNew(spec, tt.message)) || !strings.Contains(says(err), tt.says) || tt.says == "" && err != nil {
					t.Errorf("%v; as new: %v", err, checkAsNew(spec, tt.message))
				}
			}
		})
	}
}

func TestKnownAnswersAllocateNothing(t *testing.T) {
	spec := replyModel(t)
	c := &grpcChecker{spec: spec}
	messages := [][]byte{goodMessage(t, 1, "a"), goodMessage(t, 2, "bcd")}
	i := 0
	n := testing.AllocsPerRun(100, func() {
		i++
		if err := c.check(messages[i%2]); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzGRPCReply: a checker that has learned judges as one that has not, and as
// the generated code reads.
func FuzzGRPCReply(f *testing.F) {
	spec := replyModel(f)
	good := goodMessage(f, 1, "text")
	f.Add(good)
	f.Add(good[:headBytes(good)])
	f.Add(append(append([]byte{}, good...), good...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		c := &grpcChecker{spec: spec}
		if err := c.check(good); err != nil {
			t.Fatal(err)
		}
		learned := c.check(message)
		if fresh := checkAsNew(spec, message); says(learned) != says(fresh) {
			t.Fatalf("learned: %v; as new: %v", learned, fresh)
		}
		var m inferencepb.ModelInferResponse
		if err := proto.Unmarshal(message, &m); err != nil {
			if learned == nil {
				t.Fatalf("accepted, though %v", err)
			}
			return
		}
		if learned == nil && len(m.GetRawOutputContents()) > 0 {
			for i, raw := range m.GetRawOutputContents() {
				if string(raw) != string(c.raw[i]) {
					t.Fatalf("contents %d: % x, not % x", i, c.raw[i], raw)
				}
			}
		}
	})
}

// TestRequestsAreThoseOfGeneratedCode: the encoder's messages are what the
// generated code makes of the same request, in any order and with all that a
// request may have.
func TestRequestsAreThoseOfGeneratedCode(t *testing.T) {
	m := allTypesModel(8, everyDatatype)
	long := strings.Repeat("long", 40)
	plain := build(t, m, RequestOptions{Seed: 7, BatchSize: 3, Version: "2", OutputNames: []string{"OUTPUT1", "OUTPUT0"},
		Parameters: map[string]any{"priority": 1, "text": long, "flag": true, "share": 0.5, long: "x"}, Shapes: map[string][]int64{"INPUT1": {40, 5}}})
	sequences := func(textID bool) *RequestSpec {
		m := allTypesModel(4, []Datatype{Int32})
		m.cfg.SequenceBatching = sequenceConfig(t, textID)
		return build(t, m, RequestOptions{SequenceLength: 3, Parameters: map[string]any{"flag": true}})
	}
	zero := build(t, m, RequestOptions{Data: DataZero})
	for name, spec := range map[string]*RequestSpec{"plain": plain, "sequence": sequences(false), "text id": sequences(true), "constant": zero} {
		t.Run(name, func(t *testing.T) {
			encoder, err := newGRPCRequest(spec)
			if err != nil {
				t.Fatal(err)
			}
			reference := newGRPCStreamSender(nil, spec, GRPCOptions{})
			r := request{spec: spec}
			for seq := range uint64(7) {
				variant, step, _ := r.choose(seq)
				bytes := encoder.build(seq, variant, step)
				var got inferencepb.ModelInferRequest
				if err := proto.Unmarshal(bytes[5:], &got); err != nil {
					t.Fatal(err)
				}
				// Where the reference is in its sequences follows from its own state.
				reference.request = request{spec: spec, sequence: r.sequence}
				reference.Prepare(seq)
				want := proto.Clone(reference.message).(*inferencepb.ModelInferRequest)
				want.Id = ""
				if spec.sequence == nil && name != "plain" && seq == 0 {
					compareBytes(t, bytes[5:], want)
				}
				if !proto.Equal(&got, want) {
					t.Errorf("request %d is\n%v\nnot\n%v", seq, &got, want)
				}
				r.sent(false)
			}
		})
	}
}

// compareBytes: without parameters the order of fields is the reference's too.
func compareBytes(t *testing.T, got []byte, want *inferencepb.ModelInferRequest) {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
	if err != nil || string(b) != string(got) {
		t.Errorf("the bytes differ: % x\n% x, %v", got, b, err)
	}
}
