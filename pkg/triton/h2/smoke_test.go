package h2

import (
	"context"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

type echo struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
}

func (echo) ModelInfer(_ context.Context, r *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	return &inferencepb.ModelInferResponse{ModelName: r.ModelName, Id: r.Id, RawOutputContents: r.RawInputContents}, nil
}

func TestSmoke(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 30))
	inferencepb.RegisterGRPCInferenceServiceServer(s, echo{})
	go s.Serve(l)
	defer s.Stop()
	for _, wrapped := range []bool{false, true} {
		c := NewClient(func(ctx context.Context) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			if wrapped && err == nil {
				nc = struct{ net.Conn }{nc}
			}
			return nc, err
		}, Options{Authority: "triton", Method: "/inference.GRPCInferenceService/ModelInfer", UserAgent: "x"})
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				k := c.NewCall()
				defer k.Close()
				for i := range 300 {
					size := 100
					if w == 0 && i%50 == 0 {
						size = 20 << 20
					}
					body := make([]byte, size)
					body[size-1] = byte(i)
					m, _ := proto.MarshalOptions{}.MarshalAppend(make([]byte, 5), &inferencepb.ModelInferRequest{ModelName: "m", RawInputContents: [][]byte{body}})
					PutPrefix(m)
					a, err := k.Do(t.Context(), m)
					if err != nil {
						t.Error(err)
						return
					}
					var r inferencepb.ModelInferResponse
					if err := proto.Unmarshal(a, &r); err != nil || len(r.RawOutputContents[0]) != size || r.RawOutputContents[0][size-1] != byte(i) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		c.Close()
	}
}
