package plugin

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func newObserveCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Make Triton and its GPUs observable: install, look at and remove the stack",
		Long: `Make Triton and its GPUs observable: install, look at and remove the stack.

"up" installs Prometheus, Grafana, dcgm-exporter, monitors, dashboards and
alerts, or uses what the cluster has, and proves that it works. It can be run
again at any time. "down" removes what "up" made and nothing else.`,
		Example: `  # install, look at it, and see it in Grafana
  kubectl triton observe up
  kubectl triton observe status
  kubectl triton observe open`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newObserveUpCommand(streams), newObserveStatusCommand(streams), newObserveOpenCommand(streams),
		newObserveDownCommand(streams), newObserveRenderCommand(streams), newObservePullCommand(streams),
	)
	return cmd
}
