package triton

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// GRPCOptions of a sender.
type GRPCOptions struct {
	// Timeout of one request, besides the deadline of its context; 0 is none.
	Timeout time.Duration
	// Stream sends the requests of any model on a stream; those of a decoupled
	// one always are.
	Stream bool
}

// grpcSender sends tensors as raw contents. Where it streams it has a stream of
// its own, on which a request ends with the response marked as final.
type grpcSender struct {
	client  inferencepb.GRPCInferenceServiceClient
	timeout time.Duration
	streams bool
	request request
	gen     *generator
	message *inferencepb.ModelInferRequest

	// constantBuilt tells that message holds tensors that never change.
	constantBuilt bool
	stream        *grpcStream
}

// NewGRPCSender returns a sender on a connection from DialGRPC, which it leaves
// open on Close.
func NewGRPCSender(cc *grpc.ClientConn, spec *RequestSpec, opts GRPCOptions) (StreamSender, error) {
	s := &grpcSender{
		client:  inferencepb.NewGRPCInferenceServiceClient(cc),
		timeout: opts.Timeout,
		streams: spec.decoupled || opts.Stream,
		request: request{spec: spec},
		gen:     newGenerator(spec),
		message: &inferencepb.ModelInferRequest{
			ModelName: spec.model, ModelVersion: spec.version,
			RawInputContents: make([][]byte, len(spec.inputs)),
		},
	}
	for _, in := range spec.inputs {
		s.message.Inputs = append(s.message.Inputs, &inferencepb.ModelInferRequest_InferInputTensor{Name: in.name, Datatype: string(in.datatype)})
	}
	for _, name := range spec.asked {
		s.message.Outputs = append(s.message.Outputs, &inferencepb.ModelInferRequest_InferRequestedOutputTensor{Name: name})
	}
	if len(spec.parameters) > 0 || spec.sequence != nil || spec.decoupled {
		s.message.Parameters = map[string]*inferencepb.InferParameter{}
	}
	for _, p := range spec.parameters {
		s.message.Parameters[p.name] = p.grpc
	}
	if spec.decoupled {
		s.message.Parameters[emptyFinalParameter] = boolParameter(true)
	}
	return s, nil
}

const (
	// emptyFinalParameter asks for a last response without outputs where the
	// model ends its responses without marking one of them.
	emptyFinalParameter = "triton_enable_empty_final_response"
	finalParameter      = "triton_final_response"
)

func boolParameter(v bool) *inferencepb.InferParameter {
	return &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_BoolParam{BoolParam: v}}
}

func (s *grpcSender) Prepare(seq uint64) {
	variant, step, built := s.request.choose(seq)
	if built {
		return
	}
	spec := s.request.spec
	if step != nil {
		id := &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_Int64Param{Int64Param: int64(step.id)}}
		if spec.sequence.textID {
			id = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_StringParam{StringParam: strconv.FormatUint(step.id, 10)}}
		}
		s.message.Parameters["sequence_id"] = id
		s.message.Parameters["sequence_start"] = boolParameter(step.start)
		s.message.Parameters["sequence_end"] = boolParameter(step.end)
	}
	if s.streams {
		s.message.Id = strconv.FormatUint(seq, 10)
	}
	if s.constantBuilt {
		return
	}
	s.gen.start(seq)
	f := spec.form(variant)
	for i := range spec.inputs {
		s.message.Inputs[i].Shape = f.shapes[i]
		s.message.RawInputContents[i] = s.gen.append(s.message.RawInputContents[i][:0], i, variant)
	}
	s.constantBuilt = spec.mode != DataRandom && len(spec.variants) == 1
}

func (s *grpcSender) Send(ctx context.Context, seq uint64) (Reply, error) {
	return s.SendStream(ctx, seq, func(int) {})
}

// SendStream is Send that tells each response.
func (s *grpcSender) SendStream(ctx context.Context, seq uint64, arrived func(tokens int)) (Reply, error) {
	s.Prepare(seq)
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	send := s.unary
	if s.streams {
		send = s.streamed
	}
	reply, err := send(ctx, arrived)
	s.request.sent(err != nil)
	if err != nil {
		return Reply{}, err
	}
	reply.Inferences = s.request.spec.batch
	return reply, nil
}

func (s *grpcSender) unary(ctx context.Context, arrived func(int)) (Reply, error) {
	var header, trailer metadata.MD
	answer, err := s.client.ModelInfer(ctx, s.message, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return Reply{}, grpcError(ctx, err, len(header)+len(trailer) > 0)
	}
	arrived(0)
	if err := s.request.spec.checkMessage(answer); err != nil {
		return Reply{}, err
	}
	if err := s.validate(answer); err != nil {
		return Reply{}, err
	}
	return Reply{Bytes: proto.Size(answer), Responses: 1}, nil
}

// Close ends the sender's stream.
func (s *grpcSender) Close() error {
	s.closeStream()
	return nil
}

// checkMessage compares an answer with what was asked for.
func (s *RequestSpec) checkMessage(m *inferencepb.ModelInferResponse) error {
	if m.GetModelName() != s.model {
		return wrongAnswer("it is of model %q, not %q", shorten(m.GetModelName()), s.model)
	}
	raw := m.GetRawOutputContents()
	if len(raw) > 0 && len(raw) != len(m.GetOutputs()) {
		return wrongAnswer("it has %s but %d raw contents", count(len(m.GetOutputs()), "output"), len(raw))
	}
	outputs := make([]replyOutput, len(m.GetOutputs()))
	for i, out := range m.GetOutputs() {
		outputs[i] = replyOutput{name: out.GetName(), datatype: Datatype(out.GetDatatype()), shape: out.GetShape(), binaryBytes: -1, elements: -1}
		if outputs[i].shape == nil {
			outputs[i].shape = []int64{}
		}
		if len(raw) > 0 {
			outputs[i].binaryBytes = int64(len(raw[i]))
		} else {
			outputs[i].elements = contentElements(out.GetContents())
		}
	}
	if err := s.checkOutputs(outputs); err != nil {
		return err
	}
	for i, out := range outputs {
		if out.datatype == Bytes && out.binaryBytes >= 0 {
			if err := checkStrings(out, raw[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// validate compares an answer with what the input data file expects. Triton
// answers raw contents with raw contents.
func (s *grpcSender) validate(m *inferencepb.ModelInferResponse) error {
	if s.request.spec.expected == nil {
		return nil
	}
	return s.request.spec.validateResults(s.request.variant, func(name string) (result, bool) {
		for i, out := range m.GetOutputs() {
			if out.GetName() == name && i < len(m.GetRawOutputContents()) {
				return result{name: name, binary: m.GetRawOutputContents()[i]}, true
			}
		}
		return result{}, false
	})
}

func contentElements(c *inferencepb.InferTensorContents) int {
	return len(c.GetBoolContents()) + len(c.GetIntContents()) + len(c.GetInt64Contents()) + len(c.GetUintContents()) +
		len(c.GetUint64Contents()) + len(c.GetFp32Contents()) + len(c.GetFp64Contents()) + len(c.GetBytesContents())
}
