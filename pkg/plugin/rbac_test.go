package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const rbacDir = "../../docs/rbac"

// TestRBACFiles: docs/rbac holds the permissions that "check" and the commands
// themselves ask for. -update writes the files.
func TestRBACFiles(t *testing.T) {
	written := map[string]bool{}
	for _, g := range grants(DefaultNamespace, defaultStackNamespace) {
		written[g.file+".yaml"] = true
		text := roles(g)
		path := filepath.Join(rbacDir, g.file+".yaml")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("%s is not what permissions.go says; write it with 'make docs'", path)
		}
		for doc := range strings.SplitSeq(text, "---\n") {
			var role rbacv1.ClusterRole // a Role has the same fields
			if err := utilyaml.UnmarshalStrict([]byte(doc), &role); err != nil || len(role.Rules) == 0 {
				t.Errorf("%s: %v, %d rules", path, err, len(role.Rules))
			}
		}
	}
	files, err := os.ReadDir(rbacDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !written[f.Name()] {
			t.Errorf("no command needs %s/%s", rbacDir, f.Name())
		}
	}
}

// TestEveryCommandHasItsGrant: a new command that asks the API server can't be
// forgotten in docs/rbac.
func TestEveryCommandHasItsGrant(t *testing.T) {
	offline := []string{"completion", "observe pull", "dashboards lint"}
	var granted []string
	for _, g := range grants("t", "m") {
		for _, command := range g.command {
			name, _, _ := strings.Cut(command, " --")
			granted = append(granted, name)
		}
	}
	var found []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		// Groups of commands only print their help.
		group := c.HasSubCommands() && !strings.Contains(c.Use, "[")
		if name := strings.TrimPrefix(c.CommandPath(), "kubectl triton "); c.HasParent() && !group {
			found = append(found, name)
			if !slices.Contains(granted, name) && !slices.Contains(offline, name) {
				t.Errorf("'kubectl triton %s' has no grant in permissions.go", name)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(NewCommand(genericiooptions.NewTestIOStreamsDiscard()))
	for _, name := range append(granted, offline...) {
		if !slices.Contains(found, name) {
			t.Errorf("there is no command 'kubectl triton %s'", name)
		}
	}
}

// roles writes a grant as Roles and ClusterRoles, what is needed first.
func roles(g grant) string {
	var b strings.Builder
	for _, part := range []struct {
		suffix      string
		permissions []permission
	}{{"", g.needed}, {"-" + g.name, g.further}} {
		for _, namespace := range namespacesOf(part.permissions) {
			if b.Len() > 0 {
				b.WriteString("---\n")
			}
			kind, scope := "ClusterRole", "in the whole cluster"
			if namespace != "" {
				kind, scope = "Role", "in namespace "+namespace
			}
			commands := "'kubectl triton " + strings.Join(g.command, "', 'kubectl triton ") + "'"
			if part.suffix == "" {
				fmt.Fprintf(&b, "# %s can't do without this, %s.\n", commands, scope)
			} else {
				fmt.Fprintf(&b, "# %s also uses this, %s.\n", commands, scope)
			}
			fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata:\n  name: kubectl-triton-%s%s\n", kind, g.file, part.suffix)
			if namespace != "" {
				fmt.Fprintf(&b, "  namespace: %s\n", namespace)
			}
			b.WriteString("rules:\n")
			for _, p := range part.permissions {
				if p.namespace == namespace {
					b.WriteString(rule(p))
				}
			}
		}
	}
	return b.String()
}

func rule(p permission) string {
	names := ""
	if len(p.names) > 0 {
		names = fmt.Sprintf("    resourceNames: [%s]\n", strings.Join(p.names, ", "))
	}
	resource := p.resource
	if resource == "*" {
		resource = `"*"`
	}
	return fmt.Sprintf("  # to %s\n  - apiGroups: [%q]\n    resources: [%s]\n%s    verbs: [%s]\n", p.what, p.group, resource, names, strings.Join(p.verbs, ", "))
}

// namespacesOf lists the namespaces in order, the whole cluster ("") first.
func namespacesOf(permissions []permission) (found []string) {
	for _, p := range permissions {
		if !slices.Contains(found, p.namespace) {
			found = append(found, p.namespace)
		}
	}
	slices.Sort(found)
	return found
}
