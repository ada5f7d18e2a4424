package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	// checkPause is between two looks of --wait.
	checkPause = time.Second
	// checkDocs is the page with an anchor for each check.
	checkDocs = "docs/check.md"
)

// CheckOptions are the flags of "kubectl triton check".
type CheckOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	StackNamespace string
	Service        string
	Prometheus     string
	Wait           time.Duration
	Timeout        time.Duration
	Output         string
}

// NewCheckOptions returns the defaults.
func NewCheckOptions(streams genericiooptions.IOStreams) *CheckOptions {
	return &CheckOptions{IOStreams: streams, Config: genericclioptions.NewConfigFlags(true), StackNamespace: defaultStackNamespace, Timeout: 30 * time.Second, Output: "table"}
}

func newCheckCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewCheckOptions(streams)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong from GPU to Grafana, and what mends it",
		Long: `Say what is wrong from GPU to Grafana, and what mends it.

It asks from the API server up to the models: permissions, GPU nodes, exporters,
monitoring, Triton.

Each line is one check: ✓ all is well, ! it works but not as well as it could,
× it does not work, · it could not be asked or does not apply. A failure says
what is wrong, why, and the command that mends it or shows more. It stops only
the checks that depend on it; a check that hangs is cut off.

The cluster is read once, and nothing in it is changed, but for an annotation
that is written to Grafana to see whether that is possible and removed at once.

Exit codes: 0 all is well or works with warnings, 1 a check failed, 2 wrong
usage, 130 interrupted.`,
		Example: `  kubectl triton check

  # only what is wrong
  kubectl triton check -o short

  # after an installation: wait until all is well, at most two minutes
  kubectl triton check --wait 2m

  # one Triton of several, for a CI system
  kubectl triton check -n triton --service triton-infer -o junit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Prometheus, Grafana and dcgm-exporter")
	f.StringVar(&o.Service, "service", o.Service, "Service of the one Triton to look at (default all that are found; --namespace limits the search)")
	f.StringVar(&o.Prometheus, "prometheus", o.Prometheus, "the Prometheus to ask, as namespace/name, where the cluster has several")
	f.DurationVar(&o.Wait, "wait", o.Wait, "look again until no check fails, at most this long")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "longest time for one check")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table, short, json, yaml or junit")
	o.Config.AddFlags(f)
	return cmd
}

// Validate refuses what can't be meant.
func (o *CheckOptions) Validate() error {
	formats := []string{"table", "short", "json", "yaml", "junit"}
	switch {
	case !slices.Contains(formats, o.Output):
		return usageErrorf("--output is %q; it can be %s", o.Output, strings.Join(formats, ", "))
	case o.StackNamespace == "":
		return usageErrorf("--stack-namespace must not be empty")
	case o.Wait < 0:
		return usageErrorf("--wait must be 0 or above")
	case o.Timeout <= 0:
		return usageErrorf("--timeout must be above 0")
	case o.Prometheus != "" && strings.Count(o.Prometheus, "/") != 1:
		return usageErrorf("--prometheus is %q; it must be namespace/name", o.Prometheus)
	}
	return nil
}

// Run looks, once or until nothing fails, and prints what was found.
func (o *CheckOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	notes := newNotes(o.IOStreams)
	text := check.NewText(o.Out, lipgloss.NewRenderer(o.Out), o.Output == "short", checkDocs)
	inText := o.Output == "table" || o.Output == "short"
	began := time.Now()
	var r *check.Report
	for {
		var observer check.Observer
		if inText && o.Wait == 0 {
			observer.Category = text.Category // as it comes
		}
		if r, err = o.look(ctx, c, observer); err != nil {
			return err
		}
		if r.Success || ctx.Err() != nil || time.Since(began)+checkPause >= o.Wait {
			break
		}
		notes.step("not yet: %s", strings.Join(failing(r), "; "))
		select {
		case <-ctx.Done():
		case <-time.After(checkPause):
		}
	}
	r.ToolVersion, r.Context, r.TookSeconds = Version(), c.context, time.Since(began).Seconds()
	if inText && o.Wait > 0 {
		for _, category := range r.Categories {
			text.Category(category)
		}
	}
	if err := o.print(text, r); err != nil {
		return fmt.Errorf("could not write the result: %w", err)
	}
	switch {
	case r.Interrupted:
		return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted before everything was checked")}
	case !r.Success:
		return &ExitError{Code: ExitCannotRun}
	}
	return nil
}

// look reads the cluster and asks everything once.
func (o *CheckOptions) look(ctx context.Context, c *cluster, observer check.Observer) (*check.Report, error) {
	l, err := newLookup(o, c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return check.Run(ctx, l.categories(), check.Options{Timeout: o.Timeout}, observer), nil
}

func failing(r *check.Report) []string {
	var names []string
	for _, c := range r.Categories {
		for _, k := range c.Checks {
			if k.State == check.StateFailed {
				names = append(names, k.ID)
			}
		}
	}
	return names
}

func (o *CheckOptions) print(text *check.Text, r *check.Report) error {
	switch o.Output {
	case "json":
		return report.JSON(o.Out, r)
	case "yaml":
		return report.YAML(o.Out, r)
	case "junit":
		return check.JUnit(o.Out, r)
	}
	return text.Close(r)
}
