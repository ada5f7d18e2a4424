//go:build benchmark

package benchmark

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// target is where the bare server of ./target listens.
type target struct {
	http, grpc string
	pid        int
}

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
	found := target{pid: cmd.Process.Pid}
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

// processorTime is what a process has taken in user and system mode so far.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): the name stands in brackets and may hold anything; utime and
	// stime are the 12th and 13th field after it, in hundredths of a second.
	_, after, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	var ticks int64
	for _, field := range strings.Fields(after)[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
