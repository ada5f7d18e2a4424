package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// modelsFlags say whose models are meant; "models" and its subcommands share
// them.
type modelsFlags struct {
	Config    *genericclioptions.ConfigFlags
	Service   string
	Port      string
	Pod       string
	Transport string
	Timeout   time.Duration
}

func newModelsFlags(timeout time.Duration) modelsFlags {
	return modelsFlags{Config: genericclioptions.NewConfigFlags(true), Transport: string(portforward.TransportSPDY), Timeout: timeout}
}

func (o *modelsFlags) addFlags(f *pflag.FlagSet, timeout string) {
	f.StringVar(&o.Service, "service", o.Service, "Service of the Triton (default triton-infer, else the only one found)")
	f.StringVar(&o.Port, "port", o.Port, "HTTP port of the Service, by name or number (default the one named http or numbered 8000)")
	f.StringVar(&o.Pod, "pod", o.Pod, "this pod only, of those behind the Service")
	f.StringVar(&o.Transport, "transport", o.Transport, "tunnel through the API server: spdy or websocket")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, timeout)
	o.Config.AddFlags(f)
}

func (o *modelsFlags) validate() error {
	if known := []string{string(portforward.TransportSPDY), string(portforward.TransportWebSocket)}; !slices.Contains(known, o.Transport) {
		return usageErrorf("--transport is %q; it can be %s", o.Transport, strings.Join(known, " or "))
	}
	if o.Timeout <= 0 {
		return usageErrorf("--timeout is %s; it must be above 0", o.Timeout)
	}
	return nil
}

// ModelsOptions are the flags of "kubectl triton models".
type ModelsOptions struct {
	genericiooptions.IOStreams
	modelsFlags

	Names  []string // only these models; empty for all
	Output string
}

// NewModelsOptions returns the defaults.
func NewModelsOptions(streams genericiooptions.IOStreams) *ModelsOptions {
	return &ModelsOptions{IOStreams: streams, modelsFlags: newModelsFlags(10 * time.Second), Output: "table"}
}

func newModelsCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := newModelsListCommand(streams)
	cmd.Use = "models [MODEL…]"
	list := newModelsListCommand(streams)
	list.Example = strings.ReplaceAll(list.Example, "kubectl triton models", "kubectl triton models list")
	cmd.AddCommand(list, newModelsLoadCommand(streams), newModelsUnloadCommand(streams))
	return cmd
}

func newModelsListCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewModelsOptions(streams)
	cmd := &cobra.Command{
		Use:   "list [MODEL…]",
		Short: "Show the models of a Triton: state, instances, batching, inputs, outputs",
		Long: `Show the models of a Triton: state, instances, batching, inputs, outputs.

Every running pod behind the Service is asked, ready or not: a Triton whose
model failed to load is not ready, and its models are what one wants to see
then. What is the same on several pods is one line with their number; where they
differ there is a line each. A pod that gives no answer is listed with the
reason.

With names, each model's whole description follows: inputs and outputs, queue
limits, what it has answered since it was loaded. SERVED counts requests.

Exit codes: 0 done, 1 could not run or no pod answered, 2 wrong usage, 130
interrupted.`,
		Example: `  # all models
  kubectl triton models

  # one of them in full
  kubectl triton models resnet50

  # inputs, outputs and queues, one line per model
  kubectl triton models -o wide

  # the models that are not ready, with Triton's reason
  kubectl triton models -o json | jq -r '.models[] | select(.state != "READY") | "\(.name) \(.reason)"'`,
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
	o.addFlags(cmd.Flags(), "longest wait for all answers")
	cmd.Flags().StringVarP(&o.Output, "output", "o", o.Output, "table, wide, json, yaml or name")
	return cmd
}

// Complete takes the arguments.
func (o *ModelsOptions) Complete(args []string) error {
	o.Names = args
	return nil
}

// Validate refuses what can't be meant.
func (o *ModelsOptions) Validate() error {
	if formats := []string{"table", "wide", "json", "yaml", "name"}; !slices.Contains(formats, o.Output) {
		return usageErrorf("--output is %q; it can be %s", o.Output, strings.Join(formats, " or "))
	}
	return o.validate()
}

// Run reads the models of every pod and prints them.
func (o *ModelsOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	n := newNotes(o.IOStreams)
	reading, err := o.read(ctx, c, n)
	if err != nil {
		return err
	}
	r := newModelsReport(reading, o.Names, c.context)
	if err := o.missing(r); err != nil {
		return err
	}
	if err := o.print(r); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.Pods, func(p modelsPod) bool { return p.Problem == "" }) {
		return &ExitError{Code: ExitCannotRun, Err: errors.New("no pod told its models; the reasons are above")}
	}
	return nil
}

// read asks the pods within the time limit.
func (o *modelsFlags) read(ctx context.Context, c *cluster, n *notes) (*modelsReading, error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	reading, err := c.readModels(limited, o, n)
	if ctx.Err() != nil {
		return nil, &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted before the models were read; nothing is shown")}
	}
	return reading, err
}

// missing makes sure that the models asked for by name are there.
func (o *ModelsOptions) missing(r *modelsReport) error {
	for _, name := range o.Names {
		if slices.ContainsFunc(r.Models, func(m modelReport) bool { return m.Name == name }) {
			continue
		}
		if slices.ContainsFunc(r.Pods, func(p modelsPod) bool { return p.Problem == "" }) {
			return fmt.Errorf("no pod behind Service %s in namespace %s has a model %s; list them with 'kubectl triton models -o name'", r.Service, r.Namespace, name)
		}
	}
	return nil
}

// print writes the report in the form that -o asks for.
func (o *ModelsOptions) print(r *modelsReport) error {
	switch o.Output {
	case "json":
		return report.JSON(o.Out, r)
	case "yaml":
		return report.YAML(o.Out, r)
	case "name":
		var b strings.Builder
		for _, name := range r.names() {
			b.WriteString(name + "\n")
		}
		_, err := io.WriteString(o.Out, b.String())
		return err
	default:
		return writeModels(o.Out, lipgloss.NewRenderer(o.Out), r, o.Output == "wide", len(o.Names) > 0)
	}
}
