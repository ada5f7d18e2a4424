package plugin

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
)

// DashboardsExportOptions are the flags of "kubectl triton dashboards export".
type DashboardsExportOptions struct {
	genericiooptions.IOStreams
	grafanaFlags
	UID  string
	File string
}

func newDashboardsExportCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &DashboardsExportOptions{IOStreams: streams, grafanaFlags: newGrafanaFlags()}
	cmd := &cobra.Command{
		Use:   "export UID",
		Short: "Write a dashboard of Grafana as a clean file",
		Long: `Write a dashboard of Grafana as a clean file.

Left out are ids, versions and chosen values; data sources become the variable
$datasource; keys are sorted. Exporting what has not changed gives the same
bytes.`,
		Example: `  # what somebody has edited in Grafana, back into the repository
  kubectl triton dashboards export triton-latency-mine -f dashboards/mine.json`,
		Args: cobra.ExactArgs(1),
		RunE: runDashboards(o.Complete, o.Validate, o.Run),
	}
	cmd.Flags().StringVarP(&o.File, "file", "f", o.File, "file to write; the standard output by default")
	o.addFlags(cmd.Flags())
	return cmd
}

// Complete takes the arguments.
func (o *DashboardsExportOptions) Complete(args []string) { o.UID = args[0] }

// Validate refuses what can't be meant.
func (o *DashboardsExportOptions) Validate() error {
	if o.UID == "" {
		return usageErrorf("the uid of the dashboard is empty; 'kubectl triton dashboards list' shows those that there are")
	}
	return o.validate()
}

// Run reads the dashboard and writes the file.
func (o *DashboardsExportOptions) Run(ctx context.Context) error {
	client, done, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	there, err := client.DashboardByUID(ctx, o.UID)
	if isNotFound(err) {
		return fmt.Errorf("there is no dashboard with the uid %q in Grafana; 'kubectl triton dashboards list' shows those that there are", o.UID)
	}
	if err != nil {
		return err
	}
	clean, err := dashboard.Clean(there.Model)
	if err != nil {
		return fmt.Errorf("could not export the dashboard %q: %w", o.UID, err)
	}
	if o.File == "" || o.File == "-" {
		_, err = o.Out.Write(clean)
		return err
	}
	if err := os.WriteFile(o.File, clean, 0o600); err != nil {
		return fmt.Errorf("could not write the dashboard: %w", err)
	}
	_, err = fmt.Fprintf(o.ErrOut, "exported %s (%s) to %s\n", there.UID, there.Title, o.File)
	return err
}
