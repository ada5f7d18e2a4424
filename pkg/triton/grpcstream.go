package triton

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// grpcStream is an open ModelStreamInfer call.
type grpcStream struct {
	call   grpc.BidiStreamingClient[inferencepb.ModelInferRequest, inferencepb.ModelStreamInferResponse]
	cancel context.CancelFunc
	// answered tells that a response came, so that the headers say nothing of
	// where a later end of the stream comes from.
	answered bool
}

// grpcStreamSender sends its requests on a stream of its own, on which a request
// ends with the response marked as final.
type grpcStreamSender struct {
	client  inferencepb.GRPCInferenceServiceClient
	timeout time.Duration
	request request
	gen     *generator
	message *inferencepb.ModelInferRequest

	// constantBuilt tells that message holds tensors that never change.
	constantBuilt bool
	stream        *grpcStream
}

func newGRPCStreamSender(cc *grpc.ClientConn, spec *RequestSpec, opts GRPCOptions) *grpcStreamSender {
	s := &grpcStreamSender{
		client:  inferencepb.NewGRPCInferenceServiceClient(cc),
		timeout: opts.Timeout,
		request: request{spec: spec},
		gen:     newGenerator(spec),
		message: spec.newMessage(),
	}
	s.message.RawInputContents = make([][]byte, len(spec.inputs))
	if spec.decoupled {
		s.message.Parameters[emptyFinalParameter] = boolParameter(true)
	}
	return s
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

func (s *grpcStreamSender) Prepare(seq uint64) {
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
	s.message.Id = strconv.FormatUint(seq, 10)
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

func (s *grpcStreamSender) Send(ctx context.Context, seq uint64) (Reply, error) {
	return s.SendStream(ctx, seq, func(int) {})
}

// SendStream is Send that tells each response.
func (s *grpcStreamSender) SendStream(ctx context.Context, seq uint64, arrived func(tokens int)) (Reply, error) {
	s.Prepare(seq)
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	reply, err := s.streamed(ctx, arrived)
	s.request.sent(err != nil)
	if err != nil {
		return Reply{}, err
	}
	reply.Inferences = s.request.spec.batch
	return reply, nil
}

// Close ends the sender's stream.
func (s *grpcStreamSender) Close() error {
	s.closeStream()
	return nil
}

// classStreamError is an error within a stream, which has no code of its own:
// the stream goes on under status OK.
const classStreamError = "grpc stream error"

// streamed sends the request on the sender's stream and reads its responses up
// to the final one.
func (s *grpcStreamSender) streamed(ctx context.Context, arrived func(int)) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, networkError(ctx, err, ClassCanceled)
	}
	reply, err := s.exchangeOnStream(ctx, arrived)
	if err != nil {
		// What is left of this request's responses must not meet the next.
		s.closeStream()
	}
	return reply, err
}

func (s *grpcStreamSender) exchangeOnStream(ctx context.Context, arrived func(int)) (Reply, error) {
	stop, err := s.sendOnStream(ctx)
	if err != nil {
		return Reply{}, err
	}
	defer stop()
	call := s.stream.call
	var reply Reply
	for {
		answer, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return Reply{}, &Error{Class: ClassConnectionLost, Message: "the server ended the stream before the final response"}
		}
		if err != nil {
			header, _ := call.Header()
			return Reply{}, grpcError(ctx, err, len(call.Trailer()) > 0 || !s.stream.answered && len(header) > 0)
		}
		s.stream.answered = true
		reply.Bytes += proto.Size(answer)
		final, err := s.checkStreamed(answer)
		if err != nil {
			return Reply{}, err
		}
		response := answer.GetInferResponse()
		if len(response.GetOutputs()) > 0 || !final {
			reply.Responses++
			arrived(0)
		}
		if final {
			if !stop() {
				s.closeStream() // ctx has ended just now, and the stream with it
			}
			return reply, nil
		}
	}
}

// sendOnStream sends the request on the sender's stream, on a new one if there
// is none or it ended while it had no request. Until stop is called, the end of
// ctx ends the stream.
func (s *grpcStreamSender) sendOnStream(ctx context.Context) (stop func() bool, err error) {
	used := s.stream != nil
	if !used {
		if err := s.openStream(ctx); err != nil {
			return nil, err
		}
	}
	stop = context.AfterFunc(ctx, s.stream.cancel)
	err = s.stream.call.Send(s.message)
	switch {
	case errors.Is(err, io.EOF) && used && ctx.Err() == nil:
		// The stream was over before: nothing of the request left for the server.
		stop()
		s.closeStream()
		return s.sendOnStream(ctx)
	case err != nil && !errors.Is(err, io.EOF):
		stop()
		return nil, grpcError(ctx, err, false)
	}
	return stop, nil // after io.EOF, Recv has the reason
}

// openStream opens a stream that serves later requests too, so that only an
// interrupted request ends it, not the end of each one's context.
func (s *grpcStreamSender) openStream(ctx context.Context) error {
	streamContext, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	call, err := s.client.ModelStreamInfer(streamContext)
	stop()
	if err != nil {
		cancel()
		return grpcError(ctx, err, false)
	}
	s.stream = &grpcStream{call: call, cancel: cancel}
	return nil
}

// checkStreamed validates one response; the final one may be empty.
func (s *grpcStreamSender) checkStreamed(answer *inferencepb.ModelStreamInferResponse) (final bool, err error) {
	if text := answer.GetErrorMessage(); text != "" {
		return false, &Error{Class: classStreamError, Message: shorten(text)}
	}
	response := answer.GetInferResponse()
	if response.GetId() != s.message.GetId() {
		return false, wrongAnswer("a response is to request %q, not %q", shorten(response.GetId()), s.message.GetId())
	}
	final = response.GetParameters()[finalParameter].GetBoolParam()
	if final && len(response.GetOutputs()) == 0 {
		return true, nil
	}
	if _, err := s.request.spec.checkMessage(response); err != nil {
		return final, err
	}
	return final, s.validate(response)
}

// validate compares an answer with what the input data file expects. Triton
// answers raw contents with raw contents.
func (s *grpcStreamSender) validate(m *inferencepb.ModelInferResponse) error {
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

func (s *grpcStreamSender) closeStream() {
	if s.stream == nil {
		return
	}
	s.stream.cancel()
	// The call's resources are free once it has reported its end.
	for {
		if _, err := s.stream.call.Recv(); err != nil {
			break
		}
	}
	s.stream = nil
}
