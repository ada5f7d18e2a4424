package plugin

import (
	"cmp"
	"fmt"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// print writes the result in the form that -o asks for.
func (o *BenchOptions) print(r *report.Bench) error {
	switch o.Output {
	case "json":
		return report.JSON(o.Out, r)
	case "yaml":
		return report.YAML(o.Out, r)
	case "perf-analyzer-csv":
		return report.PerfAnalyzerCSV(o.Out, r)
	default:
		return report.Text(o.Out, lipgloss.NewRenderer(o.Out), r)
	}
}

// headline is the test in one line, for the annotation.
func (t *loadTest) headline() string {
	l := t.options.load
	text := fmt.Sprintf("model %s, %s, batch %d, ", t.metadata.Name, t.options.Protocol, t.spec.BatchSize())
	if l.Concurrency > 0 {
		text += fmt.Sprintf("%d in flight", l.Concurrency)
	} else {
		text += report.Significant(l.RatePerSecond) + " req/s " + string(l.Arrival)
	}
	return text
}

func (t *loadTest) tags(r *report.Bench) []string {
	tags := []string{"kubectl-triton", "loadtest", "model:" + t.metadata.Name}
	if r.Target.Namespace != "" {
		tags = append(tags, "namespace:"+r.Target.Namespace)
	}
	return append(tags, t.options.Tags...)
}

// describe is the report as far as it is known before the load.
func (t *loadTest) describe() *report.Bench {
	o := t.options
	r := &report.Bench{
		Schema:      report.BenchSchema,
		ToolVersion: Version(),
		Target: report.Target{
			Model: t.metadata.Name, ModelVersion: t.version, Platform: t.metadata.Platform, TritonVersion: t.server.Version,
		},
		Request: t.describeRequest(),
		Load: report.Load{
			Mode: "closed", Concurrency: o.load.Concurrency,
			DurationSeconds: o.load.Duration.Seconds(), Requests: o.load.Requests,
			WarmupSeconds: o.Warmup.Seconds(), WarmupRequests: o.WarmupRequests, TimeoutSeconds: o.Timeout.Seconds(),
		},
	}
	if o.load.RatePerSecond > 0 {
		r.Load.Mode, r.Load.Arrival = "open", string(o.load.Arrival)
		r.Load.Pacing = string(o.load.Pacing)
		r.Load.IntervalsFile = o.Intervals
		r.Load.RequestRatePerSecond, r.Load.MaxInFlight = o.load.RatePerSecond, o.load.MaxInFlight
	}
	t.route.describe(r)
	return r
}

// include adds what the client measured.
func (t *loadTest) include(r *report.Bench, result *bench.Result, begin, end time.Time) {
	r.StartTime, r.EndTime, r.Interrupted = begin.UTC(), end.UTC(), result.Interrupted
	r.Client = describeClient(result)
	if r.Tunnel != nil && r.Tunnel.CeilingPerSecond > 0 {
		r.Tunnel.CeilingUsedRatio = r.Client.RequestRatePerSecond / r.Tunnel.CeilingPerSecond
	}
}

func (t *loadTest) describeRequest() report.Request {
	r := report.Request{
		Protocol: "HTTP", Encoding: t.options.Encoding, BatchSize: t.spec.BatchSize(), SizeBytes: t.spec.BytesPerRequest(),
		Data: t.options.InputData, Seed: t.options.Seed, Assumed: t.spec.Notes(),
		Parameters: t.options.request.Parameters, Validated: t.options.CheckAnswers,
	}
	if t.spec.Sequential() && t.options.request.Data != triton.DataFile {
		r.SequenceLength, r.SequenceLengthVariationRatio = cmp.Or(t.options.SequenceLength, triton.DefaultSequenceLength), t.options.request.SequenceLengthVariation
	}
	switch {
	case t.options.Protocol == "grpc":
		r.Protocol, r.Encoding = "gRPC", "protobuf"
		if t.spec.Decoupled() || t.options.Streaming {
			r.Protocol = "gRPC stream"
		}
	case t.options.Endpoint != endpointInfer:
		r.Endpoint, r.Encoding = t.options.Endpoint, "json"
	}
	for _, x := range t.spec.Tensors() {
		r.Inputs = append(r.Inputs, report.Tensor{Name: x.Name, Datatype: string(x.Datatype), Shape: x.Shape})
	}
	return r
}

func describeClient(r *bench.Result) report.Client {
	c := report.Client{
		ElapsedSeconds: r.Elapsed.Seconds(),
		Sent:           r.Issued, Succeeded: r.Completed, Failed: r.Failed, Canceled: r.Canceled, Unsent: r.Unsent,
		RequestRatePerSecond: r.RequestRate(), InferenceRatePerSecond: r.InferenceRate(), Inferences: r.Inferences,
		MaxInFlightReached: r.MaxInFlightReached,
		Response:           describeLatency(r.Response),
		Service:            describeLatency(r.Service),
		FailedResponse:     describeLatency(r.FailedResponse),
	}
	c.Stream = describeStream(r)
	if r.Load.RatePerSecond > 0 {
		c.SendLag = describeLatency(r.SendLag)
	}
	if finished := r.Completed + r.Failed; finished > 0 {
		c.ErrorRatio = float64(r.Failed) / float64(finished)
	}
	for _, e := range r.Errors {
		c.Errors = append(c.Errors, report.Error{Class: e.Class, Count: e.Count, First: e.First, FirstAtSeconds: e.FirstAt.Seconds()})
	}
	for _, s := range r.Series {
		c.Series = append(c.Series, report.Interval{
			StartSeconds: s.Start.Seconds(), WidthSeconds: s.Width.Seconds(), Succeeded: s.Completed, Failed: s.Failed,
			P50US: microseconds(s.P50), P99US: microseconds(s.P99), MaxUS: microseconds(s.Max),
		})
	}
	if u := r.CPU; u != nil {
		c.CPU = &report.CPU{UsedSeconds: u.Used.Seconds(), WaitedSeconds: u.Waited.Seconds(), DelayMeanUS: microseconds(u.DelayMean)}
		if seconds := r.Elapsed.Seconds(); seconds > 0 && r.Issued > 0 {
			c.CPU.CoresUsed, c.CPU.PerRequestUS = u.Used.Seconds()/seconds, microseconds(u.Used)/float64(r.Issued)
		}
	}
	c.Stability = describeStability(r.Stability)
	return c
}

func describeStability(s *bench.Stability) *report.Stability {
	if s == nil {
		return nil
	}
	out := &report.Stability{
		Steady: s.Steady, ComparedWindows: s.Compared, RateLimitRatio: s.RateLimit, ResponseLimitRatio: s.ResponseLimit,
		RateSpreadRatio: s.RateSpread, ResponseSpreadRatio: s.ResponseSpread, SteadyFromSeconds: s.SteadyFrom.Seconds(),
	}
	for _, w := range s.Windows {
		out.Windows = append(out.Windows, report.Window{
			StartSeconds: w.Start.Seconds(), WidthSeconds: w.Width.Seconds(),
			RequestRatePerSecond: w.RatePerSecond, ResponseMeanUS: microseconds(w.Response),
		})
	}
	return out
}

func describeStream(r *bench.Result) *report.Stream {
	s := r.Stream
	if s == nil {
		return nil
	}
	out := &report.Stream{
		Responses: s.Responses, ResponsesPerRequest: float64(s.Responses) / float64(s.Requests),
		MinResponses: s.MinResponses, MaxResponses: s.MaxResponses, Tokens: s.Tokens,
		FirstResponse: describeLatency(s.FirstResponse), Gap: describeLatency(s.Gap),
	}
	if seconds := r.Elapsed.Seconds(); seconds > 0 {
		out.ResponseRatePerSecond, out.TokenRatePerSecond = float64(s.Responses)/seconds, float64(s.Tokens)/seconds
	}
	return out
}

func describeLatency(l bench.Latency) *report.Latency {
	if l.Count() == 0 {
		return nil
	}
	q := func(x float64) float64 { return microseconds(l.Quantile(x)) }
	return &report.Latency{
		Count: l.Count(), MeanUS: microseconds(l.Mean()), MinUS: microseconds(l.Min()),
		P50US: q(0.5), P90US: q(0.9), P95US: q(0.95), P99US: q(0.99), P999US: q(0.999), MaxUS: microseconds(l.Max()),
	}
}

func (t *loadTest) reportGPU(r *report.Bench, window metrics.GPUWindow, prometheusErr error) {
	o := t.options
	if prometheusErr != nil && !o.NoPrometheus && (o.URL == "" || o.PrometheusURL != "") {
		t.miss("GPU figures from Prometheus", prometheusErr, t.route.missing(missingPrometheus))
	}
	if len(window.GPUs) == 0 {
		t.miss("GPU figures", fmt.Errorf("neither a DCGM exporter nor Triton's own metrics show a GPU of %s", t.route), t.route.missing(missingGPUs))
	}
	// Where nobody said that there are metrics, their absence is said once.
	if unasked := o.URL != "" && o.MetricsURL == "" && o.PrometheusURL == ""; !unasked || len(window.GPUs) > 0 {
		r.GPU = gpuReport(window, r.Client.Inferences)
	}
}

func (t *loadTest) judge(r *report.Bench, result *bench.Result) {
	facts := bench.Facts{Result: result, RequestBytes: t.spec.BytesPerRequest(), Direct: t.options.URL != ""}
	if r.Tunnel != nil {
		facts.Tunnel = &bench.TunnelFacts{RoundTrip: duration(r.Tunnel.RoundTripP50US), CeilingPerSecond: r.Tunnel.CeilingPerSecond}
	}
	if s := r.Server; s != nil && s.Requests > 0 {
		facts.Server = &bench.ServerFacts{
			Queue: duration(s.QueueUS), ComputeInput: duration(s.ComputeInputUS), ComputeInfer: duration(s.ComputeInferUS), ComputeOutput: duration(s.ComputeOutputUS),
			AverageBatch: s.AverageBatch, MaxBatchSize: t.config.MaxBatchSize, BatchSize: t.spec.BatchSize(),
			DynamicBatching: t.config.DynamicBatching != nil, GPUUtilization: utilization(r.GPU), Partial: !s.Complete,
		}
	}
	v := bench.Judge(facts)
	r.Verdict = report.Verdict{Kind: string(v.Kind), Summary: v.Summary, Evidence: v.Evidence, Next: v.Next}
}

// utilization is the mean over the GPUs with enough samples.
func utilization(g *report.GPU) *float64 {
	if g == nil {
		return nil
	}
	sum, n := 0.0, 0
	for _, d := range g.Devices {
		if d.UtilizationAverage != nil {
			sum += *d.UtilizationAverage
			n++
		}
	}
	if n == 0 {
		return nil
	}
	mean := sum / float64(n)
	return &mean
}

func duration(us float64) time.Duration { return time.Duration(us * float64(time.Microsecond)) }
