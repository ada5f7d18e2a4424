package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// Starter starts child processes from one operating system thread. The kernel
// kills a child with its parent when the *thread* that forked it ends
// (PR_SET_PDEATHSIG in prctl(2)), so that thread must live as long as the Starter.
type Starter struct {
	records string
	starts  chan start
}

type start struct {
	cmd  *exec.Cmd
	done chan error
}

// NewStarter returns a Starter that records its children in the directory
// records, which it creates. Close releases its thread.
func NewStarter(records string) (*Starter, error) {
	if err := os.MkdirAll(records, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory for process records: %w", err)
	}
	s := &Starter{records: records, starts: make(chan start)}
	go s.loop()
	return s, nil
}

// Close ends the Starter. Children that still run are killed by the kernel.
func (s *Starter) Close() { close(s.starts) }

func (s *Starter) loop() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for request := range s.starts {
		request.done <- request.cmd.Start()
	}
}

// Start starts cmd as the leader of a process group of its own, killed by the
// kernel when this process dies. Call Wait, not cmd.Wait, on success.
func (s *Starter) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	request := start{cmd: cmd, done: make(chan error, 1)}
	s.starts <- request
	if err := <-request.done; err != nil {
		return err
	}
	id, err := Identify(cmd.Process.Pid)
	if err == nil {
		err = os.WriteFile(s.record(id.PID), []byte(strconv.FormatUint(id.StartTicks, 10)), 0o600)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot record process %d: %w", cmd.Process.Pid, err), cmd.Process.Kill())
		_ = cmd.Wait() // it was killed: its status says nothing new
		return err
	}
	return nil
}

// Wait waits for a process that Start started, kills what it left behind in
// its group, and drops its record.
func (s *Starter) Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	// The pid stays this group's identifier as long as the group has a member.
	if killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
		err = errors.Join(err, killErr)
	}
	if removeErr := os.Remove(s.record(cmd.Process.Pid)); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

func (s *Starter) record(pid int) string { return filepath.Join(s.records, strconv.Itoa(pid)) }
