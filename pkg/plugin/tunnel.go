package plugin

import (
	"context"
	"fmt"
	"io"
	"net/http"
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

// liveness is the cheapest request that Triton answers: what it takes is the
// path's cost.
type liveness struct {
	client *http.Client
	url    string
}

func newLiveness(dial dialFunc) (bench.Requester, error) {
	return &liveness{client: httpClient(dial), url: tritonURL + "/v2/health/live"}, nil
}

func (l *liveness) Do(ctx context.Context, _ uint64) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the liveness endpoint answered %s", resp.Status)
	}
	return 1, nil
}

func (l *liveness) Close() error {
	l.client.CloseIdleConnections()
	return nil
}

// measureTunnel finds the round trip and the ceiling of the path with empty
// requests, before any load.
func measureTunnel(ctx context.Context, dial dialFunc) (*report.Tunnel, error) {
	factory := func(int) (bench.Requester, error) { return newLiveness(dial) }
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
