package plugin

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
)

// DashboardsLintOptions are the flags of "kubectl triton dashboards lint".
type DashboardsLintOptions struct {
	genericiooptions.IOStreams
	outputFlag
	Files []string
}

const dashboardLintSchema = "kubectl-triton/dashboards-lint/v1"

type dashboardLint struct {
	Schema   string        `json:"schema"`
	Files    int           `json:"files"`
	Findings []lintFinding `json:"findings"`
}

type lintFinding struct {
	File string `json:"file"`
	dashboard.Finding
}

func newDashboardsLintCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &DashboardsLintOptions{IOStreams: streams}
	cmd := &cobra.Command{
		Use:     "lint FILE…",
		Short:   "Check dashboards against conventions",
		Long:    "Check dashboards against conventions.\n\nThe exit code is 1 if there are findings. No cluster and no Grafana is asked.\n\n" + lintRules(),
		Example: `  kubectl triton dashboards lint my-dashboard.json`,
		Args:    cobra.MinimumNArgs(1),
		RunE:    runDashboards(o.Complete, o.Validate, o.Run),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func lintRules() string {
	text := "Rules:\n"
	for _, r := range dashboard.Rules() {
		text += fmt.Sprintf("  %s\n      %s\n", r.Name, r.Why)
	}
	return text[:len(text)-1]
}

// Complete takes the arguments.
func (o *DashboardsLintOptions) Complete(args []string) { o.Files = args }

// Validate refuses what can't be meant.
func (o *DashboardsLintOptions) Validate() error { return o.validate() }

// Run checks the files and prints the findings.
func (o *DashboardsLintOptions) Run(context.Context) error {
	result := dashboardLint{Schema: dashboardLintSchema, Files: len(o.Files), Findings: []lintFinding{}}
	for _, file := range o.Files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("could not read the dashboard: %w", err)
		}
		d, err := dashboard.Parse(data)
		if err != nil {
			result.Findings = append(result.Findings, lintFinding{file, dashboard.Finding{Rule: "classic-json", Problem: err.Error(), Fix: "export it with 'kubectl triton dashboards export'"}})
			continue
		}
		for _, f := range dashboard.Lint(d) {
			result.Findings = append(result.Findings, lintFinding{file, f})
		}
	}
	err := o.print(o.IOStreams, result, func() error {
		for _, f := range result.Findings {
			if _, err := fmt.Fprintf(o.Out, "%s: %s\n", f.File, f.Finding); err != nil {
				return err
			}
		}
		if len(result.Findings) == 0 {
			_, err := fmt.Fprintf(o.Out, "no findings (%s)\n", countOf(len(o.Files), "file"))
			return err
		}
		return nil
	})
	if err == nil && len(result.Findings) > 0 {
		return &ExitError{Code: ExitCannotRun, Err: fmt.Errorf("%s; 'kubectl triton dashboards lint --help' explains the rules", countOf(len(result.Findings), "finding"))}
	}
	return err
}

func countOf(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
