package check

import "context"

// Severity says what a checker's failure means for the whole.
type Severity string

const (
	Fatal   Severity = "fatal"   // something does not work: the run fails
	Warning Severity = "warning" // it works, but not as well as it could
)

// Category is a group of checkers with a heading.
type Category struct {
	Name     string
	Checkers []Checker
}

// Checker is one question.
type Checker struct {
	// ID names the checker for programs and is the anchor of its section in the
	// documentation: lower case with hyphens, unique in a run.
	ID string
	// Description says what is so when all is well: "Triton's pods are ready".
	Description string
	// Severity is of findings that name none; empty is Fatal.
	Severity Severity
	// Hint is the command to run where a finding names none; may be empty.
	Hint string
	// Needs are the IDs of checkers that stand before this one, whose failure
	// makes this one pointless: it is then skipped. One that ended with a warning is
	// good enough.
	Needs []string
	// Check asks. It should return soon after ctx ends; one that doesn't is left
	// behind.
	Check func(ctx context.Context) Outcome
}

// Finding is one thing that is wrong.
type Finding struct {
	What    string   `json:"what"`              // what is wrong, and where
	Why     string   `json:"why,omitempty"`     // the cause, known or likely
	Command string   `json:"command,omitempty"` // what mends it or shows more
	Level   Severity `json:"severity"`          // empty in an Outcome: the checker's
}

// Outcome is a checker's answer; the zero value means that all is well.
type Outcome struct {
	// Detail is a few words of what was found when all is well: "3 of 3".
	Detail   string
	Findings []Finding
	// Skipped is why the question does not apply here.
	Skipped string
	// Transient says that the findings may pass by waiting.
	Transient bool
	// Unknown says that the answer could not be had; the findings say why.
	Unknown bool
}

// OK is the outcome of a checker that has nothing to complain of.
func OK(detail string) Outcome { return Outcome{Detail: detail} }

// Skip is the outcome of a question that does not apply.
func Skip(reason string) Outcome { return Outcome{Skipped: reason} }

// Wrong is an outcome with findings.
func Wrong(findings ...Finding) Outcome { return Outcome{Findings: findings} }

// Pending is a finding that may pass by waiting.
func Pending(what, why, command string) Outcome {
	return Outcome{Findings: []Finding{{What: what, Why: why, Command: command}}, Transient: true}
}

// Unknown is the outcome of a question whose answer could not be had.
func Unknown(err error) Outcome {
	return Outcome{Findings: []Finding{{What: err.Error()}}, Unknown: true}
}
