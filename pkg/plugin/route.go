package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// route is the way of a test to its Triton, and what else is to be had on that
// side. find comes first.
type route interface {
	// String names the server in a sentence, such as "pod triton-0".
	fmt.Stringer
	// find resolves what the flags say and makes the control calls possible.
	find(ctx context.Context) (control, error)
	// explain says why the server's metadata could not be read, and what to do.
	explain(err error) error
	// found says what find has chosen, and why.
	found() string
	// logs is where the server itself says more.
	logs() string
	// requireGRPC refuses a test over gRPC where no port for it is known.
	requireGRPC() error
	// way is that of the load's connections.
	way(protocol string) way
	// measure finds what the path itself costs, before the load.
	measure(ctx context.Context, r *report.Bench) error
	// mark finds the Grafana to mark the test in; nil where none is asked for.
	mark(ctx context.Context) (*marker, error)
	watchGPUs(ctx context.Context) *gpuWatch
	// sources are the servers whose counters tell of the load, as of now.
	sources(ctx context.Context) ([]statisticsSource, error)
	// loaded tells which of the sources, by UID, received the load.
	loaded() map[string]bool
	// describe fills in target and path, as of now.
	describe(r *report.Bench)
	// missing says what to do about a part of the report that could not be had.
	missing(part missingPart) string
	close()
}

// missingPart is a part of the report that comes from elsewhere than Triton.
type missingPart int

const (
	missingGrafana missingPart = iota
	missingPrometheus
	missingGPUs
)

// way is how a connection of the load is made. host is what the server is called
// in requests, "" where it doesn't matter.
type way struct {
	dial dialFunc
	host string
	grpc triton.GRPCAddress
}

// control are the calls by which a test learns of the server and its models.
type control interface {
	ServerLive(ctx context.Context) error
	ServerMetadata(ctx context.Context) (triton.ServerMetadata, error)
	ModelReady(ctx context.Context, name, version string) error
	ModelMetadata(ctx context.Context, name, version string) (triton.ModelMetadata, error)
	ModelConfig(ctx context.Context, name, version string) (triton.ModelConfig, error)
	Statistics(ctx context.Context, name, version string) ([]triton.ModelStatistics, error)
	RepositoryIndex(ctx context.Context) ([]triton.ModelIndex, error)
}

// answered tells whether an error is the server's own answer, rather than one of
// the way there.
func answered(err error) bool {
	var answer *triton.Error
	return errors.As(err, &answer) && !slices.Contains([]string{
		triton.ClassConnect, triton.ClassConnectionLost, triton.ClassTimeout, triton.ClassCanceled, triton.ClassNotTriton, triton.ClassWrongAnswer,
	}, answer.Class)
}

// pinger asks whether the server is live, the cheapest question there is.
type pinger struct{ control }

func (p pinger) Do(ctx context.Context, _ uint64) (int, error) { return 1, p.ServerLive(ctx) }
func (p pinger) Close() error                                  { return nil }

// measureRoundTrip is that of the cheapest question, one after the other.
func measureRoundTrip(ctx context.Context, c control) (*bench.Result, error) {
	runner := bench.NewRunner(func(int) (bench.Requester, error) { return pinger{c}, nil })
	defer runner.Close()
	alone, err := runner.Run(ctx, bench.Load{Concurrency: 1, Requests: roundTripRequests, Duration: roundTripLimit, Timeout: roundTripLimit}, nil)
	if err == nil && alone.Completed == 0 {
		err = fmt.Errorf("no liveness request was answered%s", firstError(alone))
	}
	return alone, err
}
