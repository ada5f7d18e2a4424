package triton

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
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

// GRPCAddress is how a server is spoken to. The zero value is plain text.
type GRPCAddress struct {
	// Authority is what the server is called in requests, HOST:PORT; any name
	// where it doesn't matter.
	Authority string
	// TLS, if not nil, encrypts; without a ServerName of its own it asks for the
	// authority's host.
	TLS *tls.Config
	// UserAgent of the requests, before gRPC's own; empty means "kubectl-triton".
	UserAgent string
}

func (a GRPCAddress) userAgent() string { return cmp.Or(a.UserAgent, defaultUserAgent) }

func (a GRPCAddress) authority() string { return cmp.Or(a.Authority, "triton") }

func (a GRPCAddress) host() string {
	host, _, err := net.SplitHostPort(a.authority())
	if err != nil {
		return a.authority()
	}
	return host
}

// NewGRPCConnection returns a connection that has not dialled yet.
func NewGRPCConnection(dial DialFunc, at GRPCAddress) (*GRPCConnection, error) {
	streams, err := DialGRPC(dial, at)
	if err != nil {
		return nil, err
	}
	calls := h2.NewClient(at.dialHTTP2(dial), h2.Options{
		Authority: at.authority(), Method: inferencepb.GRPCInferenceService_ModelInfer_FullMethodName, UserAgent: at.userAgent(),
	})
	return &GRPCConnection{calls: calls, streams: streams}, nil
}

// dialHTTP2 is dial, for HTTP/2 over TLS where TLS is asked for.
func (a GRPCAddress) dialHTTP2(dial DialFunc) func(context.Context) (net.Conn, error) {
	authority := a.authority()
	if a.TLS == nil {
		return func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", authority) }
	}
	config := a.TLS.Clone()
	config.NextProtos = []string{http2.NextProtoTLS}
	config.ServerName = cmp.Or(config.ServerName, a.host())
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx, "tcp", authority)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, config), nil
	}
}

// Close ends the requests that are on their way.
func (c *GRPCConnection) Close() error {
	return errors.Join(c.calls.Close(), c.streams.Close())
}

const defaultUserAgent = "kubectl-triton"

// DialGRPC returns a connection of gRPC's own library that dials through dial on
// first use, and again when it is lost. There is no retry, no service config and
// no proxy, so that one request sent is one request measured. (gRPC does send a
// request again that provably never left the machine.)
func DialGRPC(dial DialFunc, at GRPCAddress) (*grpc.ClientConn, error) {
	const longestBackoff = 2 * time.Second // a pod that comes back is used soon
	connect := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestBackoff},
		MinConnectTimeout: 10 * time.Second,
	}
	security := insecure.NewCredentials()
	if at.TLS != nil {
		config := at.TLS.Clone()
		if config.ServerName == at.host() {
			config.ServerName = "" // or gRPC leaves the port out of the authority
		}
		security = credentials.NewTLS(config)
	}
	return grpc.NewClient("passthrough:///"+at.authority(),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }),
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(connect),
		grpc.WithUserAgent(at.userAgent()),
	)
}
