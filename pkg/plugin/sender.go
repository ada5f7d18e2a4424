package plugin

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
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

// loadPath makes the connections of the load and remembers which pods they led
// to, since a pod may be replaced during the test. Safe for concurrent use.
type loadPath struct {
	endpoint *portforward.Endpoint
	spec     *triton.RequestSpec
	options  *BenchOptions
	grpc     dialFunc

	mu    sync.Mutex
	conns []*grpc.ClientConn
}

func (p *loadPath) newRequester(worker int) (bench.Requester, error) {
	if p.grpc == nil {
		s, err := triton.NewHTTPSender(p.endpoint.DialContext, p.spec, triton.HTTPOptions{Binary: p.options.Encoding == "binary", Host: "triton", Timeout: p.options.Timeout})
		if err != nil {
			return nil, err
		}
		return requester{s}, nil
	}
	cc, err := p.grpcConn(worker / workersPerGRPCConnection)
	if err != nil {
		return nil, err
	}
	s, err := triton.NewGRPCSender(cc, p.spec)
	if err != nil {
		return nil, err
	}
	return requester{s}, nil
}

func (p *loadPath) grpcConn(i int) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) <= i {
		cc, err := triton.DialGRPC(p.grpc)
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

// loadedPods are the pods that received connections of the load.
func (p *loadPath) loadedPods(endpoints ...*portforward.Endpoint) map[string]bool {
	loaded := map[string]bool{}
	for _, e := range endpoints {
		for _, ref := range e.Used() {
			loaded[ref.UID] = true
		}
	}
	return loaded
}
