package core

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// Model is one version of a model that is loaded.
type Model struct {
	Name    string
	Version int64
	Config  *inferencepb.ModelConfig // completed; not to be changed

	source    *modelconfig.Model
	sim       atomic.Pointer[modelconfig.Sim]
	loaded    time.Time
	cancelled atomic.Bool // some request was given up and may be in the queue

	compute    computeFunc
	stream     streamFunc // set instead of compute for decoupled models
	parameters []Parameter
	scheduler  *scheduler // nil for an ensemble
	sequences  *sequences
	cache      *modelCache
	emitting   sync.WaitGroup

	mu           sync.Mutex // guards the statistics and the reporters
	stats        Stats
	reporter     *Reporter
	reporters    []*Reporter // of the devices
	options      MetricsOptions
	failures     func(gpu string) *Failures
	loadDuration time.Duration

	flying   sync.Mutex
	inFlight int
	landed   chan struct{} // closed when inFlight is 0 and the model is being unloaded
}

func (s *Server) newModel(source *modelconfig.Model, version int64) (*Model, error) {
	started := time.Now()
	config, err := source.Complete(s.gpuIndices())
	if err != nil {
		return nil, err
	}
	m := &Model{
		Name: config.Name, Version: version, Config: config, source: source,
		options: s.options.Metrics, loaded: started,
	}
	m.failures = func(gpu string) *Failures { return s.failuresOf(config.Name, version, gpu) }
	m.reporter = m.newReporter("")
	sim := source.Sim
	if config.GetEnsembleScheduling() != nil {
		m.sim.Store(&sim)
		return m, nil
	}
	m.behave(&sim)
	if decoupled := config.ModelTransactionPolicy.GetDecoupled(); decoupled != (m.stream != nil) {
		return nil, fmt.Errorf("model %s: model_transaction_policy.decoupled is %v, which the behaviour %q can't be", m.Name, decoupled, sim.Behaviour)
	}
	m.sim.Store(&sim)
	if config.ResponseCache.GetEnable() && s.cache != nil {
		m.cache = &modelCache{model: m, cache: s.cache}
	}
	if batching := config.GetSequenceBatching(); batching != nil {
		m.sequences = newSequences(m, batching)
	}
	if m.scheduler, err = newScheduler(m, s.groupsOf(config)); err != nil {
		return nil, err
	}
	if err := m.warmUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("warm up model %s: %w", m.Name, err), m.close())
	}
	return m, nil
}

func (m *Model) newReporter(gpu string) *Reporter {
	return &Reporter{GPU: gpu, options: m.options, failures: m.failures(gpu)}
}

func (m *Model) reporterOf(device *Device) *Reporter {
	if device == nil {
		return m.reporter
	}
	for _, r := range m.reporters {
		if r.GPU == device.UUID {
			return r
		}
	}
	r := m.newReporter(device.UUID)
	m.reporters = append(m.reporters, r)
	return r
}

// warmUp runs the configured warm-up requests once on every instance; they
// count in the statistics.
func (m *Model) warmUp() error {
	for _, w := range m.Config.ModelWarmup {
		for range m.scheduler.instances {
			for range max(1, w.Count) {
				if err := m.warmUpOnce(w); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (m *Model) warmUpOnce(w *inferencepb.ModelWarmup) error {
	done := make(chan *Error, 1)
	r := &Request{Model: m, Arrived: time.Now()}
	r.Respond = func(response Response) {
		if response.Final {
			done <- response.Err
		}
	}
	for name, in := range w.Inputs {
		t := tensor.Tensor{Name: name, Type: tensor.FromConfig(in.DataType), Shape: in.Dims}
		if m.Config.MaxBatchSize > 0 {
			t.Shape = append([]int64{int64(w.BatchSize)}, in.Dims...)
		}
		size := t.Type.Size()
		if t.Type == tensor.Bytes {
			size = 4 // an empty string
		}
		elements := tensor.Elements(t.Shape)
		if elements < 0 {
			return fmt.Errorf("input %s has shape %s", name, tensor.AppendShape(nil, t.Shape))
		}
		t.Data = make([]byte, elements*int64(size))
		r.Inputs = append(r.Inputs, t)
	}
	m.enter()
	if err := m.submit(r); err != nil {
		m.leave()
		return err
	}
	if err := <-done; err != nil { // a nil *Error must not become a non-nil error
		return err
	}
	return nil
}

// submit validates and schedules a request; the model counts it as in flight.
func (m *Model) submit(r *Request) *Error {
	if err := m.validate(r); err != nil {
		return err
	}
	if m.sequences != nil {
		return m.sequences.enqueue(r)
	}
	return m.scheduler.enqueue(r)
}

func (m *Model) batches() bool { return m.scheduler != nil && m.scheduler.queue.dynamic }

// Decoupled says that a request may have any number of responses.
func (m *Model) Decoupled() bool { return m.Config.ModelTransactionPolicy.GetDecoupled() }

// Platform is what the metadata call it.
func (m *Model) Platform() string {
	if m.Config.Platform != "" {
		return m.Config.Platform
	}
	return m.Config.Backend
}

// LoggedRequests says whether the model's requests belong in the request log.
func (m *Model) LoggedRequests() bool {
	logged := m.sim.Load().LogRequests
	return logged == nil || *logged
}

// Labels are the class names of an output, if there are any.
func (m *Model) Labels(output string) []string { return m.source.Sim.Labels[output] }

// MetricsSnapshot is what /metrics shows of one model.
type MetricsSnapshot struct {
	Name         string
	Version      int64
	Backend      string
	Cached       bool // the response cache is on for it
	Pending      int64
	LoadDuration time.Duration
	Reporters    []Reporter // the model's own first, then one per GPU
}

// Metrics is a consistent copy of the counters.
func (m *Model) Metrics() MetricsSnapshot {
	snapshot := MetricsSnapshot{
		Name: m.Name, Version: m.Version, Backend: m.Config.Backend, Cached: m.cache != nil, LoadDuration: m.loadDuration,
	}
	if m.scheduler != nil {
		snapshot.Pending = max(0, m.scheduler.pending.Load())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	snapshot.Reporters = append(snapshot.Reporters, m.reporter.clone())
	for _, r := range m.reporters {
		snapshot.Reporters = append(snapshot.Reporters, r.clone())
	}
	return snapshot
}

// enter counts a request in; false means that the model is being unloaded.
func (m *Model) enter() bool {
	m.flying.Lock()
	defer m.flying.Unlock()
	if m.landed != nil {
		return false
	}
	m.inFlight++
	return true
}

func (m *Model) leave() {
	m.flying.Lock()
	defer m.flying.Unlock()
	m.inFlight--
	if m.inFlight == 0 && m.landed != nil {
		close(m.landed)
	}
}

// InFlight is the number of requests that have not had their final response.
func (m *Model) InFlight() int {
	m.flying.Lock()
	defer m.flying.Unlock()
	return m.inFlight
}

// close refuses new requests, waits for those in flight and ends the instances.
func (m *Model) close() error {
	m.flying.Lock()
	m.landed = make(chan struct{})
	if m.inFlight == 0 {
		close(m.landed)
	}
	m.flying.Unlock()
	<-m.landed
	m.emitting.Wait()
	if m.scheduler == nil {
		return nil
	}
	return m.scheduler.close()
}
