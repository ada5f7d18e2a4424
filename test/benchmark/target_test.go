//go:build benchmark

package benchmark

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// target is where the bare server of ./target listens.
type target struct{ http, grpc string }

func startTarget(t *testing.T, args ...string) target {
	t.Helper()
	cmd := exec.Command(filepath.Join(binDir, "target"), args...)
	cmd.Env = plainEnvironment()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	var found target
	lines := bufio.NewScanner(out)
	for found.grpc == "" && lines.Scan() {
		name, address, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "http":
			found.http = address
		case "grpc":
			found.grpc = address
		}
	}
	if found.grpc == "" {
		t.Fatal("the target did not say where it listens")
	}
	return found
}
