package triton

import (
	"context"
	"errors"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/h2"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// GRPCConnection is what the senders that are made with it share: one HTTP/2
// connection for requests that are calls of their own, and one for streams. Each
// is dialled on first use, and again when it is lost. The throughput of one
// connection has a ceiling: several spread senders. One request sent is one
// request measured: nothing is sent again but what provably never reached the
// server, or what it had not begun with when it ended the connection in order.
type GRPCConnection struct {
	calls   *h2.Client
	streams *grpc.ClientConn
}

// NewGRPCConnection returns a connection that has not dialled yet.
func NewGRPCConnection(dial DialFunc) (*GRPCConnection, error) {
	streams, err := DialGRPC(dial)
	if err != nil {
		return nil, err
	}
	calls := h2.NewClient(func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", authority) }, h2.Options{
		Authority: authority, Method: inferencepb.GRPCInferenceService_ModelInfer_FullMethodName, UserAgent: userAgent,
	})
	return &GRPCConnection{calls: calls, streams: streams}, nil
}

// Close ends the requests that are on their way.
func (c *GRPCConnection) Close() error {
	return errors.Join(c.calls.Close(), c.streams.Close())
}

const (
	authority = "triton"
	userAgent = "kubectl-triton"
)

// DialGRPC returns a connection of gRPC's own library that dials through dial on first use, and
// again when it is lost. There is no retry, no service config and no proxy, so that
// one request sent is one request measured. (gRPC does send a request again
// that provably never left the machine.)
func DialGRPC(dial DialFunc, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	const longestBackoff = 2 * time.Second // a pod that comes back is used soon
	connect := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestBackoff},
		MinConnectTimeout: 10 * time.Second,
	}
	return grpc.NewClient("passthrough:///"+authority, append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(connect),
		grpc.WithUserAgent(userAgent),
	}, opts...)...)
}
