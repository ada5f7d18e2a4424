package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// shownConnection are the connection flags that help explains; it only names the
// others, which are kubectl's own.
func shownConnection() []string {
	return []string{"as", "cluster", "context", "kubeconfig", "namespace", "request-timeout", "user"}
}

// writeUsage prints how a command is used, as kubectl does: examples, the command's
// own flags, and apart from them those that every command has.
func writeUsage(cmd *cobra.Command) error {
	var b strings.Builder
	section := func(title, text string) {
		if text = strings.TrimRight(text, "\n"); text != "" {
			fmt.Fprintf(&b, "\n%s:\n%s\n", title, text)
		}
	}
	var use []string
	if cmd.Runnable() && (cmd.HasParent() || !cmd.HasAvailableSubCommands()) {
		use = append(use, "  "+cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		use = append(use, "  "+cmd.CommandPath()+" [command]")
	}
	b.WriteString("Usage:\n" + strings.Join(use, "\n") + "\n")
	section("Examples", cmd.Example)
	var commands strings.Builder
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(&commands, "  %-*s %s\n", cmd.NamePadding(), c.Name(), c.Short)
		}
	}
	section("Available Commands", commands.String())
	own, connection, trimmed := groupFlags(cmd.Flags())
	section("Flags", own.FlagUsagesWrapped(report.Width))
	section("Kubernetes connection", connection.FlagUsagesWrapped(report.Width))
	if len(trimmed) > 0 {
		b.WriteString("\n")
		for _, l := range report.Fold("As in kubectl (see 'kubectl options'): "+strings.Join(trimmed, ", "), report.Width-2) {
			b.WriteString("  " + l + "\n")
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s [command] --help\" for more information about a command.\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// groupFlags divides a command's flags into its own, those of the connection to
// the API server that are explained, and the names of the others.
func groupFlags(flags *pflag.FlagSet) (own, connection *pflag.FlagSet, trimmed []string) {
	own, connection = pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	kubectl := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(false).AddFlags(kubectl)
	flags.VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Hidden:
		case kubectl.Lookup(f.Name) == nil:
			own.AddFlag(f)
		case slices.Contains(shownConnection(), f.Name):
			connection.AddFlag(f)
		default:
			trimmed = append(trimmed, "--"+f.Name)
		}
	})
	return own, connection, trimmed
}
