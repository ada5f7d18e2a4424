package triton

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// settings are what the command line says.
type settings struct {
	repositories   []string
	control        string   // none or explicit
	load           []string // with explicit control
	exitOnError    bool
	strictReady    bool
	exitTimeout    time.Duration
	httpPort       int
	grpcPort       int
	metricsPort    int
	allowHTTP      bool
	allowGRPC      bool
	allowMetrics   bool
	allowGPU       bool
	allowCPU       bool
	interval       time.Duration
	metrics        core.MetricsOptions
	quantiles      []float64
	cacheBytes     uint64
	verbose        uint32
	maxInput       int64
	httpRestricted restrictions
	grpcRestricted restrictions
}

func defaults() *settings {
	return &settings{
		control: "none", exitOnError: true, strictReady: true, exitTimeout: 30 * time.Second,
		httpPort: 8000, grpcPort: 8001, metricsPort: 8002,
		allowHTTP: true, allowGRPC: true, allowMetrics: true, allowGPU: true, allowCPU: true,
		interval: 2 * time.Second, metrics: core.MetricsOptions{Counters: true},
		quantiles: []float64{0.5, 0.9, 0.95, 0.99, 0.999}, maxInput: 64 << 20,
		httpRestricted: restrictions{}, grpcRestricted: restrictions{},
	}
}

// accepted are tritonserver's other flags: they are taken, so that a real
// command line works, and change nothing here.
func accepted() []string {
	return []string{
		"id", "strict-model-config", "model-load-thread-count", "model-load-retry-count", "model-load-gpu-limit",
		"model-namespacing", "enable-peer-access", "repository-poll-secs", "disable-auto-complete-config",
		"http-address", "reuse-http-port", "http-header-forward-pattern", "http-thread-count",
		"grpc-address", "reuse-grpc-port", "grpc-header-forward-pattern", "grpc-infer-thread-count", "grpc-infer-allocation-pool-size",
		"grpc-max-response-pool-size", "grpc-use-ssl", "grpc-infer-response-compression-level", "grpc-keepalive-time", "grpc-keepalive-timeout",
		"grpc-keepalive-permit-without-calls", "grpc-http2-max-pings-without-data", "grpc-http2-min-recv-ping-interval-without-data",
		"grpc-http2-max-ping-strikes", "grpc-max-connection-age", "grpc-max-connection-age-grace",
		"metrics-address", "log-info", "log-warning", "log-error", "log-format", "log-file",
		"trace-config", "cache-directory", "backend-directory", "backend-config", "repoagent-directory", "host-policy",
		"pinned-memory-pool-byte-size", "cuda-memory-pool-byte-size", "cuda-virtual-address-size", "min-supported-compute-capability",
		"buffer-manager-thread-count", "rate-limit", "rate-limit-resource", "response-cache-byte-size",
	}
}

// parseFlags reads tritonserver's command line.
func parseFlags(args []string) (*settings, error) {
	s := defaults()
	for len(args) > 0 {
		name, value, hasValue := strings.Cut(args[0], "=")
		args = args[1:]
		if !strings.HasPrefix(name, "--") {
			return nil, fmt.Errorf("tritonserver: unexpected argument %q; options begin with --", name)
		}
		name = strings.TrimPrefix(name, "--")
		if !hasValue && len(args) > 0 && !strings.HasPrefix(args[0], "--") {
			value, hasValue, args = args[0], true, args[1:]
		}
		if !hasValue {
			value = "true" // a switch
		}
		if err := s.set(name, value); err != nil {
			return nil, err
		}
	}
	if len(s.repositories) == 0 {
		return nil, errors.New("tritonserver: --model-repository must be specified")
	}
	return s, nil
}

func (s *settings) set(name, value string) (err error) {
	switch name {
	case "model-repository", "model-store":
		s.repositories = append(s.repositories, value)
	case "model-control-mode":
		if value != "none" && value != "explicit" {
			return fmt.Errorf("tritonserver: --model-control-mode=%s is not simulated; use none or explicit", value)
		}
		s.control = value
	case "load-model":
		s.load = append(s.load, value)
	case "exit-on-error":
		s.exitOnError, err = strconv.ParseBool(value)
	case "strict-readiness":
		s.strictReady, err = strconv.ParseBool(value)
	case "exit-timeout-secs":
		err = seconds(value, &s.exitTimeout)
	case "http-port":
		s.httpPort, err = strconv.Atoi(value)
	case "grpc-port":
		s.grpcPort, err = strconv.Atoi(value)
	case "metrics-port":
		s.metricsPort, err = strconv.Atoi(value)
	case "allow-http":
		s.allowHTTP, err = strconv.ParseBool(value)
	case "allow-grpc":
		s.allowGRPC, err = strconv.ParseBool(value)
	case "allow-metrics":
		s.allowMetrics, err = strconv.ParseBool(value)
	case "allow-gpu-metrics":
		s.allowGPU, err = strconv.ParseBool(value)
	case "allow-cpu-metrics":
		s.allowCPU, err = strconv.ParseBool(value)
	case "metrics-interval-ms":
		var ms int
		if ms, err = strconv.Atoi(value); err == nil && ms < 1 {
			err = errors.New("it must be 1 or more")
		}
		s.interval = time.Duration(ms) * time.Millisecond
	case "metrics-config":
		err = s.metricsConfig(value)
	case "cache-config":
		err = s.cacheConfig(value)
	case "log-verbose":
		var level uint64
		level, err = strconv.ParseUint(strings.Replace(strings.Replace(value, "true", "1", 1), "false", "0", 1), 10, 32)
		s.verbose = uint32(level)
	case "http-max-input-size":
		s.maxInput, err = strconv.ParseInt(value, 10, 64)
	case "http-restricted-api":
		err = s.httpRestricted.add(value)
	case "grpc-restricted-protocol":
		err = s.grpcRestricted.add(value)
	default:
		if !slices.Contains(accepted(), name) {
			return fmt.Errorf("tritonserver: unrecognized option '--%s'", name)
		}
	}
	if err != nil {
		return fmt.Errorf("tritonserver: --%s=%s can't be used: %w", name, value, err)
	}
	return nil
}

func seconds(value string, into *time.Duration) error {
	n, err := strconv.Atoi(value)
	*into = time.Duration(n) * time.Second
	return err
}

func (s *settings) metricsConfig(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("it is written name=value")
	}
	var flag *bool
	switch name {
	case "counter_latencies":
		flag = &s.metrics.Counters
	case "summary_latencies":
		flag = &s.metrics.Summaries
	case "histogram_latencies":
		flag = &s.metrics.Histogram
	case "summary_quantiles":
		return s.summaryQuantiles(strings.Trim(value, `"`))
	default:
		return fmt.Errorf("unknown metrics setting %q", name)
	}
	on, err := strconv.ParseBool(value)
	*flag = on
	return err
}

// summaryQuantiles reads quantile:error pairs; the error is Triton's affair.
func (s *settings) summaryQuantiles(text string) error {
	var list []float64
	for pair := range strings.SplitSeq(text, ",") {
		rank, _, _ := strings.Cut(pair, ":")
		q, err := strconv.ParseFloat(rank, 64)
		if err != nil || q < 0 || q > 1 {
			return fmt.Errorf("quantile %q is no number from 0 to 1", rank)
		}
		list = append(list, q)
	}
	s.quantiles = list
	return nil
}

func (s *settings) cacheConfig(text string) error {
	name, setting, _ := strings.Cut(text, ",")
	key, value, _ := strings.Cut(setting, "=")
	if name != "local" || key != "size" {
		return errors.New("only the local cache is simulated: local,size=BYTES")
	}
	size, err := strconv.ParseUint(value, 10, 64)
	s.cacheBytes = size
	return err
}
