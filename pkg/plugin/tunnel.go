package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	roundTripRequests  = 50
	roundTripLimit     = 2 * time.Second
	ceilingDuration    = time.Second
	ceilingConcurrency = 16
)

// measureTunnel finds the round trip and the ceiling of the path with empty
// requests, before any load.
func measureTunnel(ctx context.Context, dial dialFunc) (*report.Tunnel, error) {
	factory := func(int) (bench.Requester, error) { return newLiveness(dial), nil }
	single := bench.NewRunner(factory)
	defer single.Close()
	alone, err := single.Run(ctx, bench.Load{Concurrency: 1, Requests: roundTripRequests, Duration: roundTripLimit, Timeout: roundTripLimit}, nil)
	if err != nil {
		return nil, err
	}
	if alone.Completed == 0 {
		return nil, fmt.Errorf("no liveness request was answered%s", firstError(alone))
	}
	many := bench.NewRunner(factory)
	defer many.Close()
	full, err := many.Run(ctx, bench.Load{Concurrency: ceilingConcurrency, Duration: ceilingDuration, Timeout: roundTripLimit}, nil)
	if err != nil {
		return nil, err
	}
	if full.Completed == 0 {
		return nil, fmt.Errorf("no liveness request was answered with %d in flight%s", ceilingConcurrency, firstError(full))
	}
	return &report.Tunnel{
		RoundTripP50US:     microseconds(alone.Service.Quantile(0.5)),
		RoundTripP99US:     microseconds(alone.Service.Quantile(0.99)),
		RoundTripSamples:   alone.Completed,
		CeilingPerSecond:   full.RequestRate(),
		CeilingConcurrency: ceilingConcurrency,
	}, nil
}

func firstError(r *bench.Result) string {
	if len(r.Errors) == 0 {
		return ""
	}
	return ": " + r.Errors[0].First
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
