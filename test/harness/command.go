package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Outcome is what one run of a program left behind.
type Outcome struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

// Command prepares a built program; env entries replace those of the test's own.
func (s *Sandbox) Command(ctx context.Context, program string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, program), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "KUBECONFIG=" + s.Kubeconfig}, env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Run runs a built program to its end.
func (s *Sandbox) Run(t testing.TB, program string, args ...string) Outcome {
	t.Helper()
	return Finish(t, s.Command(t.Context(), program, nil, args...))
}

// Must runs a built program that has to succeed and returns its output.
func (s *Sandbox) Must(t testing.TB, program string, args ...string) string {
	t.Helper()
	o := s.Run(t, program, args...)
	if o.Code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", program, strings.Join(args, " "), o.Code, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// Finish runs a command to its end.
func Finish(t testing.TB, cmd *exec.Cmd) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	o := Outcome{Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(begin)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.Code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return o
}

// Running is a program that has been started.
type Running struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr lockedBuffer
	begin  time.Time
	done   chan struct{}
}

// Start starts a built program; it is killed when the test ends.
func (s *Sandbox) Start(t testing.TB, program string, args ...string) *Running {
	t.Helper()
	r := &Running{cmd: s.Command(context.Background(), program, nil, args...), begin: time.Now(), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // the exit code tells
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended in most cases
		<-r.done
	})
	return r
}

// Signal sends one to the program; that it has ended already is no error here,
// its outcome shows it.
func (r *Running) Signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

// AwaitLine waits until the program has written the text to its standard error,
// or has ended; it says which.
func (r *Running) AwaitLine(t testing.TB, limit time.Duration, text string) bool {
	t.Helper()
	said := false
	Eventually(t, limit, "the line "+text, func() bool {
		said = strings.Contains(r.stderr.String(), text)
		select {
		case <-r.done:
			return true
		default:
			return said
		}
	})
	return said
}

// Wait waits for the program's end.
func (r *Running) Wait(t testing.TB, limit time.Duration) Outcome {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(limit):
		t.Fatalf("%s did not end within %s:\n%s", r.cmd, limit, r.stderr.String())
	}
	return Outcome{Stdout: r.stdout.String(), Stderr: r.stderr.String(), Code: r.cmd.ProcessState.ExitCode(), Took: time.Since(r.begin)}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Eventually asks again until ok is true.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
