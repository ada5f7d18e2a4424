package plugin

import (
	"regexp"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestNoSecretOnTheCommandLine: command lines can be read by everybody on the
// machine, so that no flag of ours takes a secret. kubectl's own --token stays.
func TestNoSecretOnTheCommandLine(t *testing.T) {
	telling := regexp.MustCompile(`(?i)pass|secret|token|credential|login|api-?key|auth`)
	harmless := map[string]string{
		"token":                 "kubectl's own",
		"certificate-authority": "kubectl's own, a file",
		"grafana-token-file":    "a file",
		"show-password":         "takes nothing",
	}
	seen := map[string]bool{}
	walk(NewCommand(genericiooptions.NewTestIOStreamsDiscard()), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !telling.MatchString(f.Name) {
				return
			}
			seen[f.Name] = true
			if harmless[f.Name] == "" {
				t.Errorf("%s --%s may take a secret: let it name a file instead", c.CommandPath(), f.Name)
			}
			if f.Name == "show-password" && f.Value.Type() != "bool" {
				t.Errorf("%s --%s takes a value", c.CommandPath(), f.Name)
			}
		})
	})
	for name, why := range harmless {
		if !seen[name] {
			t.Errorf("there is no flag --%s any more (%s)", name, why)
		}
	}
}
