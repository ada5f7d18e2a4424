package core

import "testing"

// TestReady: a model that failed to load takes strict readiness only.
func TestReady(t *testing.T) {
	for loose, want := range map[bool]bool{false: false, true: true} {
		s := NewServer(Options{LooseReadiness: loose})
		s.models["broken"] = &entry{name: "broken", versions: map[int64]*versionState{1: {state: StateUnavailable}}}
		if got := s.Ready(); got != want {
			t.Errorf("loose %v: ready is %v, want %v", loose, got, want)
		}
	}
}
