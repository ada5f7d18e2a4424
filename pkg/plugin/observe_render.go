package plugin

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// ObserveRenderOptions are the flags of "kubectl triton observe render".
type ObserveRenderOptions struct {
	StackOptions
	Output string
}

func newObserveRenderCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &ObserveRenderOptions{StackOptions: NewStackOptions(streams), Output: "manifests"}
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the manifests of the stack, or the charts' values, for GitOps",
		Long: `Print the manifests of the stack, or the charts' values, for GitOps.

The manifests are those that 'observe up' would apply to this cluster with the
same flags, CRDs first. A Secret with a drawn password is left out: your own
tools have to make it. With -o values it prints the merged values instead, a
document for each chart, to be given to Argo CD or Flux.`,
		Example: `  # everything as manifests
  kubectl triton observe render > stack.yaml

  # the values for a HelmRelease
  kubectl triton observe render -o values`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Output != "manifests" && o.Output != "values" {
				return usageErrorf("--output is %q; it can be manifests or values", o.Output)
			}
			if err := o.validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", o.Output, "manifests or values")
	return cmd
}

// renderTimeout bounds the reading of cluster and charts.
const renderTimeout = 2 * time.Minute

// Run prints the documents.
func (o *ObserveRenderOptions) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	if err := c.checkVersion(ctx); err != nil {
		return err
	}
	survey, err := o.survey(ctx, c)
	if err != nil {
		return err
	}
	for _, note := range survey.notes {
		fmt.Fprintln(o.ErrOut, "note: "+note)
	}
	client, err := o.stackClient(c)
	if err != nil {
		return err
	}
	plan, err := client.Plan(ctx, o.wish(survey))
	if err != nil {
		return c.advise(err)
	}
	if o.Output == "values" {
		return o.printValues(plan)
	}
	return o.printManifests(plan)
}

func (o *ObserveRenderOptions) printValues(plan *stack.Plan) error {
	for _, component := range []*stack.Component{&plan.Stack, &plan.Exporter} {
		if component.Release == nil {
			fmt.Fprintf(o.Out, "---\n# %s: %s, %s\n", component.Name, component.Verb, component.Note)
			continue
		}
		text, err := yaml.Marshal(component.Release.Values)
		if err != nil {
			return fmt.Errorf("the values of %s can't be written: %w", component.Name, err)
		}
		if _, err := fmt.Fprintf(o.Out, "---\n# chart %s, release %s, namespace %s\n%s", component.Release.Package.Chart, component.Release.Name, plan.Namespace, text); err != nil {
			return err
		}
	}
	return nil
}

func (o *ObserveRenderOptions) printManifests(plan *stack.Plan) error {
	for _, object := range plan.Manifests() {
		if drawn(object) {
			fmt.Fprintf(o.ErrOut, "left out: Secret %s/%s holds a drawn password; make it yourself with the keys admin-user and admin-password\n", object.GetNamespace(), object.GetName())
			continue
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return fmt.Errorf("the manifest of %s %s can't be written: %w", object.GetKind(), object.GetName(), err)
		}
		if _, err := fmt.Fprintf(o.Out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

// drawn says whether a Secret holds Grafana's login.
func drawn(o *unstructured.Unstructured) bool {
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	_, login := data["admin-password"]
	return o.GetKind() == "Secret" && login
}

// ObservePullOptions are the flags of "kubectl triton observe pull".
type ObservePullOptions struct {
	genericiooptions.IOStreams
	ChartDir, ChartRepo string
}

func newObservePullCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &ObservePullOptions{IOStreams: streams, ChartDir: "charts"}
	cmd := &cobra.Command{
		Use:   "pull",
		Short: "Fetch the stack's charts into a directory, for clusters without a network",
		Long: `Fetch the stack's charts into a directory, for clusters without a network.

The packages are those of the versions that this plugin is tested with, checked
against the digests of their repositories. 'observe up --chart-dir' then asks no
repository at all.`,
		Example: `  kubectl triton observe pull --chart-dir ./charts`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.ChartDir == "" {
				return usageErrorf("--chart-dir must not be empty")
			}
			return o.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.ChartDir, "chart-dir", o.ChartDir, "where to put the packages; made if it isn't there")
	cmd.Flags().StringVar(&o.ChartRepo, "chart-repo", o.ChartRepo, "take the charts from this repository, http(s):// or oci://, instead of their own (default $"+chartRepoVariable+")")
	return cmd
}

// Run fetches the packages and prints where each lies.
func (o *ObservePullOptions) Run(ctx context.Context) error {
	if err := os.MkdirAll(o.ChartDir, 0o755); err != nil {
		return fmt.Errorf("could not make the directory %s: %w", o.ChartDir, err)
	}
	source := stack.Source{Mirror: chartMirror(o.ChartRepo)}
	charts := []stack.Chart{stack.PrometheusStackChart(), stack.DCGMExporterChart()}
	paths := make([]string, 0, len(charts))
	for _, chart := range charts {
		path, err := source.Pull(ctx, chart, o.ChartDir)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		fmt.Fprintln(o.Out, path)
	}
	return nil
}
