package report

import "time"

// StackSchema names the layout of Stack; see BenchSchema.
const StackSchema = "kubectl-triton/stack/v1"

// Stack is the state of the observability stack, or what a command made of it.
type Stack struct {
	Schema      string    `json:"schema"`
	ToolVersion string    `json:"tool_version"`
	Time        time.Time `json:"time"`
	// Command is up, status, plan or down.
	Command   string `json:"command"`
	Context   string `json:"context,omitempty"`
	Namespace string `json:"namespace"`
	// Healthy says that every check is ok; Changed that the cluster was changed
	// or, of a plan, would be.
	Healthy     bool    `json:"healthy"`
	Changed     bool    `json:"changed"`
	TookSeconds float64 `json:"took_seconds,omitempty"`

	Components []StackComponent `json:"components,omitempty"`
	Checks     []StackCheck     `json:"checks,omitempty"`
	Notes      []string         `json:"notes,omitempty"`
	Next       []string         `json:"next,omitempty"`
}

// StackComponent is one part: a Helm release, or a set of objects.
type StackComponent struct {
	Name string `json:"name"`
	// Action is create, change, unchanged, reuse, delete or keep.
	Action    string          `json:"action"`
	Note      string          `json:"note,omitempty"`
	Release   *StackRelease   `json:"release,omitempty"`
	Workloads []StackWorkload `json:"workloads,omitempty"`
	Objects   []StackObject   `json:"objects,omitempty"`
}

// StackRelease is a Helm release.
type StackRelease struct {
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Chart        string `json:"chart"`
	ChartVersion string `json:"chart_version"`
	AppVersion   string `json:"app_version,omitempty"`
	Status       string `json:"status"`
	Revision     int    `json:"revision"`
}

// StackWorkload is a Deployment, DaemonSet or StatefulSet.
type StackWorkload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Ready     int32  `json:"ready_pods"`
	Desired   int32  `json:"desired_pods"`
	Done      bool   `json:"done"`
	Reason    string `json:"reason,omitempty"`
}

// StackObject is one object and what happens to it.
type StackObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    string `json:"action"`
	Note      string `json:"note,omitempty"`
	Diff      string `json:"diff,omitempty"`
}

// The states of a check.
const (
	CheckOK      = "ok"
	CheckFailed  = "failed"
	CheckPending = "pending" // not so yet; waiting may help
	CheckUnknown = "unknown" // could not be found out
	CheckSkipped = "skipped" // does not apply here
)

// StackCheck is one thing that has to be true of a working stack.
type StackCheck struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}
