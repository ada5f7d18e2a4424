package core

import (
	"errors"
	"fmt"
	"time"
)

// Load loads a model, or leaves it as it is if it is loaded with the same
// configuration. override, if not nil, replaces the file's configuration.
func (s *Server) Load(name string, override []byte) *Error {
	s.mu.Lock()
	e, ok := s.models[name]
	s.mu.Unlock()
	if !ok {
		return pollFailed(name)
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	source := s.options.Models[name]
	if override != nil {
		replaced, err := source.WithOverride(override)
		if err != nil {
			return pollFailed(name)
		}
		source = replaced
	}
	if override == nil && !e.override && s.allReady(e) {
		return nil
	}
	for _, step := range source.Config.GetEnsembleScheduling().GetStep() {
		if len(s.ReadyVersions(step.ModelName)) == 0 {
			if err := s.Load(step.ModelName, nil); err != nil {
				return err
			}
		}
	}
	e.source, e.override = source, override != nil
	for _, version := range source.Versions() {
		if err := s.loadVersion(e, version); err != nil {
			return Errorf(InvalidArg, "load failed for model '%s': version %d is at UNAVAILABLE state: %s;\n", name, version, err)
		}
	}
	s.accountMemory()
	return nil
}

func pollFailed(name string) *Error {
	return Errorf(Internal, "failed to load '%s', failed to poll from model repository", name)
}

func (s *Server) allReady(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range e.versions {
		if v.state != StateReady {
			return false
		}
	}
	return len(e.versions) > 0
}

func (s *Server) loadVersion(e *entry, version int64) error {
	old := s.set(e, version, StateLoading, "", nil)
	started := time.Now()
	if wait := e.source.Sim.LoadTime.D(); wait > 0 {
		time.Sleep(wait)
	}
	var m *Model
	err := error(nil)
	if e.source.Sim.LoadError != "" {
		err = errors.New(e.source.Sim.LoadError)
	} else if m, err = s.newModel(e.source, version); err != nil {
		err = fmt.Errorf("Invalid argument: %w", err) //nolint:staticcheck // Triton's wording
	}
	if err != nil {
		s.set(e, version, StateUnavailable, err.Error(), nil)
	} else {
		if m.scheduler != nil { // an ensemble's is always 0
			m.loadDuration = time.Since(started)
		}
		s.set(e, version, StateReady, "", m)
	}
	if old != nil {
		err = errors.Join(err, old.close())
	}
	return err
}

// set changes a version's state and returns the model that it had. A version
// that is being loaded anew keeps serving until its successor is there.
func (s *Server) set(e *entry, version int64, state, reason string, m *Model) (old *Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := e.versions[version]
	if v == nil {
		v = &versionState{}
		e.versions[version] = v
	}
	old = v.model
	v.state, v.reason, v.model = state, reason, m
	if state == StateLoading {
		v.model = old
	}
	return old
}

// Unload begins to unload a model: it takes no new requests, and is gone when
// those in flight are done. Unknown models are ignored, as Triton does.
func (s *Server) Unload(name string) {
	done := s.beginUnload(name)
	s.unloading.Go(func() { _ = done() }) // closing can only fail on descriptors that are gone
}

func (s *Server) unload(name string) error { return s.beginUnload(name)() }

func (s *Server) beginUnload(name string) (finish func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.models[name]
	if !ok {
		return func() error { return nil }
	}
	type leaving struct {
		state *versionState
		model *Model
	}
	var list []leaving
	for _, v := range e.versions {
		if v.model == nil {
			if v.state == StateUnavailable && v.reason != "unloaded" {
				v.reason = "unloaded"
			}
			continue
		}
		list = append(list, leaving{v, v.model})
		v.state, v.model = StateUnloading, nil
	}
	return func() error {
		var err error
		for _, l := range list {
			err = errors.Join(err, l.model.close())
			s.mu.Lock()
			if l.state.state == StateUnloading {
				l.state.state, l.state.reason = StateUnavailable, "unloaded"
			}
			s.mu.Unlock()
		}
		s.accountMemory()
		return err
	}
}
