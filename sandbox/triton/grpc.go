package triton

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// grpcAPI is the KServe protocol, with Triton's extensions, over gRPC.
type grpcAPI struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	grpc_health_v1.UnimplementedHealthServer

	core     *core.Server
	explicit bool
	logging  *logSettings
	restrict restrictions
}

// newGRPCServer returns a server with the inference and health services and
// no reflection, like Triton's.
func newGRPCServer(api *grpcAPI) *grpc.Server {
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(1<<31-1), grpc.MaxSendMsgSize(1<<31-1),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := api.guard(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := api.guard(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return handler(srv, stream)
		}),
	)
	inferencepb.RegisterGRPCInferenceServiceServer(server, api)
	grpc_health_v1.RegisterHealthServer(server, api)
	return server
}

func (g *grpcAPI) guard(ctx context.Context, method string) error {
	key, ok := g.restrict[protocolOf(method)]
	if !ok {
		return nil
	}
	header := "triton-grpc-protocol-" + key.header
	if sent, _ := metadata.FromIncomingContext(ctx); len(sent.Get(header)) > 0 && sent.Get(header)[0] == key.value {
		return nil
	}
	return status.Errorf(codes.Unavailable, "This protocol is restricted, expecting header '%s'", header)
}

// grpcCode is the gRPC code of an error.
func grpcCode(code core.Code) codes.Code {
	switch code {
	case core.OK:
		return codes.OK
	case core.Internal:
		return codes.Internal
	case core.NotFound:
		return codes.NotFound
	case core.InvalidArg:
		return codes.InvalidArgument
	case core.Unavailable:
		return codes.Unavailable
	case core.Unsupported:
		return codes.Unimplemented
	case core.AlreadyExists:
		return codes.AlreadyExists
	case core.Cancelled:
		return codes.Canceled
	}
	return codes.Unknown
}

func grpcError(err *core.Error) error {
	return status.Error(grpcCode(err.Code), err.Message)
}

// ModelInfer runs one request.
func (g *grpcAPI) ModelInfer(ctx context.Context, in *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	r := &core.Request{ID: in.Id, Arrived: time.Now()}
	finish := func(code core.Code) { g.core.Log.Finish(r, core.GRPC, in.ModelName, code) }
	options, err := g.prepare(r, in)
	if err == nil && r.Model.Decoupled() {
		err = core.Errorf(core.Unsupported, "ModelInfer RPC doesn't support models with decoupled transaction policy")
	}
	answers := make(chan core.Response, 1)
	r.Respond = func(response core.Response) { answers <- response }
	if err == nil {
		err = g.core.Infer(r)
	}
	if err != nil {
		finish(err.Code)
		return nil, grpcError(err)
	}
	var answer core.Response
	select {
	case answer = <-answers:
	case <-ctx.Done():
		r.Cancel()
		// It may run to its end; the log tells what really became of it.
		answer = <-answers
	}
	if answer.Err != nil {
		finish(answer.Err.Code)
		return nil, grpcError(answer.Err)
	}
	out := encodeInfer(r, answer, options)
	finish(core.OK)
	return out, nil
}

// ModelStreamInfer runs requests as they come. The responses of models with
// one response per request keep the requests' order; a decoupled model's are
// sent as they are made.
func (g *grpcAPI) ModelStreamInfer(stream inferencepb.GRPCInferenceService_ModelStreamInferServer) error {
	s := &inferStream{api: g, stream: stream}
	previous := make(chan struct{})
	close(previous)
	defer s.running.Wait()
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // the client has gone; requests in flight go on
		}
		s.running.Add(1)
		previous = s.begin(in, previous)
	}
}

type inferStream struct {
	api     *grpcAPI
	stream  inferencepb.GRPCInferenceService_ModelStreamInferServer
	running sync.WaitGroup
	sending sync.Mutex
}

// begin schedules a request and returns what its successor has to wait for.
func (s *inferStream) begin(in *inferencepb.ModelInferRequest, previous chan struct{}) (done chan struct{}) {
	r := &core.Request{ID: in.Id, Arrived: time.Now()}
	answers := newMailbox()
	r.Respond = answers.put
	options, err := s.api.prepare(r, in)
	if err == nil {
		err = s.api.core.Infer(r)
	}
	done = make(chan struct{})
	ordered := err != nil || !r.Model.Decoupled()
	go func() {
		defer s.running.Done()
		defer close(done)
		if ordered {
			<-previous
		}
		if err != nil {
			s.api.core.Log.Finish(r, core.GRPCStream, in.ModelName, err.Code)
			s.send(streamError(r, err))
			return
		}
		s.forward(r, in, answers, options)
		<-previous
	}()
	return done
}

func (s *inferStream) forward(r *core.Request, in *inferencepb.ModelInferRequest, answers *mailbox, options outputOptions) {
	wantsFinal := in.Parameters["triton_enable_empty_final_response"].GetBoolParam()
	gone := context.AfterFunc(s.stream.Context(), r.Cancel)
	defer gone()
	code := core.OK
	for {
		answer := answers.get()
		if answer.Final {
			if answer.Err != nil {
				code = answer.Err.Code
			}
			s.api.core.Log.Finish(r, core.GRPCStream, in.ModelName, code)
		}
		switch {
		case answer.Err != nil:
			s.send(streamError(r, answer.Err))
		case len(answer.Outputs) > 0:
			out := encodeInfer(r, answer, options)
			setFinal(out, answer.Final)
			s.send(&inferencepb.ModelStreamInferResponse{InferResponse: out})
		case answer.Final && wantsFinal:
			out := &inferencepb.ModelInferResponse{ModelName: r.Model.Name, Id: r.ID}
			setFinal(out, true)
			s.send(&inferencepb.ModelStreamInferResponse{InferResponse: out})
		}
		if answer.Final {
			return
		}
	}
}

func setFinal(out *inferencepb.ModelInferResponse, final bool) {
	if out.Parameters == nil {
		out.Parameters = map[string]*inferencepb.InferParameter{}
	}
	out.Parameters["triton_final_response"] = &inferencepb.InferParameter{ParameterChoice: &inferencepb.InferParameter_BoolParam{BoolParam: final}}
}

func streamError(r *core.Request, err *core.Error) *inferencepb.ModelStreamInferResponse {
	return &inferencepb.ModelStreamInferResponse{
		ErrorMessage:  err.Message,
		InferResponse: &inferencepb.ModelInferResponse{Id: r.ID},
	}
}

func (s *inferStream) send(out *inferencepb.ModelStreamInferResponse) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.stream.Send(out) // a client that has gone doesn't stop the model
}
