package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
)

// NodesOptions are the flags of "kubectl triton nodes".
type NodesOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	Names          []string // only these nodes; empty for all
	StackNamespace string
	PrometheusURL  string
	NoPrometheus   bool
	Output         string
}

// NewNodesOptions returns the defaults.
func NewNodesOptions(streams genericiooptions.IOStreams) *NodesOptions {
	return &NodesOptions{
		IOStreams:      streams,
		Config:         genericclioptions.NewConfigFlags(true),
		StackNamespace: "monitoring",
		Output:         "table",
	}
}

func newNodesCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewNodesOptions(streams)
	cmd := &cobra.Command{
		Use:   "nodes [NODE…]",
		Short: "Show the GPU nodes: what they have, who holds it, what is wrong",
		Long: `Show the GPU nodes: what they have, who holds it, what is wrong.

A node counts as a GPU node by any evidence: what its device plugin offers,
slices of NVIDIA's DRA driver, labels of GPU and Node Feature Discovery, or
labels of GKE, AKS, EKS and Karpenter. GPUS is what pods can be given now of
what there is when all is well; HELD is what pods hold. The utilisation is the
mean of the last two minutes, when Prometheus has it.

Below the table stand the taints, the pods that hold GPUs, the exporters, where
dcgm-exporter would be placed, and each problem with its likely cause and the
command that mends or shows it.

Exit codes: 0 done, 1 could not run, 2 wrong usage, 130 interrupted.`,
		Example: `  # all GPU nodes
  kubectl triton nodes

  # everything that is known, one line per node
  kubectl triton nodes -o wide

  # the nodes that offer fewer GPUs than they have
  kubectl triton nodes -o json | jq -r '.nodes[] | select(.gpus_allocatable < .gpus_capacity) | .name'`,
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
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Prometheus")
	f.StringVar(&o.PrometheusURL, "prometheus-url", o.PrometheusURL, "address of a Prometheus outside the cluster, instead of the one found in it")
	f.BoolVar(&o.NoPrometheus, "no-prometheus", o.NoPrometheus, "don't ask Prometheus for the utilisation")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table, wide, json, yaml or name")
	o.Config.AddFlags(f)
	cmd.AddCommand(newNodesLabelCommand(streams))
	return cmd
}

// Complete takes the arguments.
func (o *NodesOptions) Complete(args []string) error {
	o.Names = args
	return nil
}

// Validate refuses what can't be meant.
func (o *NodesOptions) Validate() error {
	if formats := []string{"table", "wide", "json", "yaml", "name"}; !slices.Contains(formats, o.Output) {
		return usageErrorf("--output is %q; it can be %s", o.Output, strings.Join(formats, " or "))
	}
	if o.NoPrometheus && o.PrometheusURL != "" {
		return usageErrorf("--no-prometheus and --prometheus-url exclude each other; choose one")
	}
	return nil
}

// Run reads the cluster and prints what it found.
func (o *NodesOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	n := newNotes(o.IOStreams)
	n.step("Reading the nodes of %s", c.rest.Host)
	var pods []corev1.Pod // of the stack, among them Prometheus's
	found, err := c.surveyGPUs(ctx, o.Names, func(p *corev1.Pod) {
		if p.Namespace == o.StackNamespace && concerns(p) {
			pods = append(pods, slim(p))
		}
	})
	if err != nil {
		return err
	}
	r := newNodesReport(found, o.Names, c.context)
	if o.Output != "name" {
		if !o.NoPrometheus && len(r.Nodes) > 0 {
			n.step("Asking Prometheus for the utilisation")
		}
		o.addUtilization(ctx, c, r, pods)
	}
	if ctx.Err() != nil {
		return errNodesInterrupted()
	}
	return o.print(r)
}

func errNodesInterrupted() error {
	return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted before the cluster was read; nothing is shown")}
}

// print writes the report in the form that -o asks for.
func (o *NodesOptions) print(r *nodesReport) error {
	switch o.Output {
	case "json":
		return r.writeJSON(o.Out)
	case "yaml":
		return r.writeYAML(o.Out)
	case "name":
		var b strings.Builder
		for _, n := range r.Nodes {
			fmt.Fprintf(&b, "node/%s\n", n.Name)
		}
		_, err := io.WriteString(o.Out, b.String())
		return err
	default:
		return writeNodes(o.Out, lipgloss.NewRenderer(o.Out), r, o.Output == "wide")
	}
}

// surveyGPUs reads the GPU nodes, and makes sure that those asked for by name
// are among them.
func (c *cluster) surveyGPUs(ctx context.Context, names []string, also ...func(*corev1.Pod)) (*gpu.Cluster, error) {
	client, err := c.compactClient()
	if err != nil {
		return nil, explainConfig(err)
	}
	found, err := gpu.Survey(ctx, client, also...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errNodesInterrupted()
		}
		return nil, c.explain(err, "read the GPU nodes")
	}
	for _, d := range found.Denied {
		if d.Kind == gpu.KindNode {
			return nil, fmt.Errorf("could not list the nodes: the cluster does not allow it: %s; %s", d.Reason, askForRole)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(found.Nodes, func(n gpu.Node) bool { return n.Name == name }) {
			return nil, fmt.Errorf("there is no GPU node %s; list them with 'kubectl triton nodes -o name'", name)
		}
	}
	return found, nil
}

// compactClient speaks protobuf, which spares time and memory when thousands of
// objects are listed.
func (c *cluster) compactClient() (kubernetes.Interface, error) {
	config := rest.CopyConfig(c.rest)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return kubernetes.NewForConfig(config)
}
