package plugin

import (
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
