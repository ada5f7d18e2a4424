package check

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The JUnit form that CI systems read: testsuites, one testsuite per category.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		ClassName string        `xml:"classname,attr"`
		Name      string        `xml:"name,attr"`
		Time      string        `xml:"time,attr"`
		Failure   *junitMessage `xml:"failure"`
		Skipped   *junitMessage `xml:"skipped"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a report as JUnit XML. A warning is a passed test case that has
// its findings as output.
func JUnit(w io.Writer, r *Report) error {
	seconds := func(s float64) string { return fmt.Sprintf("%.3f", s) }
	out := junitSuites{Name: "kubectl triton check", Time: seconds(r.TookSeconds)}
	for _, c := range r.Categories {
		s := junitSuite{Name: c.Name, Timestamp: r.Time.Format(time.RFC3339)}
		slowest := 0.0
		for _, k := range c.Checks {
			one := junitCase{ClassName: c.Name, Name: k.Description, Time: seconds(k.TookSeconds)}
			slowest = max(slowest, k.TookSeconds) // they run side by side
			var text []string
			for _, f := range k.Findings {
				text = append(text, f.text())
			}
			s.Tests++
			switch k.State {
			case StateFailed:
				s.Failures++
				i := max(0, slices.IndexFunc(k.Findings, func(f Finding) bool { return f.Level == Fatal }))
				one.Failure = &junitMessage{Message: k.Findings[i].What, Text: strings.Join(text, "\n")}
			case StateSkipped:
				s.Skipped++
				one.Skipped = &junitMessage{Message: k.SkipReason}
			case StateWarning:
				one.SystemOut = "warning: " + strings.Join(text, "\n")
			case StateOK:
				one.SystemOut = k.Detail
			}
			s.Cases = append(s.Cases, one)
		}
		s.Time = seconds(slowest)
		out.Tests, out.Failures, out.Skipped = out.Tests+s.Tests, out.Failures+s.Failures, out.Skipped+s.Skipped
		out.Suites = append(out.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("could not write the result as JUnit XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// text is a finding on one line.
func (f Finding) text() string {
	text := f.What
	if f.Why != "" {
		text += "; " + f.Why
	}
	if f.Command != "" {
		text += "; run: " + f.Command
	}
	return text
}
