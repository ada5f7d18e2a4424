package plugin

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// TestDownNoteKnowsWhatIsKept: nothing is there any more, but for CRDs that are
// listed above the note.
func TestDownNoteKnowsWhatIsKept(t *testing.T) {
	d := &removal{options: &ObserveDownOptions{}, cluster: &cluster{}}
	for _, c := range []struct {
		kept []stack.Change
		want string
	}{
		{nil, "still there"},
		{make([]stack.Change, 1), "still there, but for what is listed"},
	} {
		r := d.report(&stack.Removal{Kept: c.kept})
		if len(r.Notes) != 1 || !strings.HasSuffix(r.Notes[0], c.want) {
			t.Errorf("with %d kept the notes are %q, want %q", len(c.kept), r.Notes, c.want)
		}
	}
}

// TestDownPurgeIsAChange: what --purge deletes is a change, also when nothing else
// is there any more; what --yes leaves to a question is none.
func TestDownPurgeIsAChange(t *testing.T) {
	for _, c := range []struct {
		purge bool
		lost  int
		want  bool
	}{{false, 0, false}, {true, 0, true}, {true, 3, false}} {
		d := &removal{options: &ObserveDownOptions{Purge: c.purge, Yes: true}, cluster: &cluster{}}
		if r := d.report(&stack.Removal{Kept: []stack.Change{{Lost: c.lost}}}); r.Changed != c.want {
			t.Errorf("%+v: changed %v", c, r.Changed)
		}
	}
}

// steps writes down what a removal does.
type steps []string

func (s *steps) Lock(context.Context, string) (bool, func(), error) {
	*s = append(*s, "lock")
	return false, func() { *s = append(*s, "release") }, nil
}

func (s *steps) Remove(context.Context, *stack.Removal, stack.Report) error {
	*s = append(*s, "remove")
	return nil
}

func (s *steps) Purge(_ context.Context, kept []stack.Change) error {
	if len(kept) > 0 {
		*s = append(*s, "purge")
	}
	return nil
}

// TestDownPurgesUnderTheLock: one who installs at the same time must not lose the
// CRDs.
func TestDownPurgesUnderTheLock(t *testing.T) {
	release, kept := []*stack.Release{{}}, make([]stack.Change, 1)
	for name, test := range map[string]struct {
		plan  *stack.Removal
		purge bool
		want  []string
	}{
		"nothing":           {&stack.Removal{Kept: kept}, false, nil},
		"down":              {&stack.Removal{Releases: release, Kept: kept}, false, []string{"lock", "remove", "release"}},
		"down --purge":      {&stack.Removal{Releases: release, Kept: kept}, true, []string{"lock", "remove", "purge", "release"}},
		"--purge afterward": {&stack.Removal{Kept: kept}, true, []string{"lock", "purge", "release"}},
		"no place for one":  {&stack.Removal{Kept: kept, NamespaceMissing: true}, true, []string{"purge"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &removal{options: &ObserveDownOptions{Purge: test.purge}, cluster: &cluster{}, progress: newStackProgress(io.Discard)}
			var did steps
			if err := d.remove(t.Context(), &did, test.plan); err != nil || !slices.Equal(did, test.want) {
				t.Errorf("did %q, %v; want %q", did, err, test.want)
			}
		})
	}
}
