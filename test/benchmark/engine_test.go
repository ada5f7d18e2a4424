//go:build benchmark

package benchmark

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// target is the bare server, see the command's own documentation.
type target struct{ http, grpc string }

func startTarget(t *testing.T, args ...string) target {
	t.Helper()
	cmd := exec.Command(filepath.Join(binDir, "target"), args...)
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

func TestEngine(t *testing.T) {
	target := startTarget(t)
	p := path{"engine", dialTo(target.http), 0}
	for _, c := range []int{1, 16, 64} {
		m := measure(t, p, c)
		fmt.Printf("%d: %+v\n", c, m)
	}
	cmd := exec.Command("wrk", "-t1", "-c16", "-d3", "-s", "/tmp/fp.lua", "http://"+target.http)
	out, _ := cmd.CombinedOutput()
	fmt.Printf("%s %v\n", out, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
}

func dialTo(address string) dialFunc {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}
