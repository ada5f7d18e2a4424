package plugin

import (
	"strings"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// TestDriftOfUnfinishedRelease: a release whose last operation failed is not as it
// was installed, also where no object differs from the record of that operation.
func TestDriftOfUnfinishedRelease(t *testing.T) {
	const why = "its last operation ended as failed"
	plan := &stack.Plan{Stack: stack.Component{Name: "kube-prometheus-stack", Verb: stack.Update,
		Release: &stack.ReleasePlan{Verb: stack.Update, Why: why}, Changes: []stack.Change{{Verb: stack.Unchanged}}}}
	if c := drift(plan); c.State != report.CheckFailed || !strings.Contains(c.Detail, "kube-prometheus-stack: "+why) {
		t.Errorf("got %+v", c)
	}
	plan.Stack.Changes[0] = stack.Change{Ref: stack.Ref{Kind: "Service", Name: "a"}, Verb: stack.Update}
	plan.Stack.Release.Why = "Service a differs from what Helm made"
	if c := drift(plan); c.Detail != "Service a would be changed" {
		t.Errorf("the same is said twice: %+v", c)
	}
	plan.Stack = stack.Component{Name: "kube-prometheus-stack", Verb: stack.Unchanged, Release: &stack.ReleasePlan{Verb: stack.Unchanged}}
	if c := drift(plan); c.State != report.CheckOK {
		t.Errorf("got %+v", c)
	}
}
