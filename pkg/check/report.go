package check

import "time"

// Schema names the layout of Report. A field may be added under the same name;
// one that changes its meaning or goes away makes a new one.
const Schema = "kubectl-triton/check/v1"

// State is how a checker ended.
type State string

const (
	StateOK      State = "ok"
	StateWarning State = "warning"
	StateFailed  State = "failed"
	StateSkipped State = "skipped"
)

// Report is what a run found.
type Report struct {
	Schema      string    `json:"schema"`
	ToolVersion string    `json:"tool_version,omitempty"`
	Time        time.Time `json:"time"` // of the start
	Context     string    `json:"context,omitempty"`
	TookSeconds float64   `json:"took_seconds"`
	// Success says that no checker failed; warnings don't count.
	Success bool `json:"success"`
	// Interrupted says that the run was ended before all had been asked.
	Interrupted bool             `json:"interrupted,omitempty"`
	Counts      Counts           `json:"counts"`
	Categories  []CategoryResult `json:"categories"`
}

// Counts are numbers of checkers by state.
type Counts struct {
	OK       int `json:"ok"`
	Warnings int `json:"warnings"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// CategoryResult is a category's part.
type CategoryResult struct {
	Name   string   `json:"category"`
	Checks []Result `json:"checks"`
}

// Result is one checker's part.
type Result struct {
	ID          string    `json:"id"`
	Description string    `json:"description"`
	State       State     `json:"state"`
	Detail      string    `json:"detail,omitempty"`
	SkipReason  string    `json:"skip_reason,omitempty"`
	Findings    []Finding `json:"findings,omitempty"`
	TookSeconds float64   `json:"took_seconds"`
	Attempts    int       `json:"attempts,omitempty"`
	// Transient and Unknown are those of the last Outcome.
	Transient bool `json:"transient,omitempty"`
	Unknown   bool `json:"unknown,omitempty"`
}

// Settled says that waiting will change nothing.
func (r Result) Settled() bool { return !r.Transient }

func (r *Report) count() {
	r.Counts = Counts{}
	for _, c := range r.Categories {
		for _, k := range c.Checks {
			switch k.State {
			case StateOK:
				r.Counts.OK++
			case StateWarning:
				r.Counts.Warnings++
			case StateFailed:
				r.Counts.Failed++
			case StateSkipped:
				r.Counts.Skipped++
			}
		}
	}
	r.Success = r.Counts.Failed == 0 && !r.Interrupted
}
