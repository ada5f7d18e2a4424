package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
)

// NodesLabelOptions are the flags of "kubectl triton nodes label".
type NodesLabelOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	Names  []string // only these nodes; empty for all
	Yes    bool
	DryRun bool

	interactive bool // somebody is there to ask
}

// NewNodesLabelOptions returns the defaults.
func NewNodesLabelOptions(streams genericiooptions.IOStreams) *NodesLabelOptions {
	return &NodesLabelOptions{IOStreams: streams, Config: genericclioptions.NewConfigFlags(true)}
}

func newNodesLabelCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewNodesLabelOptions(streams)
	cmd := &cobra.Command{
		Use:   "label [NODE…]",
		Short: "Give GPU nodes the label that selectors choose them by",
		Long: `Give GPU nodes the label that selectors choose them by.

Nodes that offer GPUs to pods but lack nvidia.com/gpu.present=true, as without
GPU Feature Discovery, are listed with the reason and, after a "yes", labelled.
A label that says otherwise is somebody's decision and stays. Nodes that show
GPUs only by a hardware label get none: what the label attracts could not run.

Where a node pool makes the nodes, set the label there as well; nodes that join
later don't have it.

Exit codes: 0 done, also when there was nothing to do, 1 could not run or not
all were labelled, 2 wrong usage or no confirmation, 130 interrupted.`,
		Example: `  # see what is missing, and have the API server check it
  kubectl triton nodes label --dry-run

  # set it without a question
  kubectl triton nodes label --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Complete(args); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Yes, "yes", "y", o.Yes, "set the labels without asking")
	f.BoolVar(&o.DryRun, "dry-run", o.DryRun, "have the API server check the change, and change nothing")
	o.Config.AddFlags(f)
	return cmd
}

// Complete takes the arguments and finds out whether anybody can be asked.
func (o *NodesLabelOptions) Complete(args []string) error {
	o.Names = args
	o.interactive = interactive(o.IOStreams)
	return nil
}

// Validate refuses what can't be meant.
func (o *NodesLabelOptions) Validate() error {
	if o.Yes && o.DryRun {
		return usageErrorf("--yes and --dry-run exclude each other; choose one")
	}
	return nil
}

// Run proposes the labels and, once confirmed, sets them.
func (o *NodesLabelOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	found, err := c.surveyGPUs(ctx, o.Names)
	if err != nil {
		return err
	}
	return o.apply(ctx, c, found)
}

func (o *NodesLabelOptions) apply(ctx context.Context, c *cluster, found *gpu.Cluster) error {
	var missing []gpu.Label
	for _, l := range found.MissingLabels() {
		switch {
		case len(o.Names) > 0 && !slices.Contains(o.Names, l.Node):
		case l.Present != "":
			fmt.Fprintf(o.ErrOut, "node/%s keeps %s=%s, although %s: somebody set it so\n", l.Node, l.Key, l.Present, l.Why)
		default:
			missing = append(missing, l)
		}
	}
	if len(missing) == 0 {
		n := len(o.Names)
		if n == 0 {
			n = len(found.Nodes)
		}
		fmt.Fprintf(o.ErrOut, "Nothing to do on %s.\n", amount(n, "GPU node"))
		return nil
	}
	for _, l := range missing {
		fmt.Fprintf(o.ErrOut, "node/%s lacks %s=%s: %s\n", l.Node, l.Key, l.Value, l.Why)
	}
	if !o.Yes && !o.DryRun {
		if err := o.confirm(ctx, len(missing)); err != nil {
			return err
		}
	}
	return o.set(ctx, c, missing)
}

// confirm asks, if somebody is there to answer.
func (o *NodesLabelOptions) confirm(ctx context.Context, n int) error {
	if !o.interactive {
		return usageErrorf("nothing was changed: there is no terminal to ask on; confirm with --yes, or look first with --dry-run")
	}
	return confirm(ctx, o.IOStreams, fmt.Sprintf("Label %s?", amount(n, "node")))
}

// set labels the nodes one by one. A node that is gone meanwhile is no failure;
// one that may not be changed means that none may.
func (o *NodesLabelOptions) set(ctx context.Context, c *cluster, missing []gpu.Label) error {
	options := metav1.PatchOptions{FieldManager: "kubectl-triton"}
	suffix := ""
	if o.DryRun {
		options.DryRun, suffix = []string{metav1.DryRunAll}, " (dry run)"
	}
	var failed []string
	for i, l := range missing {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{l.Key: l.Value}}})
		if err != nil {
			return fmt.Errorf("could not encode the label of node %s: %w", l.Node, err)
		}
		_, err = c.client.CoreV1().Nodes().Patch(ctx, l.Node, types.StrategicMergePatchType, patch, options)
		switch {
		case err == nil:
			fmt.Fprintf(o.Out, "node/%s labeled %s=%s%s\n", l.Node, l.Key, l.Value, suffix)
		case ctx.Err() != nil:
			return &ExitError{Code: ExitInterrupted, Err: fmt.Errorf("interrupted after %d of %d nodes; the labels that were set stay, and the command can be repeated", i, len(missing))}
		case apierrors.IsNotFound(err):
			fmt.Fprintf(o.ErrOut, "node/%s is gone\n", l.Node)
		case apierrors.IsForbidden(err):
			return c.explain(err, fmt.Sprintf("label node %s", l.Node))
		default:
			fmt.Fprintf(o.ErrOut, "%v\n", c.explain(err, "label node "+l.Node))
			failed = append(failed, l.Node)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%s of %d could not be labelled (%s); repeat the command", amount(len(failed), "node"), len(missing), strings.Join(failed, ", "))
	}
	return nil
}
