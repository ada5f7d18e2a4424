// Package check runs checks and tells what they found: categories one after the
// other, the checkers of a category side by side, each bounded in time, none of
// them able to stop the rest. What is asked and of whom is the caller's business;
// rendering works on the Report alone.
//
// The form follows "linkerd check": a category is a heading, a checker a line
// that says what is so when all is well, and a failure says what is wrong, why,
// and the command that mends it.
package check
