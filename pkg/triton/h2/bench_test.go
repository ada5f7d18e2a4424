package h2

import (
	"context"
	"fmt"
	"math"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// counted answers with the number of bytes that it got.
type counted struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
}

func (counted) ModelInfer(_ context.Context, r *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	return &inferencepb.ModelInferResponse{Id: fmt.Sprint(len(r.GetRawInputContents()[0]))}, nil
}

// BenchmarkCall compares with the reference, against the reference's server in
// the same process.
func BenchmarkCall(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32))
	inferencepb.RegisterGRPCInferenceServiceServer(s, counted{})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	b.Cleanup(func() { s.Stop(); <-done })
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer cc.Close()
	reference := inferencepb.NewGRPCInferenceServiceClient(cc)
	for _, size := range []int{100, 600_000, 16 << 20} {
		message := request("a", size)
		b.Run(fmt.Sprintf("h2/%d", size), func(b *testing.B) {
			k := newTestCall(b, newTestClient(b, l.Addr().String(), transports["tcp"], testOptions))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Do(b.Context(), message); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("reference/%d", size), func(b *testing.B) {
			var r inferencepb.ModelInferRequest
			if err := proto.Unmarshal(message[PrefixBytes:], &r); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := reference.ModelInfer(b.Context(), &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
