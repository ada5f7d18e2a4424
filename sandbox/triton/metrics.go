package triton

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

// metricsAPI is the metrics endpoint.
type metricsAPI struct {
	core      *core.Server
	options   core.MetricsOptions
	quantiles []float64
	host      *hostMonitor
	showGPU   bool
	showCPU   bool
}

func (a *metricsAPI) serve(x *wire.Exchange) {
	if x.Path != "/metrics" {
		x.Reply(http.StatusOK, nil, nil) // as the real server does
		return
	}
	x.Reply(http.StatusOK, []wire.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}, a.exposition())
}

// page writes the exposition format the way Triton's library does: a family
// without series leaves no trace.
type page struct {
	body   []byte
	header []byte // of the current family, until its first series
}

func (p *page) family(name, kind, help string) {
	p.header = append(p.header[:0], "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

// series appends one line; labels are names and values in turn.
func (p *page) series(name string, value float64, labels ...string) {
	p.begin(name, labels)
	p.body = strconv.AppendFloat(p.body, value, 'f', -1, 64)
	p.body = append(p.body, '\n')
}

func (p *page) begin(name string, labels []string) {
	p.body = append(p.body, p.header...)
	p.header = p.header[:0]
	p.body = append(p.body, name...)
	for i := 0; i < len(labels); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		p.body = append(p.body, separator)
		p.body = append(p.body, labels[i]...)
		p.body = append(p.body, '=')
		p.body = rapidjson.AppendString(p.body, labels[i+1])
	}
	if len(labels) > 0 {
		p.body = append(p.body, '}')
	}
	p.body = append(p.body, ' ')
}

// notANumber appends a line without a value, spelt as Triton spells it.
func (p *page) notANumber(name string, labels ...string) {
	p.begin(name, labels)
	p.body = append(p.body, "Nan\n"...)
}

// labelsOf are a series's labels in alphabetical order.
func labelsOf(gpu, model string, version int64, more ...string) []string {
	labels := make([]string, 0, 8)
	if gpu != "" {
		labels = append(labels, "gpu_uuid", gpu)
	}
	labels = append(labels, "model", model)
	if len(more) == 2 && more[0] < "version" {
		return append(append(labels, more...), "version", strconv.FormatInt(version, 10))
	}
	return append(append(labels, "version", strconv.FormatInt(version, 10)), more...)
}

func (a *metricsAPI) exposition() []byte {
	var models []core.MetricsSnapshot
	for _, m := range a.core.Loaded() {
		models = append(models, m.Metrics())
	}
	p := &page{body: make([]byte, 0, 32<<10)}
	a.counters(p, models)
	a.gauges(p, models)
	a.server(p)
	if a.options.Histogram {
		a.histogram(p, models)
	}
	if a.options.Summaries {
		a.summaries(p, models)
	}
	return p.body
}

type counter struct {
	name, help string
	value      func(*core.Reporter) uint64
}

func each(p *page, models []core.MetricsSnapshot, kind string, list []counter, shown func(*core.MetricsSnapshot) bool) {
	for _, c := range list {
		p.family(c.name, kind, c.help)
		for i := range models {
			m := &models[i]
			if !shown(m) {
				continue
			}
			for k := range m.Reporters {
				rep := &m.Reporters[k]
				p.series(c.name, float64(c.value(rep)), labelsOf(rep.GPU, m.Name, m.Version)...)
			}
		}
	}
}

func always(*core.MetricsSnapshot) bool { return true }

func (a *metricsAPI) counters(p *page, models []core.MetricsSnapshot) {
	each(p, models, "counter", []counter{
		{"nv_inference_request_success", "Number of successful inference requests, all batch sizes", func(r *core.Reporter) uint64 { return r.Requests }},
	}, always)
	p.family("nv_inference_request_failure", "counter", "Number of failed inference requests, all batch sizes")
	for _, f := range a.core.FailureCounts() {
		for i, reason := range core.FailureReasons() {
			p.series("nv_inference_request_failure", float64(f.Counts[i]), labelsOf(f.GPU, f.Model, f.Version, "reason", reason)...)
		}
	}
	each(p, models, "counter", []counter{
		{"nv_inference_count", "Number of inferences performed (does not include cached requests)", func(r *core.Reporter) uint64 { return r.Inferences }},
		{"nv_inference_exec_count", "Number of model executions performed (does not include cached requests)", func(r *core.Reporter) uint64 { return r.Executions }},
	}, always)
	if a.options.Counters {
		each(p, models, "counter", []counter{
			{"nv_inference_request_duration_us", "Cumulative inference request duration in microseconds (includes cached requests)", func(r *core.Reporter) uint64 { return r.RequestMicros }},
			{"nv_inference_queue_duration_us", "Cumulative inference queuing duration in microseconds (includes cached requests)", func(r *core.Reporter) uint64 { return r.QueueMicros }},
			{"nv_inference_compute_input_duration_us", "Cumulative compute input duration in microseconds (does not include cached requests)", func(r *core.Reporter) uint64 { return r.InputMicros }},
			{"nv_inference_compute_infer_duration_us", "Cumulative compute inference duration in microseconds (does not include cached requests)", func(r *core.Reporter) uint64 { return r.InferMicros }},
			{"nv_inference_compute_output_duration_us", "Cumulative inference compute output duration in microseconds (does not include cached requests)", func(r *core.Reporter) uint64 { return r.OutputMicros }},
		}, always)
		each(p, models, "counter", []counter{
			{"nv_cache_num_hits_per_model", "Number of cache hits per model", func(r *core.Reporter) uint64 { return r.CacheHits }},
			{"nv_cache_hit_duration_per_model", "Total cache hit duration per model, in microseconds", func(r *core.Reporter) uint64 { return r.CacheHitMicros }},
			{"nv_cache_num_misses_per_model", "Number of cache misses per model", func(r *core.Reporter) uint64 { return r.CacheMisses }},
			{"nv_cache_miss_duration_per_model", "Total cache miss (insert+lookup) duration per model, in microseconds", func(r *core.Reporter) uint64 { return r.CacheMissMicros }},
		}, func(m *core.MetricsSnapshot) bool { return m.Cached })
	}
	// A metric of the identity backend itself, with only the model's labels.
	p.family("input_byte_size_counter", "counter", "Cumulative input byte size of all requests received by the model")
	for i := range models {
		m := &models[i]
		if m.Backend != "identity" {
			continue
		}
		sum := uint64(0)
		for k := range m.Reporters {
			sum += m.Reporters[k].InputBytes
		}
		p.series("input_byte_size_counter", float64(sum), labelsOf("", m.Name, m.Version)...)
	}
}

func (a *metricsAPI) gauges(p *page, models []core.MetricsSnapshot) {
	// A GPU's reporter has these series too, but only the model's own is ever set.
	gauge := func(name, help string, value func(*core.MetricsSnapshot) float64) {
		p.family(name, "gauge", help)
		for i := range models {
			m := &models[i]
			for k := range m.Reporters {
				v := 0.0
				if k == 0 {
					v = value(m)
				}
				p.series(name, v, labelsOf(m.Reporters[k].GPU, m.Name, m.Version)...)
			}
		}
	}
	gauge("nv_inference_pending_request_count", "Instantaneous number of pending requests awaiting execution per-model.",
		func(m *core.MetricsSnapshot) float64 { return float64(m.Pending) })
	gauge("nv_model_load_duration_secs", "Model load time in seconds",
		func(m *core.MetricsSnapshot) float64 { return m.LoadDuration.Seconds() })
}

// server writes what belongs to no model.
func (a *metricsAPI) server(p *page) {
	gauge := func(name, help string, value float64) {
		p.family(name, "gauge", help)
		p.series(name, value)
	}
	host := a.host.read()
	if a.showGPU {
		gpuFamily := func(name, kind, help string, value func(gpuReading) float64) {
			p.family(name, kind, help)
			for _, g := range host.gpus {
				p.series(name, value(g), "gpu_uuid", g.uuid)
			}
		}
		gpuFamily("nv_gpu_utilization", "gauge", "GPU utilization rate [0.0 - 1.0)", func(g gpuReading) float64 { return g.busy })
		gpuFamily("nv_gpu_memory_total_bytes", "gauge", "GPU total memory, in bytes", func(g gpuReading) float64 { return g.memoryTotalBytes })
		gpuFamily("nv_gpu_memory_used_bytes", "gauge", "GPU used memory, in bytes", func(g gpuReading) float64 { return g.memoryUsedBytes })
		gpuFamily("nv_gpu_power_usage", "gauge", "GPU power usage in watts", func(g gpuReading) float64 { return g.powerW })
		gpuFamily("nv_gpu_power_limit", "gauge", "GPU power management limit in watts", func(g gpuReading) float64 { return g.powerLimitW })
		gpuFamily("nv_energy_consumption", "counter", "GPU energy consumption in joules since the Triton Server started", func(g gpuReading) float64 { return g.energyJ })
	}
	gauge("nv_pinned_memory_pool_total_bytes", "Pinned memory pool total memory size, in bytes", pinnedPoolBytes)
	gauge("nv_pinned_memory_pool_used_bytes", "Pinned memory pool used memory size, in bytes", 0)
	if a.showCPU {
		gauge("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", host.cpuBusy)
		gauge("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", host.memoryTotalBytes)
		gauge("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", host.memoryUsedBytes)
	}
	if cache := a.core.Cache(); cache != nil {
		gauge("nv_cache_util", "Cache utilization [0.0 - 1.0]", cache.Usage())
		// The release that is simulated no longer fills these in.
		gauge("nv_cache_num_entries", "Number of responses stored in response cache", 0)
		gauge("nv_cache_num_hits", "Number of cache hits in response cache", 0)
		gauge("nv_cache_num_misses", "Number of cache misses in response cache", 0)
		gauge("nv_cache_num_lookups", "Number of cache lookups in response cache", 0)
		gauge("nv_cache_num_evictions", "Number of cache evictions in response cache", 0)
		gauge("nv_cache_lookup_duration", "Total cache lookup duration (hit and miss), in microseconds", 0)
		gauge("nv_cache_insertion_duration", "Total cache insertion duration, in microseconds", 0)
	}
}

const pinnedPoolBytes = 256 << 20

func (a *metricsAPI) histogram(p *page, models []core.MetricsSnapshot) {
	const name = "nv_inference_first_response_histogram_ms"
	p.family(name, "histogram", "Duration from request to first response in milliseconds")
	for i := range models {
		m := &models[i]
		for k := range m.Reporters {
			rep := &m.Reporters[k]
			h := &rep.FirstResponse
			p.series(name+"_count", float64(h.Count), labelsOf(rep.GPU, m.Name, m.Version)...)
			p.series(name+"_sum", float64(h.SumMs), labelsOf(rep.GPU, m.Name, m.Version)...)
			below := uint64(0)
			for b, bound := range core.FirstResponseBuckets() {
				below += h.Buckets[b]
				p.series(name+"_bucket", float64(below), append(labelsOf(rep.GPU, m.Name, m.Version), "le", strconv.FormatFloat(bound, 'f', -1, 64))...)
			}
			p.series(name+"_bucket", float64(h.Count), append(labelsOf(rep.GPU, m.Name, m.Version), "le", "+Inf")...)
		}
	}
}

func (a *metricsAPI) summaries(p *page, models []core.MetricsSnapshot) {
	uncached := func(m *core.MetricsSnapshot) bool { return !m.Cached }
	cached := func(m *core.MetricsSnapshot) bool { return m.Cached }
	for _, s := range []struct {
		name, help string
		of         func(*core.Reporter) *core.Summary
		shown      func(*core.MetricsSnapshot) bool
	}{
		{"nv_inference_request_summary_us", "Summary of inference request duration in microseconds (includes cached requests)", func(r *core.Reporter) *core.Summary { return &r.RequestSum }, uncached},
		{"nv_inference_queue_summary_us", "Summary of inference queuing duration in microseconds (includes cached requests)", func(r *core.Reporter) *core.Summary { return &r.QueueSum }, always},
		{"nv_inference_compute_input_summary_us", "Cumulative compute input duration in microseconds (does not include cached requests)", func(r *core.Reporter) *core.Summary { return &r.InputSum }, always},
		{"nv_inference_compute_infer_summary_us", "Cumulative compute inference duration in microseconds (does not include cached requests)", func(r *core.Reporter) *core.Summary { return &r.InferSum }, always},
		{"nv_inference_compute_output_summary_us", "Cumulative inference compute output duration in microseconds (does not include cached requests)", func(r *core.Reporter) *core.Summary { return &r.OutputSum }, always},
		{"nv_cache_hit_summary_per_model", "Summary of cache hit counts/durations per model, in microseconds.", func(r *core.Reporter) *core.Summary { return &r.HitSum }, cached},
		{"nv_cache_miss_summary_per_model", "Summary of cache miss counts/durations per model, in microseconds.", func(r *core.Reporter) *core.Summary { return &r.MissSum }, cached},
	} {
		p.family(s.name, "summary", s.help)
		for i := range models {
			m := &models[i]
			if !s.shown(m) {
				continue
			}
			for k := range m.Reporters {
				a.summary(p, s.name, s.of(&m.Reporters[k]), labelsOf(m.Reporters[k].GPU, m.Name, m.Version))
			}
		}
	}
}

func (a *metricsAPI) summary(p *page, name string, s *core.Summary, labels []string) {
	p.series(name+"_count", float64(s.Count), labels...)
	p.series(name+"_sum", float64(s.Sum), labels...)
	values, ok := s.Quantiles(a.quantiles)
	for i, q := range a.quantiles {
		with := slices.Concat(labels, []string{"quantile", strconv.FormatFloat(q, 'f', -1, 64)})
		if ok {
			p.series(name, float64(values[i]), with...)
		} else {
			p.notANumber(name, with...)
		}
	}
}
