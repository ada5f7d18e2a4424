package plugin

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// The completion of "kubectl triton" is an executable beside the plugin that
// kubectl runs with the words of the command line (kubectl's plugin completion).
const (
	shimName    = "kubectl_complete-triton"
	shimUnix    = "#!/bin/sh\n# Completes 'kubectl triton'. kubectl looks for it on PATH by this name:\n# " + shimName + "\nexec kubectl-triton __complete \"$@\"\n"
	shimWindows = "@rem Completes 'kubectl triton'. kubectl looks for it on PATH by this name:\r\n@rem " + shimName + ".cmd\r\n@kubectl-triton __complete %*\r\n"
)

func newCompletionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "completion kubectl|bash|zsh|fish|powershell",
		Short: "Print what shells need to complete the plugin's commands",
		Long: `Print what shells need to complete the plugin's commands.

kubectl completes a plugin by an executable on PATH with the name
` + shimName + `. "completion kubectl" prints it; it works in every
shell that completes kubectl itself. The other forms are for those who run
kubectl-triton directly.

Completed are commands, flags and their values: namespaces, contexts, Services
that lead to Triton, its pods, and models, for which Triton is asked.`,
		Example: `  # once, into a directory on PATH
  kubectl triton completion kubectl > ~/.local/bin/kubectl_complete-triton
  chmod +x ~/.local/bin/kubectl_complete-triton

  # for kubectl-triton without kubectl, in the shell that runs
  source <(kubectl-triton completion bash)`,
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"kubectl", "bash", "zsh", "fish", "powershell"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(streams.Out, true)
			case "zsh":
				return root.GenZshCompletion(streams.Out)
			case "fish":
				return root.GenFishCompletion(streams.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(streams.Out)
			}
			return writeShim(streams.Out, runtime.GOOS)
		},
	}
}

func writeShim(w io.Writer, goos string) error {
	shim := shimUnix
	if goos == "windows" {
		shim = shimWindows
	}
	if _, err := io.WriteString(w, shim); err != nil {
		return fmt.Errorf("could not write the completion: %w", err)
	}
	return nil
}
