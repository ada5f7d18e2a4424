package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// ExitTimeout is the exit code when something did not become true in time.
const ExitTimeout = 124

// ObserveUpOptions are the flags of "kubectl triton observe up".
type ObserveUpOptions struct {
	StackOptions

	DryRun  bool
	Diff    bool
	Wait    bool
	Timeout time.Duration
	Output  string
}

// NewObserveUpOptions returns the defaults.
func NewObserveUpOptions(streams genericiooptions.IOStreams) *ObserveUpOptions {
	return &ObserveUpOptions{StackOptions: NewStackOptions(streams), Wait: true, Timeout: 10 * time.Minute, Output: "text"}
}

func newObserveUpCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewObserveUpOptions(streams)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Install the observability stack for Triton and prove that it works",
		Long: `Install the observability stack for Triton and prove that it works.

kube-prometheus-stack and dcgm-exporter are installed as Helm releases, with
monitors for every Triton in the cluster, three dashboards, recording rules and
alerts beside them. What is there already is used and never doubled: another
Prometheus, the GPU Operator's or a cloud's exporter, CRDs. What Argo CD or Flux
own is not touched.

It is done when Prometheus itself says that the targets are up and have data,
and Grafana that each dashboard loads. Run it again at any time: it changes what
differs and nothing else.

Exit codes: 0 done and proved, 1 could not be done, 2 wrong usage, 124 not
proved within --timeout, 130 interrupted (the next run goes on from there).`,
		Example: `  # what would happen
  kubectl triton observe up --dry-run

  # install, wait and prove
  kubectl triton observe up

  # only what Triton and the GPUs need
  kubectl triton observe up --profile lite

  # from charts in a directory, without a network
  kubectl triton observe pull --chart-dir ./charts
  kubectl triton observe up --chart-dir ./charts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.DryRun, "dry-run", o.DryRun, "say what would be created, changed and reused, and change nothing")
	f.BoolVar(&o.Diff, "diff", o.Diff, "as --dry-run, with the difference of each object")
	f.BoolVar(&o.Wait, "wait", o.Wait, "wait until everything is proved to work")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "how long to wait for everything together")
	f.StringVarP(&o.Output, "output", "o", o.Output, "text, wide, json or yaml")
	return cmd
}

// Validate refuses what can't be meant.
func (o *ObserveUpOptions) Validate() error {
	if o.Timeout <= 0 {
		return usageErrorf("--timeout must be above 0")
	}
	if err := validStackOutput(o.Output); err != nil {
		return err
	}
	return o.validate()
}

func validStackOutput(output string) error {
	if !slices.Contains([]string{"text", "wide", "json", "yaml"}, output) {
		return usageErrorf("--output is %q; it can be text, wide, json or yaml", output)
	}
	return nil
}

// Run installs the stack and prints what came of it.
func (o *ObserveUpOptions) Run(ctx context.Context) error {
	began := time.Now()
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	up := &installation{options: o, cluster: c, progress: newStackProgress(o.ErrOut)}
	defer up.progress.done()
	result, err := up.run(bounded)
	err = c.advise(err)
	up.progress.done()
	if err != nil {
		switch {
		case ctx.Err() != nil:
			return &ExitError{Code: ExitInterrupted, Err: fmt.Errorf("interrupted; run 'kubectl triton observe up' again to go on, or 'kubectl triton observe down' to remove what is there")}
		case bounded.Err() != nil:
			return &ExitError{Code: ExitTimeout, Err: fmt.Errorf("not done within %s: %w; run it again to go on, with a longer --timeout if need be", o.Timeout, err)}
		}
		return err
	}
	result.TookSeconds = time.Since(began).Seconds()
	if err := printStack(&o.StackOptions, o.Output, result); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return &ExitError{Code: ExitInterrupted}
	case result.Command == "up" && o.Wait && !result.Healthy:
		return &ExitError{Code: ExitTimeout, Err: fmt.Errorf("not everything was proved to work within %s; what is missing is said above, and 'kubectl triton observe status' looks again", o.Timeout)}
	}
	return nil
}

func printStack(o *StackOptions, output string, s *report.Stack) error {
	switch output {
	case "json":
		return report.JSON(o.Out, s)
	case "yaml":
		return report.YAML(o.Out, s)
	}
	return report.StackText(o.Out, lipgloss.NewRenderer(o.Out), s, output == "wide")
}

// installation is one run of "observe up".
type installation struct {
	options  *ObserveUpOptions
	cluster  *cluster
	progress *stackProgress
	stack    *stack.Client
	survey   *stackSurvey
	plan     *stack.Plan
}

func (i *installation) run(ctx context.Context) (*report.Stack, error) {
	o := i.options
	dry := o.DryRun || o.Diff
	if err := i.prepare(ctx); err != nil {
		return nil, err
	}
	if dry {
		return i.planned(), nil
	}
	if i.plan.Changed() {
		if err := i.apply(ctx); err != nil {
			return nil, err
		}
	} else {
		i.progress.step("everything is as it should be; nothing to change")
	}
	return i.prove(ctx)
}

// prepare looks at the cluster and makes the plan; it changes nothing.
func (i *installation) prepare(ctx context.Context) (err error) {
	o := i.options
	i.progress.step("looking at the cluster")
	if err := i.cluster.preflight(ctx, o.StackNamespace, upPermissions(o.StackNamespace)); err != nil {
		return err
	}
	if i.survey, err = o.survey(ctx, i.cluster); err != nil {
		return err
	}
	if i.stack, err = o.stackClient(i.cluster); err != nil {
		return err
	}
	i.progress.step("planning")
	if i.plan, err = i.stack.Plan(ctx, o.wish(i.survey)); err != nil {
		return err
	}
	problem, err := i.cluster.podSecurity(ctx, i.plan.Namespace)
	if problem != "" {
		i.plan.Notes = append(i.plan.Notes, problem)
	}
	return err
}

// apply carries the plan out under the lock that keeps others away.
func (i *installation) apply(ctx context.Context) error {
	if err := i.stack.EnsureNamespace(ctx, i.plan); err != nil {
		return i.cluster.explain(err, "create namespace "+i.plan.Namespace)
	}
	dead, release, err := i.stack.Lock(ctx, i.plan.Namespace)
	if err != nil {
		return err
	}
	defer release()
	if dead {
		i.progress.step("an earlier run was killed; going on from there")
	}
	i.plan.TakeOver(dead)
	return i.stack.Apply(ctx, i.plan, i.progress.report)
}

// prove waits until the stack does what it is for, or looks once.
func (i *installation) prove(ctx context.Context) (*report.Stack, error) {
	o := i.options
	dialer, err := portforward.New(portforward.Config{REST: i.cluster.rest, Client: i.cluster.client, Transport: portforward.TransportSPDY})
	if err != nil {
		return nil, err
	}
	defer dialer.Close()
	p := newProver(i.cluster, i.stack, dialer, i.plan)
	r := i.report("up")
	if o.Wait {
		r.Checks = p.await(ctx, i.progress)
	} else {
		r.Checks = p.once(ctx)
	}
	r.Healthy = healthy(r.Checks)
	r.Next = []string{"kubectl triton observe open     # Grafana, at the dashboards", "kubectl triton bench            # a load test, marked there"}
	if !r.Healthy {
		r.Next = []string{"kubectl triton observe status   # looks again"}
	}
	return r, nil
}

func healthy(checks []report.StackCheck) bool {
	return !slices.ContainsFunc(checks, func(c report.StackCheck) bool {
		return c.State != report.CheckOK && c.State != report.CheckSkipped
	})
}

func (i *installation) planned() *report.Stack {
	r := i.report("plan")
	r.Healthy = true
	return r
}

// report is the plan as a result.
func (i *installation) report(command string) *report.Stack {
	r := newStackReport(command, i.cluster, i.plan)
	r.Notes = slices.Concat(i.survey.notes, i.survey.nodeProblems(), r.Notes)
	if !i.options.Diff {
		return r
	}
	components := i.plan.Components()
	described := r.Components[len(r.Components)-len(components):]
	for n, component := range components {
		for k, change := range component.Changes {
			described[n].Objects[k].Diff = change.Diff()
		}
	}
	return r
}

func newStackReport(command string, c *cluster, plan *stack.Plan) *report.Stack {
	r := &report.Stack{Schema: report.StackSchema, ToolVersion: Version(), Time: time.Now().UTC(), Command: command,
		Context: c.context, Namespace: plan.Namespace, Changed: plan.Changed(), Notes: slices.Clone(plan.Notes)}
	if plan.NamespaceMissing {
		r.Components = append(r.Components, report.StackComponent{Name: "namespace", Action: string(stack.Create), Note: plan.Namespace})
	}
	for _, component := range plan.Components() {
		r.Components = append(r.Components, describeComponent(component))
	}
	if plan.Exporter.Release != nil && plan.Placement.Why != "" {
		r.Notes = append(r.Notes, "dcgm-exporter's nodes: "+plan.Placement.Why)
	}
	return r
}

func describeComponent(c *stack.Component) report.StackComponent {
	out := report.StackComponent{Name: c.Name, Action: string(c.Verb), Note: c.Note}
	if c.Release != nil && c.Release.Release != nil {
		out.Release = describeRelease(c.Release.Release)
	}
	out.Objects = describeChanges(c.Changes)
	return out
}

func describeChanges(changes []stack.Change) []report.StackObject {
	var objects []report.StackObject
	for _, change := range changes {
		objects = append(objects, report.StackObject{Kind: change.Kind, Namespace: change.Namespace, Name: change.Name, Action: string(change.Verb), Note: change.Note})
	}
	return objects
}

func describeRelease(r *stack.Release) *report.StackRelease {
	return &report.StackRelease{Name: r.Name, Namespace: r.Namespace, Chart: r.Chart, ChartVersion: r.ChartVersion, AppVersion: r.AppVersion, Status: r.Status, Revision: r.Revision}
}
