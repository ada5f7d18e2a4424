package plugin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// BenchOptions are the flags of "kubectl triton bench".
type BenchOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	Model        string
	ModelVersion string
	URL          string
	MetricsURL   string
	Service      string
	Port         string
	Protocol     string
	Endpoint     string
	Streaming    bool
	Encoding     string
	Transport    string

	Concurrency int
	Rate        float64
	Arrival     string
	Pacing      string
	Intervals   string
	MaxInFlight int
	Duration    time.Duration
	Requests    uint64
	Warmup      time.Duration

	WarmupRequests uint64

	Timeout time.Duration

	BatchSize    int
	Shapes       []string
	InputData    string
	CheckAnswers bool
	StringLength int
	Seed         uint64
	Parameters   []string

	SequenceLength          int
	SequenceLengthVariation string

	StackNamespace   string
	PrometheusURL    string
	GrafanaURL       string
	GrafanaTokenFile string
	NoGrafana        bool
	NoPrometheus     bool
	Tags             []string

	MaxErrorRate string
	Output       string

	namespace string
	address   *address // of URL, nil without one
	// protocolChosen tells that the user named one, which is not replaced then.
	protocolChosen bool
	load           bench.Load
	request        triton.RequestOptions
	maxErrorRate   float64
	transport      portforward.Transport
}

// NewBenchOptions returns the defaults.
func NewBenchOptions(streams genericiooptions.IOStreams) *BenchOptions {
	return &BenchOptions{
		IOStreams:    streams,
		Config:       genericclioptions.NewConfigFlags(true),
		Protocol:     "http",
		Endpoint:     endpointInfer,
		Encoding:     "binary",
		Transport:    string(portforward.TransportSPDY),
		Concurrency:  8,
		Arrival:      string(bench.Constant),
		Pacing:       string(bench.Precise),
		MaxInFlight:  1024,
		Duration:     30 * time.Second,
		Warmup:       2 * time.Second,
		Timeout:      30 * time.Second,
		InputData:    "random",
		StringLength: 16,
		Seed:         1,

		SequenceLengthVariation: "0%",

		StackNamespace: defaultStackNamespace,
		MaxErrorRate:   "1%",
		Output:         "text",
	}
}

func newBenchCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewBenchOptions(streams)
	cmd := &cobra.Command{
		Use:   "bench [MODEL]",
		Short: "Load a model of a Triton and say what limits it",
		Long: `Load a model of a Triton and say what limits it.

The requests go through the API server to one ready pod behind the Service,
svc/triton-infer in namespace triton unless the flags say otherwise; with --url
they go straight to that address. They are built from the model's own metadata
and configuration. In a closed loop (--concurrency) each worker sends its next
request when the last is answered; in an open loop (--rate) requests start on a
fixed schedule and their latency counts from that schedule, so that a stalled
server can't hide.

Decoupled models are loaded over gRPC streams, and language models also by
--endpoint generate-stream: then the report has the time to the first response,
the gaps between responses, and tokens per second.

The test is marked in Grafana and the GPU figures are read from Prometheus when
the cluster has them. Without them the test runs all the same, samples the
pods' own metrics, and says what is missing.

With --url no cluster and no kubeconfig is needed. Grafana and Prometheus are
used if --grafana-url and --prometheus-url name them; Triton's own metrics are
read from --metrics-url, else from port 8002 of the same host if it answers.
kubectl's TLS flags (--certificate-authority, --tls-server-name,
--client-certificate, --client-key, --insecure-skip-tls-verify) are about the
server of an https:// or grpcs:// address then.

Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 requests failed above
--max-error-rate, 130 interrupted.`,
		Example: `  # 8 requests in flight for 30 seconds; the only model need not be named
  kubectl triton bench resnet50

  # 200 requests per second at Poisson intervals for 2 minutes
  kubectl triton bench resnet50 --rate 200 --arrival poisson --duration 2m

  # exactly 1000 requests of batch 4, variable dimensions set, result as JSON
  kubectl triton bench bert --requests 1000 --batch-size 4 -o json \
    --shape input_ids:128 --shape attention_mask:128

  # a language model: time to the first token, gaps, tokens per second
  kubectl triton bench llama --endpoint generate-stream

  # from a pod in the cluster, or through a load balancer: without the tunnel
  kubectl triton bench resnet50 --url http://triton-infer.triton:8000
  kubectl triton bench resnet50 --url grpcs://triton.example.com:443

  # a stateful model, in sequences of 10 ± 2 requests
  kubectl triton bench tally --sequence-length 10 --sequence-length-variation 20%`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Complete(cmd, args); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *BenchOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.Model, "model", "m", o.Model, "model to load (the same as the argument); may be left out when there is only one")
	f.StringVar(&o.ModelVersion, "model-version", o.ModelVersion, "version of the model; Triton's choice by default")
	f.StringVar(&o.URL, "url", o.URL, "address of a Triton to load without a cluster: http://, https://, grpc:// or grpcs:// HOST:PORT")
	f.StringVar(&o.MetricsURL, "metrics-url", o.MetricsURL, "address of Triton's metrics page, with --url (default port 8002 of the same host)")
	f.StringVar(&o.Service, "service", o.Service, "Service of the Triton (default triton-infer, else the only one found)")
	f.StringVar(&o.Port, "port", o.Port, "HTTP port of the Service, by name or number (default the one named http or numbered 8000)")
	f.StringVar(&o.Protocol, "protocol", o.Protocol, "protocol of the requests: http or grpc")
	f.StringVar(&o.Endpoint, "endpoint", o.Endpoint, "endpoint of the requests: infer, generate or generate-stream (the last two over HTTP, for language models)")
	f.BoolVar(&o.Streaming, "streaming", o.Streaming, "send over a gRPC stream (decoupled models always are)")
	f.StringVar(&o.Encoding, "encoding", o.Encoding, "tensor encoding over HTTP: binary or json")
	f.StringVar(&o.Transport, "transport", o.Transport, "tunnel through the API server: spdy or websocket")

	f.IntVarP(&o.Concurrency, "concurrency", "c", o.Concurrency, "requests in flight, closed loop")
	f.Float64Var(&o.Rate, "rate", o.Rate, "requests per second, open loop (instead of --concurrency)")
	f.StringVar(&o.Arrival, "arrival", o.Arrival, "intervals of the open loop: constant or poisson")
	f.StringVar(&o.Pacing, "pacing", o.Pacing, "waiting of the open loop: precise, coalesced or spin")
	f.StringVar(&o.Intervals, "request-intervals", o.Intervals, "file with the times between requests in µs, one a line, played round and round; open loop (instead of --rate)")
	f.IntVar(&o.MaxInFlight, "max-in-flight", o.MaxInFlight, "most requests in flight, open loop")
	f.DurationVarP(&o.Duration, "duration", "d", o.Duration, "how long to load; with --requests, the longest")
	f.Uint64Var(&o.Requests, "requests", o.Requests, "stop after this many requests")
	f.DurationVar(&o.Warmup, "warmup", o.Warmup, "load before the measurement begins; 0 for none; with --warmup-requests, the longest")
	f.Uint64Var(&o.WarmupRequests, "warmup-requests", o.WarmupRequests, "warm up with this many requests (instead of --warmup's default)")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "longest wait for one answer")

	f.IntVarP(&o.BatchSize, "batch-size", "b", o.BatchSize, "batch size of each request (default 1 for a model that batches)")
	f.StringArrayVar(&o.Shapes, "shape", o.Shapes, "shape of an input without the batch dimension, as NAME:d,d,…; repeat for more inputs")
	f.StringVar(&o.InputData, "input-data", o.InputData, "random, zero, or a JSON file in perf_analyzer's format")
	f.BoolVar(&o.CheckAnswers, "validate", o.CheckAnswers, "compare the answers with validation_data of the --input-data file; a different one is an error")
	f.IntVar(&o.StringLength, "string-length", o.StringLength, "bytes of a random BYTES element")
	f.StringArrayVar(&o.Parameters, "request-parameter", o.Parameters, "parameter of each request, as NAME:VALUE:TYPE with the type bool, int, double or string; repeat for more")
	f.IntVar(&o.SequenceLength, "sequence-length", o.SequenceLength, "mean requests of a sequence, for a stateful model (default 20, or the streams of --input-data)")
	f.StringVar(&o.SequenceLengthVariation, "sequence-length-variation", o.SequenceLengthVariation, "how much a sequence's length differs from the mean at most, as 20% or 0.2")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the random data and of poisson arrivals")

	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Prometheus and Grafana")
	f.StringVar(&o.PrometheusURL, "prometheus-url", o.PrometheusURL, "address of a Prometheus outside the cluster, instead of the one found in it")
	f.StringVar(&o.GrafanaURL, "grafana-url", o.GrafanaURL, "address of a Grafana outside the cluster, instead of the one found in it")
	f.StringVar(&o.GrafanaTokenFile, "grafana-token-file", o.GrafanaTokenFile, "file with a Grafana service account token, instead of the admin Secret")
	f.BoolVar(&o.NoGrafana, "no-grafana", o.NoGrafana, "don't mark the test in Grafana")
	f.BoolVar(&o.NoPrometheus, "no-prometheus", o.NoPrometheus, "don't ask Prometheus; sample the pods' own metrics")
	f.StringSliceVar(&o.Tags, "tag", o.Tags, "further tags of the Grafana annotation")

	f.StringVar(&o.MaxErrorRate, "max-error-rate", o.MaxErrorRate, "share of failed requests above which the exit code is 3, as 1% or 0.01")
	f.StringVarP(&o.Output, "output", "o", o.Output, "text, json, yaml or perf-analyzer-csv")
	o.Config.AddFlags(f)
}

// Complete fills in what the arguments and flags leave open.
func (o *BenchOptions) Complete(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		if o.Model != "" && o.Model != args[0] {
			return usageErrorf("two models are named, %s and %s; name one", args[0], o.Model)
		}
		o.Model = args[0]
	}
	o.namespace = *o.Config.Namespace
	o.protocolChosen = cmd.Flags().Changed("protocol")
	if err := o.completeURL(cmd); err != nil {
		return err
	}
	if o.Streaming && !o.protocolChosen {
		o.Protocol = "grpc"
	}
	if cmd.Flags().Changed("rate") {
		if cmd.Flags().Changed("concurrency") {
			return usageErrorf("--rate (open loop) and --concurrency (closed loop) exclude each other; choose one")
		}
		if o.Rate <= 0 || math.IsInf(o.Rate, 0) || math.IsNaN(o.Rate) {
			return usageErrorf("--rate is %v requests per second; it must be above 0", o.Rate)
		}
	}
	if o.Intervals != "" && (cmd.Flags().Changed("rate") || cmd.Flags().Changed("concurrency") || cmd.Flags().Changed("arrival")) {
		return usageErrorf("--request-intervals is an arrival of its own; leave --rate, --concurrency and --arrival out")
	}
	o.load = bench.Load{
		Duration: o.Duration,
		Requests: o.Requests,
		Timeout:  o.Timeout,
		Seed:     o.Seed,
	}
	switch {
	case o.Intervals != "":
		intervals, err := readIntervals(o.Intervals)
		if err != nil {
			return err
		}
		o.load.Arrival, o.load.Intervals = bench.Intervals, intervals
		o.load.RatePerSecond, o.load.MaxInFlight = bench.IntervalRate(intervals), o.MaxInFlight
	case o.Rate > 0:
		o.load.RatePerSecond, o.load.Arrival, o.load.MaxInFlight = o.Rate, bench.Arrival(o.Arrival), o.MaxInFlight
	default:
		o.load.Concurrency = o.Concurrency
	}
	if o.load.RatePerSecond > 0 {
		o.load.Pacing = bench.Pacing(o.Pacing)
	}
	if o.Requests == 0 && cmd.Flags().Changed("requests") {
		return usageErrorf("--requests must be above 0; leave it out to load for --duration")
	}
	if o.WarmupRequests == 0 && cmd.Flags().Changed("warmup-requests") {
		return usageErrorf("--warmup-requests must be above 0; --warmup 0 is for none")
	}
	if o.Requests > 0 && !cmd.Flags().Changed("duration") {
		o.load.Duration = 0
	}
	if o.WarmupRequests > 0 && !cmd.Flags().Changed("warmup") {
		o.Warmup = 0
	}
	return nil
}

// Validate refuses what can't be meant.
func (o *BenchOptions) Validate() error {
	for _, choice := range []struct {
		flag, value string
		allowed     []string
	}{
		{"--protocol", o.Protocol, []string{"http", "grpc"}},
		{"--endpoint", o.Endpoint, []string{endpointInfer, endpointGenerate, endpointGenerateStream}},
		{"--encoding", o.Encoding, []string{"binary", "json"}},
		{"--transport", o.Transport, []string{string(portforward.TransportSPDY), string(portforward.TransportWebSocket)}},
		{"--arrival", o.Arrival, []string{string(bench.Constant), string(bench.Poisson)}},
		{"--pacing", o.Pacing, []string{string(bench.Precise), string(bench.Coalesced), string(bench.Spin)}},
		{"--output", o.Output, []string{"text", "json", "yaml", "perf-analyzer-csv"}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return usageErrorf("%s is %q; it can be %s", choice.flag, choice.value, strings.Join(choice.allowed, " or "))
		}
	}
	o.transport = portforward.Transport(o.Transport)
	for _, bound := range []struct {
		flag string
		bad  bool
		want string
	}{
		{"--concurrency", o.Rate == 0 && (o.Concurrency < 1 || o.Concurrency > 10_000), "between 1 and 10000"},
		{"--max-in-flight", o.MaxInFlight < 1 || o.MaxInFlight > 100_000, "between 1 and 100000"},
		{"--duration", o.Duration <= 0, "above 0"},
		{"--warmup", o.Warmup < 0, "0 or above"},
		{"--timeout", o.Timeout <= 0, "above 0"},
		{"--batch-size", o.BatchSize < 0, "1 or above"},
		{"--string-length", o.StringLength < 0, "0 or above"},
	} {
		if bound.bad {
			return usageErrorf("%s must be %s", bound.flag, bound.want)
		}
	}
	rate, err := parseRatio(o.MaxErrorRate)
	if err != nil {
		return usageErrorf("--max-error-rate %w", err)
	}
	o.maxErrorRate = rate
	return o.validateRequest()
}

// parseRatio reads 0.01 or 1%.
func parseRatio(text string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || math.IsNaN(v) || v < 0 || v > 1 {
		return 0, fmt.Errorf("is %q; it must be a share such as 1%% or 0.01", text)
	}
	return v, nil
}

func (o *BenchOptions) newRoute() (route, error) {
	if o.URL != "" {
		return newDirectRoute(o)
	}
	return newClusterRoute(o)
}

// Run performs the test and prints its result.
func (o *BenchOptions) Run(ctx context.Context) error {
	way, err := o.newRoute()
	if err != nil {
		return err
	}
	defer way.close()
	if o.load.Open() {
		// The two that wait for due times hold a processor each; the answers need another.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0))))
	}
	test := &loadTest{options: o, route: way, notes: newNotes(o.IOStreams)}
	result, err := test.run(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted before the load began; nothing was measured")}
		}
		return err
	}
	if err := o.print(result); err != nil {
		return err
	}
	switch {
	case result.Interrupted:
		return &ExitError{Code: ExitInterrupted}
	case result.Client.Succeeded == 0 || result.Client.ErrorRatio > o.maxErrorRate:
		return &ExitError{Code: ExitErrorRate, Err: o.tooManyFailed(&result.Client)}
	}
	return nil
}

// tooManyFailed says what exit code 3 is for, to whoever keeps only the errors.
func (o *BenchOptions) tooManyFailed(c *report.Client) error {
	if c.Succeeded == 0 && c.ErrorRatio <= o.maxErrorRate {
		return errors.New("no request succeeded; the report says what became of them")
	}
	return fmt.Errorf("%s of %s requests failed, more than --max-error-rate %s allows; the report says how",
		report.Percent(c.ErrorRatio), report.Count(c.Succeeded+c.Failed), o.MaxErrorRate)
}
