package plugin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// dashboardsTimeout bounds each command that talks to Grafana.
const dashboardsTimeout = time.Minute

func newDashboardsCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dashboards",
		Short: "List, export, import and check Grafana dashboards",
		Long: `List, export, import and check Grafana dashboards.

The plugin ships three: gpu-dashboard, triton-latency and loadtest-annotated.
"observe up" provisions them. To change one, import it under another uid, edit
it in Grafana, and export it into a file that is clean and shows small diffs.`,
		Example: `  # what Grafana has, and what of it differs from what the plugin ships
  kubectl triton dashboards list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDashboardsListCommand(streams), newDashboardsExportCommand(streams), newDashboardsImportCommand(streams), newDashboardsLintCommand(streams))
	return cmd
}

// grafanaFlags say which Grafana is meant and how to log in.
type grafanaFlags struct {
	Config           *genericclioptions.ConfigFlags
	StackNamespace   string
	GrafanaURL       string
	GrafanaTokenFile string
}

func newGrafanaFlags() grafanaFlags {
	return grafanaFlags{Config: genericclioptions.NewConfigFlags(true), StackNamespace: "monitoring"}
}

func (o *grafanaFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Grafana")
	f.StringVar(&o.GrafanaURL, "grafana-url", o.GrafanaURL, "address of a Grafana outside the cluster, instead of the one found in it")
	f.StringVar(&o.GrafanaTokenFile, "grafana-token-file", o.GrafanaTokenFile, "file with a Grafana service account token, instead of the admin Secret")
	o.Config.AddFlags(f)
}

func (o *grafanaFlags) validate() error {
	if o.GrafanaURL != "" && o.GrafanaTokenFile == "" {
		return usageErrorf("--grafana-url needs a login: give a service account token by --grafana-token-file")
	}
	return nil
}

// connect returns a client of Grafana and what ends its tunnel.
func (o *grafanaFlags) connect(ctx context.Context) (*grafana.Client, func(), error) {
	if o.GrafanaURL != "" {
		auth, err := tokenAuth(o.GrafanaTokenFile)
		if err != nil {
			return nil, nil, err
		}
		client, err := grafana.New(o.GrafanaURL, http.DefaultTransport, auth)
		return client, func() {}, err
	}
	c, err := connect(o.Config)
	if err != nil {
		return nil, nil, err
	}
	svc, err := c.findStackService(ctx, o.StackNamespace, grafanaService())
	if err != nil {
		return nil, nil, err
	}
	auth, err := c.grafanaAuth(ctx, svc, o.GrafanaTokenFile)
	if err != nil {
		return nil, nil, err
	}
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client})
	if err != nil {
		return nil, nil, err
	}
	client, err := grafana.New("http://grafana", transport(svc.endpoint(dialer).DialContext), auth)
	if err != nil {
		return nil, nil, errors.Join(err, dialer.Close())
	}
	return client, func() { _ = dialer.Close() }, nil
}

// outputFlag is -o of a command that prints a table or a document.
type outputFlag struct{ format string }

func (o *outputFlag) addFlags(f *pflag.FlagSet) {
	o.format = "table"
	f.StringVarP(&o.format, "output", "o", o.format, "table, json or yaml")
}

func (o *outputFlag) validate() error {
	if known := []string{"table", "json", "yaml"}; !slices.Contains(known, o.format) {
		return usageErrorf("--output is %q; it can be %s", o.format, strings.Join(known, " or "))
	}
	return nil
}

// print writes document as JSON or YAML, or calls table.
func (o *outputFlag) print(streams genericiooptions.IOStreams, document any, table func() error) error {
	switch o.format {
	case "json":
		return report.JSON(streams.Out, document)
	case "yaml":
		return report.YAML(streams.Out, document)
	}
	return table()
}

// run completes, validates and runs options; args are those of the command.
func runDashboards(complete func(args []string), validate func() error, run func(context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		complete(args)
		if err := validate(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), dashboardsTimeout)
		defer cancel()
		return run(ctx)
	}
}
