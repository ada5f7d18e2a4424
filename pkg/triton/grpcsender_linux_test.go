package triton

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/h2"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// cannedGRPC answers each request of one sender with the same message, without
// an allocation.
func cannedGRPC(conn net.Conn, message []byte) {
	in := make([]byte, 64<<10)
	if _, err := io.ReadFull(conn, in[:len(http2.ClientPreface)]); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	for stream := uint32(0); stream == 0; {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if frame, ok := frame.(*http2.DataFrame); ok && frame.StreamEnded() {
			stream = frame.StreamID
		}
	}
	// The first answer puts its fields into the client's table, from where later
	// ones take them: 63 is the content type, 62 the status.
	first := []byte{0x88, 0x5F, 16}
	first = append(append(first, "application/grpc"...), 0x40, 11)
	first = append(append(first, "grpc-status"...), 1, '0')
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: true, EndStream: true})
	for stream := uint32(3); ; stream += 2 {
		// A request comes in one piece.
		if _, err := conn.Read(in); err != nil {
			return
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88, 0xBF}, EndHeaders: true})
		_ = f.WriteData(stream, false, message)
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0xBE}, EndHeaders: true, EndStream: true})
	}
}

func TestBusyGRPCRequestAllocatesNothing(t *testing.T) {
	near, far := tcpPair(t)
	answer, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, h2.PrefixBytes), &inferencepb.ModelInferResponse{ModelName: "m", ModelVersion: "1",
		Outputs:           []*inferencepb.ModelInferResponse_InferOutputTensor{{Name: "OUTPUT0", Datatype: "FP32", Shape: []int64{1}}},
		RawOutputContents: [][]byte{{0, 0, 0, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	h2.PutPrefix(answer)
	go cannedGRPC(far, answer)
	conn, err := NewGRPCConnection(func(context.Context, string, string) (net.Conn, error) { return near, nil }, GRPCAddress{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	s, err := NewGRPCSender(conn, build(t, smallModel(), RequestOptions{}), GRPCOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Send(ctx, 0); classOf(err) != "grpc INTERNAL" {
		t.Fatalf("an answer without message: %v", err)
	}
	seq := uint64(0)
	n := testing.AllocsPerRun(1000, func() {
		seq++
		if _, err := s.Send(ctx, seq); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations per request", n)
	}
}
