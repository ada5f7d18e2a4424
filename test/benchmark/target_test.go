//go:build benchmark

package benchmark

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// target is where the bare server of ./target listens.
type target struct{ http, grpc string }

func startTarget(t *testing.T, args ...string) target {
	t.Helper()
	return startTargetOn(t, -1, args...)
}

// startTargetOn gives it a core, unless that is -1.
func startTargetOn(t *testing.T, core int, args ...string) target {
	t.Helper()
	args = append([]string{program("target")}, args...)
	if core >= 0 {
		args = onCore(core, args)
	}
	cmd := exec.Command(args[0], args[1:]...)
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
