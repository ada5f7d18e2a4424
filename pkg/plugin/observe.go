package plugin

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func newObserveCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Make Triton and its GPUs observable: install, look at and remove the stack",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newObserveUpCommand(streams), newObserveStatusCommand(streams), newObserveOpenCommand(streams),
		newObserveDownCommand(streams), newObserveRenderCommand(streams), newObservePullCommand(streams),
	)
	return cmd
}
