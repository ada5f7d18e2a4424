// Package plugin holds the commands of "kubectl triton" and wires the libraries
// under pkg/ together; nothing else does.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exit codes of every command.
const (
	ExitOK          = 0
	ExitCannotRun   = 1
	ExitUsage       = 2
	ExitErrorRate   = 3
	ExitInterrupted = 130
)

// ExitError is an error with the exit code that it stands for. A nil Err means
// that everything has been said already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

func usageErrorf(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Execute runs the plugin with args and returns the exit code of the process.
func Execute(ctx context.Context, streams genericiooptions.IOStreams, args []string) int {
	restore := quietLibraries()
	defer restore()
	root := NewCommand(streams)
	root.SetArgs(args)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		addCompletions(root)
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code := ExitCannotRun
	var exit *ExitError
	if errors.As(err, &exit) {
		code = exit.Code
		err = exit.Err
	} else if ctx.Err() != nil {
		code, err = ExitInterrupted, errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "error: %s\n", strings.TrimSpace(err.Error()))
	}
	return code
}

// NewCommand builds the command tree.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubectl-triton",
		Short: "Load and observe NVIDIA Triton Inference Server on Kubernetes",
		Long: `Load and observe NVIDIA Triton Inference Server on Kubernetes.

"kubectl triton observe up" installs Prometheus, Grafana, dcgm-exporter,
dashboards and alerts, or uses what is there, and proves that Triton and the
GPUs are scraped. "kubectl triton bench" reaches Triton through the API server,
loads one of its models, marks the test in Grafana and prints what happened on
client, server and GPU in one screen.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl triton"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageErrorf("%w; see '%s --help'", err, c.CommandPath())
	})
	cmd.AddCommand(
		newBenchCommand(streams), newObserveCommand(streams), newDashboardsCommand(streams),
		newNodesCommand(streams), newModelsCommand(streams), newCheckCommand(streams),
		newCompletionCommand(streams), newVersionCommand(streams),
	)
	refuseWrongArgs(cmd)
	cmd.SetUsageFunc(writeUsage)
	return cmd
}

// refuseWrongArgs sets usageArgs on cmd and all commands below it.
func refuseWrongArgs(cmd *cobra.Command) {
	cmd.Args = usageArgs(cmd.Args)
	for _, c := range cmd.Commands() {
		refuseWrongArgs(c)
	}
}

// usageArgs gives a wrong number of arguments, and an unknown command, the exit
// code of wrong usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			if wrong := wrongNumber(cmd, len(args)); wrong != "" {
				err = errors.New(wrong)
			}
			return usageErrorf("%w; see '%s --help'", err, cmd.CommandPath())
		}
		return nil
	}
}

// wrongNumber says in the words of the usage line that arguments are missing or
// too many; "" when their number is right or the command takes none.
func wrongNumber(cmd *cobra.Command, given int) string {
	var required, allowed []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		name := strings.Trim(word, "[]…")
		allowed = append(allowed, name)
		if !strings.HasPrefix(word, "[") {
			required = append(required, name)
		}
		if strings.Contains(word, "…") {
			given = min(given, len(allowed))
		}
	}
	switch {
	case given < len(required):
		return fmt.Sprintf("'%s' needs %s", cmd.CommandPath(), required[given])
	case len(allowed) > 0 && given > len(allowed):
		return fmt.Sprintf("'%s' takes one %s, not %d", cmd.CommandPath(), strings.Join(allowed, " and one "), given)
	default:
		return ""
	}
}
