package triton

import (
	"context"
	"errors"
	"io"

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

// classStreamError is an error within a stream, which has no code of its own:
// the stream goes on under status OK.
const classStreamError = "grpc stream error"

// streamed sends the request on the sender's stream and reads its responses up
// to the final one.
func (s *grpcSender) streamed(ctx context.Context, arrived func(int)) (Reply, error) {
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

func (s *grpcSender) exchangeOnStream(ctx context.Context, arrived func(int)) (Reply, error) {
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
			return reply, nil
		}
	}
}

// sendOnStream sends the request on the sender's stream, on a new one if there
// is none or it ended while it had no request. Until stop is called, the end of
// ctx ends the stream.
func (s *grpcSender) sendOnStream(ctx context.Context) (stop func() bool, err error) {
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
func (s *grpcSender) openStream(ctx context.Context) error {
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
func (s *grpcSender) checkStreamed(answer *inferencepb.ModelStreamInferResponse) (final bool, err error) {
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
	if err := s.request.spec.checkMessage(response); err != nil {
		return final, err
	}
	return final, s.validate(response)
}

func (s *grpcSender) closeStream() {
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
