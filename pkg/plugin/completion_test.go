package plugin

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestChoicesIn(t *testing.T) {
	for _, c := range []struct {
		usage, want string
		files       bool
	}{
		{"text, json or yaml", "text json yaml", false},
		{"endpoint: infer, generate or generate-stream (HTTP)", "infer generate generate-stream", false},
		{"tunnel through the API server: spdy or websocket", "spdy websocket", false},
		{"who runs it: auto, generic, gke, eks or aks (default auto)", "auto generic gke eks aks", false},
		{"random, zero, or a JSON file in perf_analyzer's format", "random zero", true},
		{"requests per second, open loop (instead of --concurrency)", "", false},
		{"local port, 0 for any free one (default the target's usual one, or the next free one)", "", false},
		{"take the charts from this repository, http(s):// or oci://, instead of their own", "", false},
		{"", "", false},
	} {
		choices, files := choicesIn(c.usage)
		if got := strings.Join(choices, " "); got != c.want || files != c.files {
			t.Errorf("%q: %q, %v, want %q, %v", c.usage, got, files, c.want, c.files)
		}
	}
}

// everyCommand calls do for all commands of the plugin.
func everyCommand(do func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		do(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	addCompletions(root)
	walk(root)
}

// TestChoices holds which flags of all commands have choices, and that their
// defaults are among them, so that a description that reads otherwise shows.
func TestChoices(t *testing.T) {
	var lines []string
	everyCommand(func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			choices, _ := choicesIn(f.Usage)
			if len(choices) == 0 {
				return
			}
			lines = append(lines, fmt.Sprintf("%s --%s: %s", cmd.CommandPath(), f.Name, strings.Join(choices, " ")))
			if !slices.Contains(choices, f.DefValue) {
				t.Errorf("%s --%s is %q by default, none of %q", cmd.CommandPath(), f.Name, f.DefValue, choices)
			}
		})
	})
	slices.Sort(lines)
	golden(t, "choices.txt", []byte(strings.Join(lines, "\n")+"\n"))
}

// TestArgumentsComplete: every command with arguments says what they can be, or
// they are files.
func TestArgumentsComplete(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		_, arguments, _ := strings.Cut(cmd.Use, " ")
		if arguments != "" && !strings.HasPrefix(strings.TrimPrefix(arguments, "["), "FILE") && cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
			t.Errorf("the arguments %s of %s are not completed", arguments, cmd.CommandPath())
		}
	})
}

func TestShim(t *testing.T) {
	for goos, want := range map[string]string{"linux": "#!/bin/sh\n", "darwin": "exec kubectl-triton __complete \"$@\"\n", "windows": "@kubectl-triton __complete %*\r\n"} {
		var b bytes.Buffer
		if err := writeShim(&b, goos); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v, %q is not in %q", goos, err, want, b.String())
		}
	}
}

// TestUsage: every command's help has its flags in groups, in 80 columns but for
// examples, and none is left out.
func TestUsage(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		var b bytes.Buffer
		cmd.SetOut(&b)
		if err := writeUsage(cmd); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		before, connection, _ := strings.Cut(text, "\nKubernetes connection:\n")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Hidden:
			case f.Name == "kubeconfig" || f.Name == "token":
				if strings.Contains(before, "--"+f.Name+" ") || !strings.Contains(connection, "--"+f.Name) {
					t.Errorf("%s: --%s is in the wrong group", cmd.CommandPath(), f.Name)
				}
			case !strings.Contains(text, "--"+f.Name):
				t.Errorf("%s: --%s is missing", cmd.CommandPath(), f.Name)
			}
		})
		_, flags, _ := strings.Cut(text, "\nFlags:\n")
		for line := range strings.Lines(cmd.Long + "\n" + flags) {
			if len([]rune(strings.TrimSpace(line))) > 80 && !strings.Contains(line, "Use \"") {
				t.Errorf("%s: wider than 80 columns: %q", cmd.CommandPath(), line)
			}
		}
	})
}
