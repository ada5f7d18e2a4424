package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// ObserveDownOptions are the flags of "kubectl triton observe down".
type ObserveDownOptions struct {
	StackOptions

	DryRun  bool
	Purge   bool
	Yes     bool
	Timeout time.Duration
	Output  string
}

// NewObserveDownOptions returns the defaults.
func NewObserveDownOptions(streams genericiooptions.IOStreams) *ObserveDownOptions {
	return &ObserveDownOptions{StackOptions: NewStackOptions(streams), Timeout: 5 * time.Minute, Output: "text"}
}

func newObserveDownCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewObserveDownOptions(streams)
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove what 'observe up' made, and nothing else",
		Long: `Remove what 'observe up' made, and nothing else.

What it reused stays, and so do the CRDs, the volumes with recorded metrics and
the kubelets' Service, which are listed: others may use them. --purge removes
those too, after a question that says what would be lost.

Exit codes: 0 done, also when there was nothing to remove, 1 could not be done
or not all, 2 wrong usage or no confirmation, 124 not done within --timeout, 130
interrupted (the next run goes on from there).`,
		Example: `  # what would go and what would stay
  kubectl triton observe down --dry-run

  # remove the stack
  kubectl triton observe down

  # remove the CRDs and volumes too, without a question
  kubectl triton observe down --purge --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of the stack")
	f.BoolVar(&o.DryRun, "dry-run", o.DryRun, "say what would be removed and what would stay, and remove nothing")
	f.BoolVar(&o.Purge, "purge", o.Purge, "also delete the CRDs, volume claims and the kubelets' Service, after a question")
	f.BoolVarP(&o.Yes, "yes", "y", o.Yes, "answer the question of --purge with yes, but for what others would lose objects by")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "how long to wait for everything to end")
	f.StringVarP(&o.Output, "output", "o", o.Output, "text, wide, json or yaml")
	o.Config.AddFlags(f)
	return cmd
}

// Validate refuses what can't be meant.
func (o *ObserveDownOptions) Validate() error {
	switch {
	case o.StackNamespace == "":
		return usageErrorf("--stack-namespace must not be empty")
	case o.Timeout <= 0:
		return usageErrorf("--timeout must be above 0")
	}
	return validStackOutput(o.Output)
}

// Run removes the stack and prints what went and what stays.
func (o *ObserveDownOptions) Run(ctx context.Context) error {
	began := time.Now()
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	progress := newStackProgress(o.ErrOut)
	defer progress.done()
	d := &removal{options: o, cluster: c, progress: progress}
	r, err := d.run(bounded)
	err = c.advise(err)
	progress.done()
	switch {
	case err != nil && ctx.Err() != nil:
		return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted; run 'kubectl triton observe down' again to go on")}
	case err != nil && bounded.Err() != nil:
		return &ExitError{Code: ExitTimeout, Err: fmt.Errorf("not done within %s: %w; run it again to go on", o.Timeout, err)}
	case err != nil:
		return err
	}
	r.TookSeconds = time.Since(began).Seconds()
	return printStack(&o.StackOptions, o.Output, r)
}

// removal is one run of "observe down".
type removal struct {
	options  *ObserveDownOptions
	cluster  *cluster
	progress *stackProgress
}

func (d *removal) run(ctx context.Context) (*report.Stack, error) {
	o := d.options
	needed := downPermissions(o.StackNamespace)
	if o.Purge {
		needed = purgePermissions(o.StackNamespace)
	}
	if err := d.cluster.preflight(ctx, o.StackNamespace, needed); err != nil {
		return nil, err
	}
	client, err := o.stackClient(d.cluster)
	if err != nil {
		return nil, err
	}
	plan, err := client.PlanRemoval(ctx, o.StackNamespace)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		r := d.report(plan)
		r.Command = "plan"
		return r, nil
	}
	if o.Purge && !o.Yes {
		if err := d.confirm(ctx, plan); err != nil {
			return nil, err
		}
	}
	if err := d.remove(ctx, client, plan); err != nil {
		return nil, err
	}
	r := d.report(plan)
	if plan.OwnNamespace {
		d.progress.report("namespace", "deleting "+o.StackNamespace+" if nothing else is in it", false, nil)
	}
	left, err := client.RemoveNamespace(ctx, plan)
	if err != nil {
		return nil, err
	}
	if left != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("namespace %s stays: %s is in it", o.StackNamespace, left))
	}
	return r, nil
}

// purged is what --purge deletes: with --yes nothing that others would lose
// objects by, since nobody has read what those are.
func (d *removal) purged(plan *stack.Removal) []stack.Change {
	if !d.options.Purge {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(plan.Kept), func(c stack.Change) bool { return d.options.Yes && c.Lost > 0 })
}

// remover is what of stack.Client changes the cluster.
type remover interface {
	Lock(ctx context.Context, namespace string) (dead bool, release func(), err error)
	Remove(ctx context.Context, r *stack.Removal, report stack.Report) error
	Purge(ctx context.Context, kept []stack.Change) error
}

// remove carries the plan out, and what --purge deletes too, under the lock that
// keeps others away: one who installs meanwhile would lose the CRDs.
func (d *removal) remove(ctx context.Context, client remover, plan *stack.Removal) error {
	purged := d.purged(plan)
	if plan.Empty() && len(purged) == 0 {
		return nil
	}
	if !plan.NamespaceMissing {
		_, release, err := client.Lock(ctx, plan.Namespace)
		if err != nil {
			return err
		}
		defer release()
	}
	if !plan.Empty() {
		if err := client.Remove(ctx, plan, d.progress.report); err != nil {
			return err
		}
	}
	return client.Purge(ctx, purged)
}

// confirm asks before anything is purged that others may lose.
func (d *removal) confirm(ctx context.Context, plan *stack.Removal) error {
	o := d.options
	if !interactive(o.IOStreams) {
		return usageErrorf("--purge needs a confirmation: run it on a terminal, or add --yes")
	}
	fmt.Fprintln(o.ErrOut, "These would be deleted for everybody in the cluster:")
	for _, k := range plan.Kept {
		fmt.Fprintf(o.ErrOut, "  %s: %s\n", k.Ref, k.Note)
	}
	return confirm(ctx, o.IOStreams, "Delete them?")
}

func (d *removal) report(plan *stack.Removal) *report.Stack {
	o := d.options
	r := &report.Stack{Schema: report.StackSchema, ToolVersion: Version(), Time: time.Now().UTC(), Command: "down",
		Context: d.cluster.context, Namespace: o.StackNamespace, Healthy: true, Changed: !plan.Empty() || len(d.purged(plan)) > 0}
	for _, release := range plan.Releases {
		r.Components = append(r.Components, report.StackComponent{Name: release.Chart, Action: string(stack.Delete), Note: "release " + release.Name, Release: describeRelease(release)})
	}
	for _, release := range plan.Foreign {
		r.Components = append(r.Components, report.StackComponent{Name: release.Chart, Action: string(stack.Keep), Note: "release " + release.Name + ", made by somebody else"})
	}
	if len(plan.Objects) > 0 {
		r.Components = append(r.Components, report.StackComponent{Name: "objects", Action: string(stack.Delete), Note: "monitors, rules and dashboards", Objects: describeChanges(plan.Objects)})
	}
	if len(plan.Kept) > 0 {
		kept := report.StackComponent{Name: "what Helm leaves", Action: string(stack.Keep), Note: "others may use it; --purge deletes it", Objects: describeChanges(plan.Kept)}
		if purged := d.purged(plan); len(purged) > 0 {
			kept.Action, kept.Note = string(stack.Delete), "by --purge"
			for i, change := range plan.Kept {
				if slices.ContainsFunc(purged, func(p stack.Change) bool { return p.Ref == change.Ref }) {
					kept.Objects[i].Action = string(stack.Delete)
					continue
				}
				r.Notes = append(r.Notes, fmt.Sprintf("%s stays: %s; 'observe down --purge' on a terminal, without --yes, asks about it", change.Ref, change.Note))
			}
		}
		r.Components = append(r.Components, kept)
	}
	r.Notes = append(r.Notes, plan.Left...)
	if plan.Empty() {
		note := "'observe up' made nothing in this cluster that is still there"
		if len(plan.Kept) > 0 {
			note += ", but for what is listed"
		}
		r.Notes = append(r.Notes, note)
	}
	return r
}
