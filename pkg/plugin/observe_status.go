package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// ObserveStatusOptions are the flags of "kubectl triton observe status".
type ObserveStatusOptions struct {
	StackOptions

	Wait    bool
	Watch   bool
	Timeout time.Duration
	Output  string
}

// NewObserveStatusOptions returns the defaults.
func NewObserveStatusOptions(streams genericiooptions.IOStreams) *ObserveStatusOptions {
	return &ObserveStatusOptions{StackOptions: NewStackOptions(streams), Timeout: 5 * time.Minute, Output: "table"}
}

func newObserveStatusCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewObserveStatusOptions(streams)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say in one screen whether the observability stack works",
		Long: `Say in one screen whether the observability stack works.

Releases and their workloads, what Prometheus scrapes and why not, which GPU
nodes are covered, which dashboards Grafana has loaded, how long data is kept,
and what in the cluster differs from what was installed.

Exit codes: 0 healthy, 1 not healthy or not found out, 2 wrong usage, 124 not
healthy within --timeout (with --wait), 130 interrupted.`,
		Example: `  kubectl triton observe status

  # wait until it is healthy, at most two minutes
  kubectl triton observe status --wait --timeout 2m

  # for a program
  kubectl triton observe status -o json`,
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
	f.StringVar(&o.Service, "service", o.Service, "Service of the one Triton to look at (default all that are found)")
	f.StringVar(&o.Prometheus, "prometheus", o.Prometheus, "the Prometheus to look at, as namespace/name, where the cluster has several")
	f.BoolVar(&o.Wait, "wait", o.Wait, "wait until it is healthy")
	f.BoolVarP(&o.Watch, "watch", "w", o.Watch, "look again every few seconds until interrupted")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "how long --wait waits")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table, wide, json or yaml")
	o.Config.AddFlags(f)
	return cmd
}

// Validate refuses what can't be meant.
func (o *ObserveStatusOptions) Validate() error {
	switch {
	case o.StackNamespace == "":
		return usageErrorf("--stack-namespace must not be empty")
	case o.Timeout <= 0:
		return usageErrorf("--timeout must be above 0")
	case o.Wait && o.Watch:
		return usageErrorf("--wait and --watch exclude each other; choose one")
	case !slices.Contains([]string{"table", "wide", "json", "yaml"}, o.Output):
		return usageErrorf("--output is %q; it can be table, wide, json or yaml", o.Output)
	case o.Prometheus != "" && strings.Count(o.Prometheus, "/") != 1:
		return usageErrorf("--prometheus is %q; it must be namespace/name", o.Prometheus)
	}
	return nil
}

const (
	// statusTimeout bounds one look at everything.
	statusTimeout = time.Minute
	// watchPause is between two looks.
	watchPause = 2 * time.Second
)

// Run looks, once or until it is healthy or interrupted.
func (o *ObserveStatusOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	if o.Watch {
		return o.watch(ctx, c)
	}
	deadline := time.Now().Add(o.Timeout)
	progress := newStackProgress(o.ErrOut)
	defer progress.done()
	for {
		r, err := o.look(ctx, c)
		switch {
		case ctx.Err() != nil && err != nil:
			return &ExitError{Code: ExitInterrupted, Err: fmt.Errorf("interrupted")}
		case err != nil:
			return err
		}
		if !o.Wait || r.Healthy || time.Now().After(deadline) {
			progress.done()
			return o.conclude(r)
		}
		for _, check := range r.Checks {
			progress.report(check.Name, check.Detail, check.State == report.CheckOK || check.State == report.CheckSkipped, nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// conclude prints the last look and says whether it found all well.
func (o *ObserveStatusOptions) conclude(r *report.Stack) error {
	if err := printStack(&o.StackOptions, o.Output, r); err != nil {
		return err
	}
	switch {
	case r.Healthy:
		return nil
	case o.Wait:
		return &ExitError{Code: ExitTimeout, Err: fmt.Errorf("not healthy within %s", o.Timeout)}
	}
	return &ExitError{Code: ExitCannotRun}
}

// look asks everything once.
func (o *ObserveStatusOptions) look(ctx context.Context, c *cluster) (*report.Stack, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := c.checkVersion(ctx); err != nil {
		return nil, err
	}
	survey, err := o.survey(ctx, c)
	if err != nil {
		return nil, err
	}
	client, err := o.stackClient(c)
	if err != nil {
		return nil, err
	}
	wish := o.wish(survey)
	wish.AsInstalled = true
	plan, err := client.Plan(ctx, wish)
	if err != nil {
		return nil, c.advise(err)
	}
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client, Transport: portforward.TransportSPDY})
	if err != nil {
		return nil, err
	}
	defer dialer.Close()
	p := newProver(c, client, dialer, plan)
	r := newStackReport("status", c, plan)
	r.Notes = append(slices.Clone(survey.notes), r.Notes...)
	r.Checks = p.once(ctx)
	r.Checks = append(r.Checks, drift(plan), coverage(survey.gpus))
	if storage := p.storage(ctx); storage.Name != "" {
		r.Checks = append(r.Checks, storage)
	}
	for _, problem := range survey.gpus.Problems() {
		if problem.Severity != gpu.SeverityNote {
			r.Notes = append(r.Notes, problemSentence(problem))
		}
	}
	o.addWorkloads(ctx, p, r)
	r.Healthy = healthy(r.Checks)
	if !r.Healthy {
		r.Next = []string{"kubectl triton observe up       # mends what it can"}
	}
	return r, nil
}

func (o *ObserveStatusOptions) addWorkloads(ctx context.Context, p *prover, r *report.Stack) {
	all, err := p.ownWorkloads(ctx)
	if err != nil {
		return // the check of the workloads says why
	}
	for _, w := range all {
		name := "kube-prometheus-stack"
		if p.plan.Exporter.Release != nil && w.Name == p.plan.Exporter.Release.Name {
			name = "dcgm-exporter"
		}
		for i := range r.Components {
			if r.Components[i].Name == name {
				r.Components[i].Workloads = append(r.Components[i].Workloads, report.StackWorkload{
					Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, Ready: w.Ready, Desired: w.Desired, Done: w.Done, Reason: w.Reason,
				})
			}
		}
	}
}

// drift says what differs from what was installed.
func drift(plan *stack.Plan) report.StackCheck {
	check := report.StackCheck{Name: "drift", State: report.CheckOK, Detail: "everything is as it was installed"}
	if plan.Stack.Verb == stack.Create && plan.Exporter.Verb != stack.Reuse {
		check.State, check.Detail, check.Fix = report.CheckFailed, "the stack is not installed", "kubectl triton observe up"
		return check
	}
	var differs []string
	total, compared, unknown := 0, 0, ""
	for _, component := range plan.Components() {
		for _, change := range component.Changes {
			total++
			switch {
			case change.Changed():
				differs = append(differs, fmt.Sprintf("%s would be %sd", change.Ref, change.Verb))
			case change.Verb == stack.Unknown:
				unknown = change.Note
				continue
			}
			compared++
		}
	}
	if unknown != "" {
		check.State, check.Detail = report.CheckSkipped, fmt.Sprintf("only %d of %d objects could be compared: %s", compared, total, unknown)
	}
	for _, component := range []*stack.Component{&plan.Stack, &plan.Exporter} {
		switch {
		case component.Verb == stack.Create:
			differs = append(differs, component.Name+" is not installed")
		case component.Verb == stack.Update && component.Release != nil && !slices.ContainsFunc(component.Changes, stack.Change.Changed):
			differs = append(differs, component.Name+": "+component.Release.Why)
		}
	}
	if len(differs) > 0 {
		const shown = 5
		text := strings.Join(differs[:min(len(differs), shown)], "; ")
		if more := len(differs) - shown; more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		check.State, check.Detail, check.Fix = report.CheckFailed, text, "kubectl triton observe up --diff"
	}
	return check
}

// coverage says on how many GPU nodes an exporter is ready.
func coverage(gpus *gpu.Cluster) report.StackCheck {
	check := report.StackCheck{Name: "GPU nodes", State: report.CheckOK}
	if len(gpus.Nodes) == 0 {
		check.State, check.Detail = report.CheckSkipped, "the cluster has no GPU node now"
		return check
	}
	covered := 0
	var by []string
	for i := range gpus.Exporters {
		covered = max(covered, gpus.Exporters[i].Covered)
		by = append(by, gpus.Exporters[i].String())
	}
	check.Detail = fmt.Sprintf("%d of %d covered", covered, len(gpus.Nodes))
	if len(by) > 0 {
		check.Detail += " by " + strings.Join(by, ", ")
	}
	if covered < len(gpus.Nodes) {
		check.State, check.Fix = report.CheckFailed, "kubectl triton nodes"
	}
	return check
}

// storage says how long Prometheus keeps data, and how much there is.
func (p *prover) storage(ctx context.Context) report.StackCheck {
	check := report.StackCheck{Name: "storage", State: report.CheckOK}
	prometheus, err := p.monitoring.prometheusAPI(ctx)
	if err != nil {
		return report.StackCheck{}
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	s, err := prometheus.Storage(ctx)
	if err != nil {
		check.State, check.Detail = report.CheckUnknown, err.Error()
		return check
	}
	check.Detail = fmt.Sprintf("kept for %s; %s series", s.Retention, report.Count(uint64(s.Series)))
	if s.Bytes > 0 {
		check.Detail += ", " + report.Bytes(s.Bytes) + " on disk"
	}
	if volume := p.plan.Prometheus.Storage; volume != "" {
		check.Detail += " of a volume of " + volume
	} else {
		check.Detail += "; lost with the pod (no volume)"
	}
	return check
}
