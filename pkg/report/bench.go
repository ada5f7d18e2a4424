// Package report holds the result of a load test as plain data, with units in
// the field names, and prints it: one screen for a person, JSON or YAML for a
// program. All forms are made from the same Bench value.
package report

import "time"

// BenchSchema names the layout of Bench. The number rises when a field changes
// its meaning or disappears; new fields do not change it.
const BenchSchema = "kubectl-triton/bench/v1"

// Bench is everything one load test found out. Pointers and empty slices stand
// for "not known": the matching entry of Missing says why.
type Bench struct {
	Schema      string    `json:"schema"`
	ToolVersion string    `json:"tool_version"`
	StartTime   time.Time `json:"start_time"`
	EndTime     time.Time `json:"end_time"`
	Interrupted bool      `json:"interrupted"`

	Target  Target    `json:"target"`
	Path    Path      `json:"path"`
	Request Request   `json:"request"`
	Load    Load      `json:"load"`
	Tunnel  *Tunnel   `json:"tunnel,omitempty"`
	Verdict Verdict   `json:"verdict"`
	Client  Client    `json:"client"`
	Server  *Server   `json:"server,omitempty"`
	GPU     *GPU      `json:"gpu,omitempty"`
	Grafana *Grafana  `json:"grafana,omitempty"`
	Missing []Missing `json:"missing,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
}

// Target is the Triton that was tested: in a cluster, or at URL.
type Target struct {
	URL           string `json:"url,omitempty"`
	Context       string `json:"context,omitempty"`
	Namespace     string `json:"namespace,omitempty"`
	Service       string `json:"service,omitempty"`
	Model         string `json:"model"`
	ModelVersion  string `json:"model_version,omitempty"`
	Platform      string `json:"platform,omitempty"`
	TritonVersion string `json:"triton_version,omitempty"`
	Pods          []Pod  `json:"pods,omitempty"`
}

// Pod is one pod behind the tested Service. Loaded tells that it received the
// load, Ready that it could have.
type Pod struct {
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Node   string `json:"node,omitempty"`
	Ready  bool   `json:"ready"`
	Loaded bool   `json:"loaded"`
}

// The kinds of Path.
const (
	PathPortForward = "API server port-forward"
	PathDirect      = "direct"
)

// Path is the way the requests took. Pods are counted where it leads to pods; a
// direct one has the round trip that was measured before the load.
type Path struct {
	Kind           string  `json:"kind"`
	Transport      string  `json:"transport"`
	PodsLoaded     int     `json:"pods_loaded"`
	PodsReady      int     `json:"pods_ready"`
	RoundTripP50US float64 `json:"round_trip_p50_us,omitempty"`
	RoundTripP99US float64 `json:"round_trip_p99_us,omitempty"`
}

// Request is what each request carried.
type Request struct {
	Protocol  string   `json:"protocol"`
	Endpoint  string   `json:"endpoint,omitempty"` // generate or generate-stream
	Encoding  string   `json:"encoding"`
	BatchSize int      `json:"batch_size"`
	SizeBytes int      `json:"size_bytes"`
	Data      string   `json:"data"`
	Seed      uint64   `json:"seed"`
	Inputs    []Tensor `json:"inputs"`
	Assumed   []string `json:"assumed,omitempty"`
	// Parameters that the user gave each request.
	Parameters map[string]any `json:"parameters,omitempty"`
	// Validated tells that answers were compared with the input data file's
	// validation_data.
	Validated bool `json:"validated,omitempty"`
	// SequenceLength is the mean requests of a sequence, 0 where there are none
	// or the input data file has them.
	SequenceLength               int     `json:"sequence_length_mean,omitempty"`
	SequenceLengthVariationRatio float64 `json:"sequence_length_variation_ratio,omitempty"`
}

// Tensor is one input tensor; Shape includes the batch dimension.
type Tensor struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// Load is the offered load as configured. Mode is "closed" or "open".
type Load struct {
	Mode                 string  `json:"mode"`
	Concurrency          int     `json:"concurrency,omitempty"`
	RequestRatePerSecond float64 `json:"request_rate_per_second,omitempty"`
	Arrival              string  `json:"arrival,omitempty"`
	Pacing               string  `json:"pacing,omitempty"`
	IntervalsFile        string  `json:"intervals_file,omitempty"`
	MaxInFlight          int     `json:"max_in_flight,omitempty"`
	DurationSeconds      float64 `json:"duration_seconds,omitempty"`
	Requests             uint64  `json:"requests,omitempty"`
	WarmupSeconds        float64 `json:"warmup_seconds"`
	WarmupRequests       uint64  `json:"warmup_requests,omitempty"`
	TimeoutSeconds       float64 `json:"timeout_seconds"`
}

// Tunnel is the path's own cost, measured before the load with requests to the
// server's liveness endpoint.
type Tunnel struct {
	RoundTripP50US     float64 `json:"round_trip_p50_us"`
	RoundTripP99US     float64 `json:"round_trip_p99_us"`
	RoundTripSamples   uint64  `json:"round_trip_samples"`
	CeilingPerSecond   float64 `json:"ceiling_requests_per_second"`
	CeilingConcurrency int     `json:"ceiling_concurrency"`
	CeilingUsedRatio   float64 `json:"ceiling_used_ratio"`
}

// Verdict is the judgement in one line, what it rests on and what to try next.
type Verdict struct {
	Kind     string   `json:"kind"`
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
	Next     string   `json:"next"`
}

// Client is what the client measured. A rate is that of successful requests
// over ElapsedSeconds, from the first due start to the last completion.
type Client struct {
	ElapsedSeconds         float64    `json:"elapsed_seconds"`
	Sent                   uint64     `json:"requests_sent"`
	Succeeded              uint64     `json:"requests_succeeded"`
	Failed                 uint64     `json:"requests_failed"`
	Canceled               uint64     `json:"requests_canceled"`
	Unsent                 uint64     `json:"requests_due_but_unsent"`
	ErrorRatio             float64    `json:"error_ratio"`
	RequestRatePerSecond   float64    `json:"request_rate_per_second"`
	InferenceRatePerSecond float64    `json:"inference_rate_per_second"`
	Inferences             uint64     `json:"inferences"`
	MaxInFlightReached     uint64     `json:"max_in_flight_reached"`
	Response               *Latency   `json:"response_time,omitempty"`
	Service                *Latency   `json:"service_time,omitempty"`
	SendLag                *Latency   `json:"send_lag,omitempty"`
	FailedResponse         *Latency   `json:"failed_response_time,omitempty"`
	Stream                 *Stream    `json:"stream,omitempty"`
	Errors                 []Error    `json:"errors,omitempty"`
	Series                 []Interval `json:"series,omitempty"`
	Stability              *Stability `json:"stability,omitempty"`
	CPU                    *CPU       `json:"cpu,omitempty"`
}

// CPU is what the test took of the client's machine. Its threads waited when they
// were ready to run and had no processor; DelayMeanUS estimates what that added
// to each service time.
type CPU struct {
	UsedSeconds   float64 `json:"used_seconds"`
	CoresUsed     float64 `json:"cores_used"`
	PerRequestUS  float64 `json:"per_request_us"`
	WaitedSeconds float64 `json:"waited_seconds"`
	DelayMeanUS   float64 `json:"delay_per_request_us"`
}

// Stability tells whether the rate and the mean response time held still: the
// last ComparedWindows against their mean. Spreads are the largest distance from
// it, as a ratio, and limits what is put up with. SteadyFromSeconds is after which
// every window was like them.
type Stability struct {
	Steady              bool     `json:"steady"`
	ComparedWindows     int      `json:"compared_windows"`
	RateSpreadRatio     float64  `json:"request_rate_spread_ratio"`
	RateLimitRatio      float64  `json:"request_rate_limit_ratio"`
	ResponseSpreadRatio float64  `json:"response_time_spread_ratio"`
	ResponseLimitRatio  float64  `json:"response_time_limit_ratio"`
	SteadyFromSeconds   float64  `json:"steady_from_seconds,omitempty"`
	Windows             []Window `json:"windows"`
}

// Window is a part of the run.
type Window struct {
	StartSeconds         float64 `json:"start_seconds"`
	WidthSeconds         float64 `json:"width_seconds"`
	RequestRatePerSecond float64 `json:"request_rate_per_second"`
	ResponseMeanUS       float64 `json:"response_time_mean_us"`
}

// Stream is what came of successful requests that may have several responses:
// those of a decoupled model, or the events of a generated text. A response's
// time counts from when its request was due; the gap is from one response of a
// request to its next. Tokens are those that the model counts, else responses
// with text, and 0 where the model's answers are not text.
type Stream struct {
	Responses             uint64   `json:"responses"`
	ResponseRatePerSecond float64  `json:"response_rate_per_second"`
	ResponsesPerRequest   float64  `json:"responses_per_request_mean"`
	MinResponses          uint64   `json:"responses_per_request_min"`
	MaxResponses          uint64   `json:"responses_per_request_max"`
	Tokens                uint64   `json:"tokens,omitempty"`
	TokenRatePerSecond    float64  `json:"token_rate_per_second,omitempty"`
	FirstResponse         *Latency `json:"first_response_time,omitempty"`
	Gap                   *Latency `json:"response_gap,omitempty"`
}

// Latency summarises one distribution.
type Latency struct {
	Count  uint64  `json:"count"`
	MeanUS float64 `json:"mean_us"`
	MinUS  float64 `json:"min_us"`
	P50US  float64 `json:"p50_us"`
	P90US  float64 `json:"p90_us"`
	P95US  float64 `json:"p95_us"`
	P99US  float64 `json:"p99_us"`
	P999US float64 `json:"p99_9_us"`
	MaxUS  float64 `json:"max_us"`
}

// Error is one class of failed requests with its first example.
type Error struct {
	Class          string  `json:"class"`
	Count          uint64  `json:"count"`
	First          string  `json:"first"`
	FirstAtSeconds float64 `json:"first_at_seconds"`
}

// Interval is one step of the time series.
type Interval struct {
	StartSeconds float64 `json:"start_seconds"`
	WidthSeconds float64 `json:"width_seconds"`
	Succeeded    uint64  `json:"requests_succeeded"`
	Failed       uint64  `json:"requests_failed"`
	P50US        float64 `json:"p50_us"`
	P99US        float64 `json:"p99_us"`
	MaxUS        float64 `json:"max_us"`
}

// Server is the difference of the Triton pods' own statistics between the start
// and the end of the load, for the tested model. The mean times are per
// successful request; OutsideUS is what remains of the client's mean service
// time: network, tunnel and the server's own protocol handling.
type Server struct {
	Pods            []ServerPod `json:"pods"`
	Requests        uint64      `json:"requests_succeeded"`
	Failed          uint64      `json:"requests_failed"`
	Inferences      uint64      `json:"inferences"`
	Executions      uint64      `json:"executions"`
	CacheHits       uint64      `json:"cache_hits"`
	AverageBatch    float64     `json:"average_batch"`
	Batches         []Batch     `json:"batches,omitempty"`
	RequestUS       float64     `json:"request_us"`
	QueueUS         float64     `json:"queue_us"`
	ComputeInputUS  float64     `json:"compute_input_us"`
	ComputeInferUS  float64     `json:"compute_infer_us"`
	ComputeOutputUS float64     `json:"compute_output_us"`
	OverheadUS      float64     `json:"overhead_us"`
	OutsideUS       *float64    `json:"outside_us,omitempty"`
	ForeignRequests int64       `json:"foreign_requests"`
	Complete        bool        `json:"complete"`
}

// ServerPod is one pod's share.
type ServerPod struct {
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Requests   uint64 `json:"requests_succeeded"`
	Failed     uint64 `json:"requests_failed"`
	Inferences uint64 `json:"inferences"`
	Executions uint64 `json:"executions"`
	Problem    string `json:"problem,omitempty"`
}

// Batch counts the model executions of one batch size.
type Batch struct {
	Size       uint64 `json:"size"`
	Executions uint64 `json:"executions"`
}

// GPU is what the GPUs of the loaded pods did during the test.
type GPU struct {
	Source          string      `json:"source"`
	IntervalSeconds float64     `json:"interval_seconds"`
	Devices         []GPUDevice `json:"devices"`
	Gaps            []string    `json:"gaps,omitempty"`
}

// GPUDevice is one GPU, or one MIG instance of it: those have its UUID in common.
// With Insufficient, there were too few samples to print
// figures that mean something.
type GPUDevice struct {
	UUID               string   `json:"uuid"`
	Index              string   `json:"index,omitempty"`
	Product            string   `json:"product,omitempty"`
	MIGProfile         string   `json:"mig_profile,omitempty"`
	MIGInstance        string   `json:"mig_instance,omitempty"`
	Node               string   `json:"node,omitempty"`
	Pod                string   `json:"pod,omitempty"`
	Samples            int      `json:"samples"`
	Insufficient       bool     `json:"insufficient_samples"`
	UtilizationAverage *float64 `json:"utilization_average_ratio,omitempty"`
	UtilizationPeak    *float64 `json:"utilization_peak_ratio,omitempty"`
	MemoryUsedBytes    *float64 `json:"memory_used_peak_bytes,omitempty"`
	MemoryTotalBytes   *float64 `json:"memory_total_bytes,omitempty"`
	PowerAverageW      *float64 `json:"power_average_w,omitempty"`
	PowerPeakW         *float64 `json:"power_peak_w,omitempty"`
	TemperaturePeakC   *float64 `json:"temperature_peak_c,omitempty"`
	EnergyJ            *float64 `json:"energy_j,omitempty"`
	EnergyPerInference *float64 `json:"energy_per_inference_j,omitempty"`
}

// Grafana is where the test can be seen. Reach is the command that opens it
// there, for a Grafana in the cluster that no address leads to yet.
type Grafana struct {
	AnnotationID int64    `json:"annotation_id,omitempty"`
	Tags         []string `json:"tags,omitempty"`
	URL          string   `json:"url"`
	Reach        string   `json:"reach,omitempty"`
}

// Missing is a part of the report that could not be had: why, and the command
// or flag that mends it.
type Missing struct {
	Part string `json:"part"`
	Why  string `json:"why"`
	Fix  string `json:"fix,omitempty"`
}
