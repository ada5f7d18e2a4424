package plugin

import (
	"context"
	"fmt"
	"sync"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// workersPerGRPCConnection bounds the streams that share one HTTP/2 connection.
const workersPerGRPCConnection = 8

// requester lets the load engine drive a Triton sender.
type requester struct{ triton.Sender }

func (r requester) Do(ctx context.Context, seq uint64) (int, error) {
	reply, err := r.Send(ctx, seq)
	return reply.Inferences, err
}

// streamRequester is a requester whose requests bring several responses.
type streamRequester struct{ triton.StreamSender }

func (r streamRequester) Do(ctx context.Context, seq uint64) (int, error) {
	return r.DoStream(ctx, seq, func(int) {})
}

func (r streamRequester) DoStream(ctx context.Context, seq uint64, arrived func(tokens int)) (int, error) {
	reply, err := r.SendStream(ctx, seq, arrived)
	return reply.Inferences, err
}

// loadPath makes the connections of the load. Safe for concurrent use.
type loadPath struct {
	way     way
	grpc    bool
	spec    *triton.RequestSpec
	options *BenchOptions
	agent   string // of the requests

	mu    sync.Mutex
	conns []*triton.GRPCConnection
}

func (p *loadPath) newRequester(worker int) (bench.Requester, error) {
	switch {
	case p.options.Endpoint != endpointInfer:
		stream := p.options.Endpoint == endpointGenerateStream
		s, err := triton.NewGenerateSender(triton.DialFunc(p.way.dial), p.spec, triton.GenerateOptions{Stream: stream, Host: p.way.host, UserAgent: p.agent})
		if err != nil {
			return nil, err
		}
		if stream {
			return streamRequester{s}, nil
		}
		return requester{s}, nil
	case !p.grpc:
		s, err := triton.NewHTTPSender(triton.DialFunc(p.way.dial), p.spec, triton.HTTPOptions{Binary: p.options.Encoding == "binary", Host: p.way.host, UserAgent: p.agent})
		if err != nil {
			return nil, err
		}
		return requester{s}, nil
	}
	cc, err := p.grpcConn(worker / workersPerGRPCConnection)
	if err != nil {
		return nil, err
	}
	s, err := triton.NewGRPCSender(cc, p.spec, triton.GRPCOptions{Stream: p.options.Streaming})
	if err != nil {
		return nil, err
	}
	if p.spec.Decoupled() || p.options.Streaming {
		return streamRequester{s}, nil
	}
	return requester{s}, nil
}

func (p *loadPath) grpcConn(i int) (*triton.GRPCConnection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) <= i {
		cc, err := triton.NewGRPCConnection(triton.DialFunc(p.way.dial), p.way.grpc)
		if err != nil {
			return nil, fmt.Errorf("could not set up a gRPC connection: %w", err)
		}
		p.conns = append(p.conns, cc)
	}
	return p.conns[i], nil
}

func (p *loadPath) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cc := range p.conns {
		cc.Close()
	}
	p.conns = nil
}
