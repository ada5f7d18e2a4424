//go:build e2e

package docs

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

var (
	sandbox *harness.Sandbox
	charts  string // URL of the sandbox's chart repository
)

// root is the repository.
const root = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err == nil {
		sandbox, err = harness.Start(bin, "docs", "--stack=false")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := sandbox.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	out, err := exec.Command(filepath.Join(bin, "sandbox"), "charts", "--name", sandbox.Name).Output()
	if err != nil {
		fmt.Fprintf(os.Stderr, "no chart repository: %v\n", err)
		return 1
	}
	charts = strings.TrimSpace(string(out))
	return m.Run()
}

// installed makes sure that the stack is there.
func installed(t *testing.T) {
	t.Helper()
	sandbox.Must(t, "kubectl-triton", "observe", "up", "--chart-repo", charts, "--timeout", "3m")
}
