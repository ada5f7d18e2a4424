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
