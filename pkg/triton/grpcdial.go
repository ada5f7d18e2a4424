package triton

import (
	"context"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// DialGRPC returns a connection that dials through dial on first use, and
// again when it is lost. All senders of a connection share one HTTP/2
// connection, whose throughput has a ceiling of its own: several connections
// spread senders. There is no retry, no service config and no proxy, so that
// one request sent is one request measured. (gRPC does send a request again
// that provably never left the machine.)
func DialGRPC(dial DialFunc, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	const longestBackoff = 2 * time.Second // a pod that comes back is used soon
	connect := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestBackoff},
		MinConnectTimeout: 10 * time.Second,
	}
	return grpc.NewClient("passthrough:///triton", append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(connect),
		grpc.WithUserAgent("kubectl-triton"),
	}, opts...)...)
}
