// Command engine drives pkg/bench and pkg/triton alone against a Triton that
// can be reached directly, so that their cost can be measured beside other load
// generators: a process of its own, with nothing of the plugin in it. It prints
// what happened as JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// outcome is what is printed. Times are in microseconds.
type outcome struct {
	Completed, Failed, Unsent uint64
	RequestsPerSecond         float64
	ResponseUS, ServiceUS     quantiles
	SendLagUS                 quantiles
}

type quantiles struct{ P50, P90, P99, P999, Max float64 }

func main() {
	var load bench.Load
	address := flag.String("address", "", "HOST:PORT of the HTTP endpoint")
	rpc := flag.String("grpc", "", "HOST:PORT of the gRPC endpoint; the requests then go there")
	perConnection := flag.Int("per-connection", 8, "workers that share a gRPC connection")
	flag.IntVar(&load.Concurrency, "concurrency", 0, "requests in flight, closed loop")
	flag.Float64Var(&load.RatePerSecond, "rate", 0, "requests per second, open loop")
	flag.IntVar(&load.MaxInFlight, "max-in-flight", 64, "most requests in flight, open loop")
	pacing := flag.String("pacing", string(bench.Precise), "precise, coalesced or spin")
	flag.Uint64Var(&load.Requests, "requests", 0, "number of requests")
	flag.DurationVar(&load.Duration, "duration", 0, "how long to load")
	flag.Parse()
	load.Timeout = 10 * time.Second
	load.Pacing = bench.Pacing(*pacing)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *address, *rpc, *perConnection, load)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, rpc string, perConnection int, load bench.Load) error {
	spec, err := request(ctx, address)
	if err != nil {
		return err
	}
	factory := func(int) (bench.Requester, error) {
		s, err := triton.NewHTTPSender(dialTo(address), spec, triton.HTTPOptions{Binary: true})
		return requester{s}, err
	}
	if rpc != "" {
		var connections []*triton.GRPCConnection
		for range (max(load.Concurrency, load.MaxInFlight) + perConnection - 1) / perConnection {
			cc, err := triton.NewGRPCConnection(dialTo(rpc), triton.GRPCAddress{})
			if err != nil {
				return err
			}
			defer cc.Close()
			connections = append(connections, cc)
		}
		factory = func(worker int) (bench.Requester, error) {
			s, err := triton.NewGRPCSender(connections[worker/perConnection], spec, triton.GRPCOptions{})
			return requester{s}, err
		}
	}
	if load.Open() {
		// As the plugin does: the two that wait for due times hold a processor each.
		runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))
	}
	runner := bench.NewRunner(factory)
	defer runner.Close()
	r, err := runner.Run(ctx, load, nil)
	if err != nil {
		return err
	}
	for _, e := range r.Errors {
		fmt.Fprintf(os.Stderr, "engine: %d × %s: %s\n", e.Count, e.Class, e.First)
	}
	return json.NewEncoder(os.Stdout).Encode(outcome{
		Completed: r.Completed, Failed: r.Failed, Unsent: r.Unsent, RequestsPerSecond: r.RequestRate(),
		ResponseUS: quantilesOf(r.Response), ServiceUS: quantilesOf(r.Service), SendLagUS: quantilesOf(r.SendLag),
	})
}

func quantilesOf(l bench.Latency) quantiles {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return quantiles{us(l.Quantile(0.5)), us(l.Quantile(0.9)), us(l.Quantile(0.99)), us(l.Quantile(0.999)), us(l.Max())}
}

// request is built from the server's metadata, as the plugin does.
func request(ctx context.Context, address string) (*triton.RequestSpec, error) {
	c := triton.NewClient(http.DefaultClient, "http://"+address)
	meta, err := c.ModelMetadata(ctx, "simple", "")
	if err != nil {
		return nil, err
	}
	config, err := c.ModelConfig(ctx, "simple", "")
	if err != nil {
		return nil, err
	}
	return triton.BuildRequest(meta, config, triton.RequestOptions{Seed: 1})
}

func dialTo(address string) triton.DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

// requester lets the load engine drive a sender.
type requester struct{ triton.Sender }

func (r requester) Do(ctx context.Context, seq uint64) (int, error) {
	reply, err := r.Send(ctx, seq)
	return reply.Inferences, err
}
