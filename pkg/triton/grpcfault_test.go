package triton

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// faultyGRPC answers each call by a function.
type faultyGRPC struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	infer func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error)
	sends []*inferencepb.ModelStreamInferResponse
}

func (f *faultyGRPC) ModelInfer(ctx context.Context, req *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	return f.infer(ctx, req)
}

func (f *faultyGRPC) ModelStreamInfer(stream grpc.BidiStreamingServer[inferencepb.ModelInferRequest, inferencepb.ModelStreamInferResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, response := range f.sends {
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}

func serveFaulty(t *testing.T, f *faultyGRPC) DialFunc {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	inferencepb.RegisterGRPCInferenceServiceServer(server, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return dialTo(listener.Addr().String())
}

func connect(t *testing.T, dial DialFunc) *GRPCConnection {
	t.Helper()
	cc, err := NewGRPCConnection(dial, GRPCAddress{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func grpcSenderFor(t *testing.T, cc *GRPCConnection, m *strictModel, opts GRPCOptions) Sender {
	t.Helper()
	s, err := NewGRPCSender(cc, build(t, m, RequestOptions{}), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestGRPCFaultsAreClassed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	good := func() *inferencepb.ModelInferResponse {
		return &inferencepb.ModelInferResponse{ModelName: "m",
			Outputs:           []*inferencepb.ModelInferResponse_InferOutputTensor{{Name: "OUTPUT0", Datatype: "FP32", Shape: []int64{1}}},
			RawOutputContents: [][]byte{{0, 0, 0, 0}}}
	}
	answer := func(change func(*inferencepb.ModelInferResponse)) func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
		return func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
			r := good()
			change(r)
			return r, nil
		}
	}
	fail := func(code codes.Code, message string) func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
		return func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
			return nil, status.Error(code, message)
		}
	}
	tests := []struct {
		name, class, says string
		infer             func(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error)
	}{
		{"good", "", "", answer(func(*inferencepb.ModelInferResponse) {})},
		{"typed contents", "", "", answer(func(r *inferencepb.ModelInferResponse) {
			r.RawOutputContents = nil
			r.Outputs[0].Contents = &inferencepb.InferTensorContents{Fp32Contents: []float32{1}}
		})},
		{"queue full", "grpc UNAVAILABLE", "Exceeds maximum queue size", fail(codes.Unavailable, "[request id: <id_unknown>] Exceeds maximum queue size")},
		{"invalid", "grpc INVALID_ARGUMENT", "bad shape", fail(codes.InvalidArgument, "bad shape")},
		{"unknown model", "grpc NOT_FOUND", "nope", fail(codes.NotFound, "nope")},
		{"cancelled by the server", "grpc CANCELLED", "by the model", fail(codes.Canceled, "by the model")},
		{"deadline of the server's own", "grpc DEADLINE_EXCEEDED", "its own", fail(codes.DeadlineExceeded, "its own")},
		{"other model", ClassWrongAnswer, `"n"`, answer(func(r *inferencepb.ModelInferResponse) { r.ModelName = "n" })},
		{"no outputs", ClassWrongAnswer, "no outputs", answer(func(r *inferencepb.ModelInferResponse) { r.Outputs, r.RawOutputContents = nil, nil })},
		{"wrong size", ClassWrongAnswer, "[1] has 3 bytes", answer(func(r *inferencepb.ModelInferResponse) { r.RawOutputContents[0] = []byte("abc") })},
		{"wrong number of contents", ClassWrongAnswer, "2 raw contents", answer(func(r *inferencepb.ModelInferResponse) { r.RawOutputContents = append(r.RawOutputContents, nil) })},
		{"wrong type", ClassWrongAnswer, "INT8, not FP32", answer(func(r *inferencepb.ModelInferResponse) { r.Outputs[0].Datatype = "INT8" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := grpcSenderFor(t, connect(t, serveFaulty(t, &faultyGRPC{infer: tt.infer})), smallModel(), GRPCOptions{})
			for seq := range uint64(2) {
				if _, err := s.Send(t.Context(), seq); classOf(err) != tt.class || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("class %q, error %v", classOf(err), err)
				}
			}
		})
	}
}

func TestGRPCTimeoutCancelAndLostConnection(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("faults", func(t *testing.T) {
		arrived := make(chan struct{}, 1)
		var asked atomic.Int64
		hang := &faultyGRPC{infer: func(ctx context.Context, _ *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
			if asked.Add(1) == 1 {
				return nil, status.Error(codes.Unavailable, "not yet")
			}
			arrived <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		hanging := serveFaulty(t, hang)
		cc := connect(t, hanging)
		// With the connection made, the next request arrives, however soon it is given up.
		if _, err := grpcSenderFor(t, cc, smallModel(), GRPCOptions{}).Send(t.Context(), 0); err == nil {
			t.Error("the refused request has no error")
		}
		if _, err := grpcSenderFor(t, cc, smallModel(), GRPCOptions{Timeout: 50 * time.Millisecond}).Send(t.Context(), 0); classOf(err) != ClassTimeout {
			t.Errorf("timeout: %v", err)
		}
		<-arrived
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		if _, err := grpcSenderFor(t, cc, smallModel(), GRPCOptions{}).Send(ctx, 0); classOf(err) != ClassCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}

		m := smallModel()
		dial, server := m.serveGRPC(t)
		s := grpcSenderFor(t, connect(t, dial), m, GRPCOptions{})
		if _, err := s.Send(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		server.Stop()
		// The first request after the loss may meet either the old connection
		// or the attempt at a new one.
		if _, err := s.Send(t.Context(), 1); classOf(err) != ClassConnect && classOf(err) != ClassConnectionLost {
			t.Errorf("server gone: class %q, %v", classOf(err), err)
		}
		if _, err := s.Send(t.Context(), 2); classOf(err) != ClassConnect {
			t.Errorf("server still gone: class %q, %v", classOf(err), err)
		}

		// A connection that breaks under a request.
		tunnel := &breakable{dial: hanging}
		under := connect(t, tunnel.dialContext)
		go func() { <-arrived; tunnel.breakOff() }()
		if _, err := grpcSenderFor(t, under, smallModel(), GRPCOptions{}).Send(t.Context(), 0); classOf(err) != ClassConnectionLost {
			t.Errorf("broken under the request: class %q, %v", classOf(err), err)
		}
	})
}

// breakable dials connections that the test can break.
type breakable struct {
	dial DialFunc
	mu   sync.Mutex
	conn net.Conn
}

func (b *breakable) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := b.dial(ctx, network, addr)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
	return conn, err
}

func (b *breakable) breakOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.conn.Close()
}

func TestHTTPPortIsNotTakenForGRPC(t *testing.T) {
	s := grpcSenderFor(t, connect(t, smallModel().serveHTTP(t)), smallModel(), GRPCOptions{})
	if _, err := s.Send(t.Context(), 0); err == nil || !strings.HasPrefix(classOf(err), "connect") {
		t.Errorf("class %q, error %v", classOf(err), err)
	}
}

func decoupledModel() *strictModel {
	m := smallModel()
	m.cfg.ModelTransactionPolicy.Decoupled = true
	return m
}

func TestDecoupledModelsAnswerOnAStream(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("stream", func(t *testing.T) {
		m := decoupledModel()
		dial, _ := m.serveGRPC(t)
		spec := build(t, m, RequestOptions{})
		s, err := NewGRPCSender(connect(t, dial), spec, GRPCOptions{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for seq := range uint64(5) {
			reply, err := s.Send(t.Context(), seq)
			if err != nil || reply.Responses != 2 || reply.Inferences != 1 {
				t.Fatalf("reply %+v, %v", reply, err)
			}
			compareReceived(t, spec, seq, m.last())
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Send(canceled, 5); classOf(err) != ClassCanceled {
			t.Errorf("canceled: %v", err)
		}
		if _, err := s.Send(t.Context(), 6); err != nil {
			t.Errorf("after a canceled request: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFaultsOnAStreamAreClassed(t *testing.T) {
	response := func(id string, final bool, outputs int) *inferencepb.ModelStreamInferResponse {
		r := &inferencepb.ModelInferResponse{ModelName: "m", Id: id, Parameters: map[string]*inferencepb.InferParameter{finalParameter: boolParameter(final)}}
		for range outputs {
			r.Outputs = append(r.Outputs, &inferencepb.ModelInferResponse_InferOutputTensor{Name: "OUTPUT0", Datatype: "FP32", Shape: []int64{1}})
			r.RawOutputContents = append(r.RawOutputContents, make([]byte, 4))
		}
		return &inferencepb.ModelStreamInferResponse{InferResponse: r}
	}
	failure := &inferencepb.ModelStreamInferResponse{ErrorMessage: "boom", InferResponse: &inferencepb.ModelInferResponse{Id: "7"}}
	tests := []struct {
		name, class, says string
		sends             []*inferencepb.ModelStreamInferResponse
		responses         int
	}{
		{"none but the final", "", "", []*inferencepb.ModelStreamInferResponse{response("7", true, 0)}, 0},
		{"the last is the final", "", "", []*inferencepb.ModelStreamInferResponse{response("7", false, 1), response("7", true, 1)}, 2},
		{"error message", "grpc stream error", "boom", []*inferencepb.ModelStreamInferResponse{response("7", false, 1), failure}, 0},
		{"other request's", ClassWrongAnswer, `"6", not "7"`, []*inferencepb.ModelStreamInferResponse{response("6", true, 1)}, 0},
		{"empty but not final", ClassWrongAnswer, "no outputs", []*inferencepb.ModelStreamInferResponse{response("7", false, 0)}, 0},
		{"ended early", ClassConnectionLost, "final response", []*inferencepb.ModelStreamInferResponse{response("7", false, 1)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := grpcSenderFor(t, connect(t, serveFaulty(t, &faultyGRPC{sends: tt.sends})), decoupledModel(), GRPCOptions{})
			reply, err := s.Send(t.Context(), 7)
			if classOf(err) != tt.class || err != nil && !strings.Contains(err.Error(), tt.says) || reply.Responses != tt.responses {
				t.Errorf("reply %+v, class %q, error %v", reply, classOf(err), err)
			}
		})
	}
}

// halfBroken is a server whose streams end with an error once told so, each on
// its own.
type halfBroken struct {
	strictModel
	broken string // the id of the request that breaks its stream
	lose   func() // instead of ending the stream, if set
}

func (h *halfBroken) ModelStreamInfer(stream grpc.BidiStreamingServer[inferencepb.ModelInferRequest, inferencepb.ModelStreamInferResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil
		}
		answer, err := h.inferGRPC(req)
		if err != nil {
			return err
		}
		if req.GetId() == h.broken && h.lose != nil {
			h.lose()
			<-stream.Context().Done()
			return nil
		}
		if req.GetId() == h.broken {
			_ = stream.Send(&inferencepb.ModelStreamInferResponse{InferResponse: answer})
			return status.Error(codes.ResourceExhausted, "broken on purpose")
		}
		answer.Parameters = map[string]*inferencepb.InferParameter{finalParameter: boolParameter(true)}
		if err := stream.Send(&inferencepb.ModelStreamInferResponse{InferResponse: answer}); err != nil {
			return err
		}
	}
}

// TestABrokenStreamFailsItsOwnRequestOnly: senders share a connection, and one
// sender's stream ends with an error while another's request is on its way.
func TestABrokenStreamFailsItsOwnRequestOnly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("streams", func(t *testing.T) {
		h := &halfBroken{strictModel: strictModel{cfg: smallModel().cfg}, broken: "13"}
		cc := connect(t, h.serve(t))
		spec := build(t, smallModel(), RequestOptions{})
		var mu sync.Mutex
		failed := map[uint64]string{}
		arrivals := 0
		var wg sync.WaitGroup
		for i := range uint64(4) {
			wg.Go(func() {
				s, err := NewGRPCSender(cc, spec, GRPCOptions{Stream: true, Timeout: 10 * time.Second})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = s.Close() }()
				for n := range uint64(10) {
					seq := 10*i + n
					_, err := s.SendStream(t.Context(), seq, func(int) { mu.Lock(); arrivals++; mu.Unlock() })
					if err != nil {
						mu.Lock()
						failed[seq] = classOf(err)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if len(failed) != 1 || failed[13] != "grpc RESOURCE_EXHAUSTED" || arrivals != 40 {
			t.Errorf("failed %v, %d responses", failed, arrivals)
		}
	})
}

func (h *halfBroken) serve(t *testing.T) DialFunc {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	inferencepb.RegisterGRPCInferenceServiceServer(server, h)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return dialTo(listener.Addr().String())
}

// TestALostConnectionFailsWhatIsOnIt: of three senders, two share a connection
// that is cut under the request of one of them. The other, which had no request
// on it, goes on with a new stream, and so does the first.
func TestALostConnectionFailsWhatIsOnIt(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("connections", func(t *testing.T) {
		h := &halfBroken{strictModel: strictModel{cfg: smallModel().cfg}, broken: "3"}
		dial := h.serve(t)
		var mu sync.Mutex
		var shared net.Conn
		h.lose = func() { mu.Lock(); defer mu.Unlock(); _ = shared.Close() }
		cut := connect(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			mu.Lock()
			defer mu.Unlock()
			shared = conn
			return conn, err
		})
		spec := build(t, smallModel(), RequestOptions{})
		var senders []*grpcStreamSender
		for _, cc := range []*GRPCConnection{cut, cut, connect(t, dial)} {
			s, err := NewGRPCSender(cc, spec, GRPCOptions{Stream: true, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			senders = append(senders, s.(*grpcStreamSender))
		}
		send := func(sender int, seq uint64) string {
			_, err := senders[sender].Send(t.Context(), seq)
			return classOf(err)
		}
		for i := range senders {
			if class := send(i, uint64(i)); class != "" {
				t.Fatalf("sender %d: %s", i, class)
			}
		}
		idle := senders[1].stream.call
		if class := send(0, 3); class != ClassConnectionLost {
			t.Errorf("the request on the connection: class %q", class)
		}
		if answer, err := idle.Recv(); err == nil {
			t.Errorf("the idle stream brought %v", answer)
		}
		for i := range senders {
			if class := send(i, uint64(4+i)); class != "" {
				t.Errorf("sender %d afterwards: %s", i, class)
			}
		}
	})
}

// TestAContextThatEndsWithTheFinalResponseLeavesNoBrokenStream: the stream ends
// with the context, although the request was answered; the next one needs another.
func TestAContextThatEndsWithTheFinalResponseLeavesNoBrokenStream(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("stream", func(t *testing.T) {
		h := &halfBroken{strictModel: strictModel{cfg: smallModel().cfg}}
		s := grpcSenderFor(t, connect(t, h.serve(t)), smallModel(), GRPCOptions{Stream: true}).(*grpcStreamSender)
		for seq := range uint64(20) {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := s.SendStream(ctx, seq, func(int) {
				if seq%2 == 0 {
					cancel()
					<-s.stream.call.Context().Done()
				}
			})
			if err != nil {
				t.Errorf("request %d: class %q, error %v", seq, classOf(err), err)
			}
			if kept := s.stream != nil; kept != (seq%2 == 1) {
				t.Errorf("after request %d, a stream is kept: %t", seq, kept)
			}
			cancel()
		}
	})
}
