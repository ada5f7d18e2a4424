package plugin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const referenceDir = "../../docs/reference"

// TestReference: docs/reference says what the help says. -update writes it.
func TestReference(t *testing.T) {
	pages := map[string][]byte{}
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	walk(root, func(c *cobra.Command) { pages[pageName(c)] = page(c) })
	pages["README.md"] = append(pages["README.md"], index(root)...)
	for name, text := range pages {
		path := filepath.Join(referenceDir, name)
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, text) {
			t.Errorf("%s is not what the help says; write it with 'make docs'", path)
		}
	}
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if pages[f.Name()] == nil {
			t.Errorf("%s/%s is the page of no command; remove it", referenceDir, f.Name())
		}
	}
}

// TestHelp: every command says what it is, what it does and how it is called.
func TestHelp(t *testing.T) {
	walk(NewCommand(genericiooptions.NewTestIOStreamsDiscard()), func(c *cobra.Command) {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Short) > 80 {
			t.Errorf("%s: Short is %q; it is one line of at most 80 characters without a full stop", path, c.Short)
		}
		if !strings.HasPrefix(c.Long, c.Short+".\n\n") {
			t.Errorf("%s: Long begins with the sentence in Short and goes on after an empty line, and is\n%s", path, c.Long)
		}
		if c.HasParent() && (c.Example == "" || !strings.Contains(c.Example, "kubectl triton ")) {
			t.Errorf("%s: there is no example of 'kubectl triton'", path)
		}
		for line := range strings.Lines(c.Long) {
			if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 82 {
				t.Errorf("%s: the line is too long for a terminal: %s", path, line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no description", path, f.Name)
			}
		})
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil || !strings.Contains(help.String(), "kubectl triton") || strings.Contains(c.UseLine(), "kubectl-triton") {
			t.Errorf("%s: %v; the help does not speak of 'kubectl triton':\n%s", path, err, help.String())
		}
	})
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	if !c.Hidden && c.Name() != "help" {
		visit(c)
	}
	for _, sub := range c.Commands() {
		walk(sub, visit)
	}
}

// pageName is observe-up.md for "kubectl triton observe up".
func pageName(c *cobra.Command) string {
	if !c.HasParent() {
		return "README.md"
	}
	return strings.ReplaceAll(strings.TrimPrefix(c.CommandPath(), c.Root().CommandPath()+" "), " ", "-") + ".md"
}

func page(c *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Written by 'make docs' from the help; change the help instead. -->\n\n")
	fmt.Fprintf(&b, "# %s\n\n", c.CommandPath())
	fmt.Fprintf(&b, "%s\n\n", escape(c.Long))
	use := c.UseLine()
	if !c.HasParent() {
		use = c.CommandPath() + " [command]"
	}
	fmt.Fprintf(&b, "```\n%s\n```\n\n", use)
	if c.Example != "" {
		fmt.Fprintf(&b, "## Examples\n\n```sh\n%s\n```\n\n", outdent(c.Example))
	}
	own, connection, others := groupFlags(c.Flags())
	flagTable(&b, "Flags", own)
	if !c.HasParent() {
		return b.Bytes()
	}
	if connection.HasFlags() {
		b.WriteString("## Kubernetes connection\n\n")
		var names []string
		connection.VisitAll(func(f *pflag.Flag) { names = append(names, "`"+flagName(f)+"`") })
		fmt.Fprintf(&b, "As in kubectl, see `kubectl options`: %s", strings.Join(names, ", "))
		for _, name := range others {
			b.WriteString(", `" + name + "`")
		}
		b.WriteString(".\n\n")
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("## Commands\n\n")
		for _, sub := range c.Commands() {
			fmt.Fprintf(&b, "- [%s](%s): %s\n", sub.CommandPath(), pageName(sub), escape(sub.Short))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Up: [%s](%s)\n", c.Parent().CommandPath(), pageName(c.Parent()))
	return b.Bytes()
}

// index lists all commands.
func index(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString("## Commands\n\n| command | what it does |\n|---|---|\n")
	walk(root, func(c *cobra.Command) {
		if c.HasParent() {
			fmt.Fprintf(&b, "| [%s](%s) | %s |\n", c.CommandPath(), pageName(c), escape(c.Short))
		}
	})
	return b.Bytes()
}

func flagTable(b *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, "## %s\n\n| flag | default | |\n|---|---|---|\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		value := f.DefValue
		switch value {
		case "", "[]", "false":
			value = ""
		default:
			value = "`" + value + "`"
		}
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", flagName(f), value, strings.ReplaceAll(escape(usage), "|", `\|`))
	})
	b.WriteString("\n")
}

// flagName is a flag as it is typed, with the type of its value.
func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if kind, _ := pflag.UnquoteUsage(f); kind != "" {
		name += " " + kind
	}
	return name
}

// escape keeps Markdown from reading flags and names as markup.
func escape(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`).Replace(text)
}

// outdent takes away the two spaces that help has before examples.
func outdent(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}
