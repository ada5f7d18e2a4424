package triton

import (
	"context"
	"errors"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/h2"
)

// GRPCOptions of a sender.
type GRPCOptions struct {
	// Timeout of one request, besides the deadline of its context; 0 is none.
	Timeout time.Duration
	// Stream sends the requests of any model on a stream; those of a decoupled
	// one always are.
	Stream bool
}

// grpcSender sends each request as a call of its own, with tensors as raw
// contents.
type grpcSender struct {
	call    *h2.Call
	timeout time.Duration
	request request
	encoder *grpcRequest
	checker grpcChecker
	bytes   []byte
}

// NewGRPCSender returns a sender on a connection that it leaves open on Close.
func NewGRPCSender(conn *GRPCConnection, spec *RequestSpec, opts GRPCOptions) (StreamSender, error) {
	if spec.decoupled || opts.Stream {
		return newGRPCStreamSender(conn.streams, spec, opts), nil
	}
	encoder, err := newGRPCRequest(spec)
	if err != nil {
		return nil, err
	}
	return &grpcSender{
		call: conn.calls.NewCall(), timeout: opts.Timeout,
		request: request{spec: spec}, encoder: encoder, checker: grpcChecker{spec: spec},
	}, nil
}

func (s *grpcSender) Prepare(seq uint64) {
	variant, step, built := s.request.choose(seq)
	if !built {
		s.bytes = s.encoder.build(seq, variant, step)
	}
}

func (s *grpcSender) Send(ctx context.Context, seq uint64) (Reply, error) {
	return s.SendStream(ctx, seq, nil)
}

// SendStream is Send that tells the response.
func (s *grpcSender) SendStream(ctx context.Context, seq uint64, arrived func(tokens int)) (Reply, error) {
	s.Prepare(seq)
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	n, err := s.exchange(ctx, arrived)
	s.request.sent(err != nil)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Inferences: s.request.spec.batch, Bytes: n, Responses: 1}, nil
}

func (s *grpcSender) exchange(ctx context.Context, arrived func(int)) (answerBytes int, err error) {
	answer, err := s.call.Do(ctx, s.bytes)
	if err != nil {
		return 0, callError(ctx, err, s.call.Answered())
	}
	if arrived != nil {
		arrived(0)
	}
	if err := s.checker.check(answer); err != nil {
		return 0, err
	}
	return len(answer), s.checker.validate(s.request.variant)
}

// callError gives a failed call its class.
func callError(ctx context.Context, err error, answered bool) *Error {
	var connect *h2.ConnectError
	var lost *h2.LostError
	switch {
	case errors.As(err, &connect):
		return networkError(ctx, connect.Err, ClassConnect)
	case errors.As(err, &lost):
		return networkError(ctx, lost.Err, ClassConnectionLost)
	}
	return grpcError(ctx, err, answered)
}

// Close ends the sender's use of the connection.
func (s *grpcSender) Close() error {
	s.call.Close()
	return nil
}
