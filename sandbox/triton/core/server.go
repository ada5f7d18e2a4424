package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
)

// Options are a server's settings.
type Options struct {
	Models     map[string]*modelconfig.Model
	Devices    []Device
	Metrics    MetricsOptions
	CacheBytes uint64 // of the response cache; 0 is none
	LogSize    int    // requests that the request log keeps
	// LooseReadiness is --strict-readiness=false.
	LooseReadiness bool
}

// Server is the inference server without its protocols.
type Server struct {
	options Options
	cache   *Cache
	Log     *RequestLog

	mu       sync.Mutex
	models   map[string]*entry
	failures map[failureKey]*Failures

	unloading sync.WaitGroup
}

// entry is one model of the repository.
type entry struct {
	name     string
	source   *modelconfig.Model
	override bool
	loading  sync.Mutex // one load at a time
	versions map[int64]*versionState
}

type versionState struct {
	state, reason string
	model         *Model // set while READY
}

type failureKey struct {
	model   string
	version int64
	gpu     string
}

// The states of the repository index.
const (
	StateReady       = "READY"
	StateLoading     = "LOADING"
	StateUnloading   = "UNLOADING"
	StateUnavailable = "UNAVAILABLE"
)

// NewServer returns a server that has loaded nothing yet.
func NewServer(options Options) *Server {
	s := &Server{
		options: options, models: map[string]*entry{}, failures: map[failureKey]*Failures{},
		Log: NewRequestLog(options.LogSize),
	}
	if options.CacheBytes > 0 {
		s.cache = NewCache(options.CacheBytes)
	}
	for name, source := range options.Models {
		s.models[name] = &entry{name: name, source: source, versions: map[int64]*versionState{}}
	}
	s.accountMemory()
	return s
}

// Cache is the response cache, or nil.
func (s *Server) Cache() *Cache { return s.cache }

// Devices are the GPUs that the server sees.
func (s *Server) Devices() []Device { return s.options.Devices }

// Names are the models of the repository in an order in which each ensemble
// comes after its parts.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Sorted(maps.Keys(s.models))
	var ordered []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		e, ok := s.models[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		for _, step := range e.source.Config.GetEnsembleScheduling().GetStep() {
			visit(step.ModelName)
		}
		ordered = append(ordered, name)
	}
	for _, name := range names {
		visit(name)
	}
	return ordered
}

// Infer schedules a request of a model that Find returned. An error means that
// the request was not accepted and Respond won't be called; otherwise Respond
// is called, perhaps before Infer returns.
func (s *Server) Infer(r *Request) *Error {
	m := r.Model
	if !m.enter() {
		return noVersions(m.Name)
	}
	var err *Error
	if m.scheduler == nil {
		if err = m.validate(r); err == nil {
			s.runEnsemble(r)
		}
	} else {
		err = m.submit(r)
	}
	if err != nil {
		m.leave()
	}
	return err
}

// Find returns the model's version, or its newest if version is empty.
func (s *Server) Find(name, version string) (*Model, *Error) {
	wanted, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.models[name]
	if !ok {
		return nil, Errorf(NotFound, "Request for unknown model: '%s' is not found", name)
	}
	var newest *Model
	for v, state := range e.versions {
		if state.model == nil {
			continue
		}
		if v == wanted {
			return state.model, nil
		}
		if newest == nil || newest.Version < v {
			newest = state.model
		}
	}
	if newest == nil {
		return nil, noVersions(name)
	}
	if wanted > 0 {
		return nil, Errorf(NotFound, "Request for unknown model: '%s' version %d is not found", name, wanted)
	}
	return newest, nil
}

func noVersions(name string) *Error {
	return Errorf(NotFound, "Request for unknown model: '%s' has no available versions", name)
}

func parseVersion(version string) (int64, *Error) {
	if version == "" {
		return -1, nil
	}
	v, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return 0, Errorf(InvalidArg, "failed to get model version from specified version string '%s' (details: stol), version should be an integral value > 0", version)
	}
	return v, nil
}

func formatVersion(v int64) string { return strconv.FormatInt(v, 10) }

// ReadyVersions are a model's versions that serve requests, ascending.
func (s *Server) ReadyVersions(name string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var versions []int64
	if e, ok := s.models[name]; ok {
		for v, state := range e.versions {
			if state.model != nil {
				versions = append(versions, v)
			}
		}
	}
	slices.Sort(versions)
	return versions
}

// Select returns the models that a statistics request asks for, by name and
// version: all of them if name is empty.
func (s *Server) Select(name, version string) ([]*Model, *Error) {
	all := s.Loaded()
	if name == "" {
		return all, nil
	}
	wanted, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	var selected []*Model
	known := false
	for _, m := range all {
		if m.Name == name {
			known = true
			if wanted < 0 || m.Version == wanted {
				selected = append(selected, m)
			}
		}
	}
	switch {
	case !known:
		return nil, Errorf(InvalidArg, "requested model '%s' is not available", name)
	case len(selected) == 0:
		return nil, Errorf(InvalidArg, "requested model version is not available for model '%s'", name)
	}
	return selected, nil
}

// Loaded lists the models that serve requests, by name and version.
func (s *Server) Loaded() []*Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Model
	for _, e := range s.models {
		for _, v := range e.versions {
			if v.model != nil {
				list = append(list, v.model)
			}
		}
	}
	slices.SortFunc(list, func(a, b *Model) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(a.Version - b.Version)
	})
	return list
}

// Ready says whether every model that was ever to be loaded serves requests;
// without strict readiness models don't count.
func (s *Server) Ready() bool {
	if s.options.LooseReadiness {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.models {
		for _, v := range e.versions {
			if v.state != StateReady {
				return false
			}
		}
	}
	return true
}

// IndexEntry is one line of the repository index; a model that was never
// loaded has only a name.
type IndexEntry struct{ Name, Version, State, Reason string }

// Index lists the repository by name and version.
func (s *Server) Index(readyOnly bool) []IndexEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []IndexEntry{}
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		e := s.models[name]
		if len(e.versions) == 0 && !readyOnly {
			list = append(list, IndexEntry{Name: name})
		}
		for _, v := range slices.Sorted(maps.Keys(e.versions)) {
			state := e.versions[v]
			if !readyOnly || state.state == StateReady {
				list = append(list, IndexEntry{Name: name, Version: formatVersion(v), State: state.state, Reason: state.reason})
			}
		}
	}
	return list
}

// FailureCounts returns the failure counters of all that was ever loaded.
func (s *Server) FailureCounts() []FailureCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []FailureCount
	for k, counts := range s.failures {
		c := FailureCount{Model: k.model, Version: k.version, GPU: k.gpu}
		for i := range counts {
			c.Counts[i] = counts[i].Load()
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b FailureCount) int {
		if c := strings.Compare(a.Model, b.Model); c != 0 {
			return c
		}
		if a.Version != b.Version {
			return int(a.Version - b.Version)
		}
		return strings.Compare(a.GPU, b.GPU)
	})
	return list
}

// FailureCount is nv_inference_request_failure of one model version.
type FailureCount struct {
	Model   string
	Version int64
	GPU     string
	Counts  [4]uint64 // by FailureReasons
}

func (s *Server) failuresOf(model string, version int64, gpu string) *Failures {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := failureKey{model, version, gpu}
	if s.failures[key] == nil {
		s.failures[key] = &Failures{}
	}
	return s.failures[key]
}

// SetSim changes how a loaded model behaves from its next execution on.
func (s *Server) SetSim(name string, change []byte) (modelconfig.Sim, error) {
	var changed modelconfig.Sim
	found := false
	for _, m := range s.Loaded() {
		if m.Name != name {
			continue
		}
		merged, err := m.sim.Load().Merge(change)
		if err != nil {
			return modelconfig.Sim{}, err
		}
		if _, err := ParseCode(merged.Failures.Code); err != nil {
			return modelconfig.Sim{}, err
		}
		if merged.Behaviour != m.sim.Load().Behaviour {
			return modelconfig.Sim{}, errors.New("sim.behaviour can't change while the model is loaded; reload the model with another file")
		}
		m.sim.Store(&merged)
		changed, found = merged, true
	}
	if !found {
		return modelconfig.Sim{}, fmt.Errorf("model %s is not loaded", name)
	}
	s.accountMemory()
	return changed, nil
}

// Sim is how a loaded model behaves now.
func (s *Server) Sim(name string) (modelconfig.Sim, bool) {
	for _, m := range s.Loaded() {
		if m.Name == name {
			return *m.sim.Load(), true
		}
	}
	return modelconfig.Sim{}, false
}

// InFlight counts the requests that have not had their final response.
func (s *Server) InFlight() int {
	n := 0
	for _, m := range s.Loaded() {
		n += m.InFlight()
	}
	return n
}

// Close unloads everything, after the requests in flight.
func (s *Server) Close() error {
	var err error
	names := s.Names()
	slices.Reverse(names) // an ensemble before its parts
	for _, name := range names {
		err = errors.Join(err, s.unload(name))
	}
	s.unloading.Wait()
	return err
}
