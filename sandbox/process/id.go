// Package process starts the sandbox's child processes so that none of them
// outlives the sandbox, and finds them again by records on disk when the
// sandbox itself was killed.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ID names a process beyond the reuse of its pid.
type ID struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"` // clock ticks from boot to start, proc_pid_stat(5) field 22
}

// Identify returns the identity of the running process pid.
func Identify(pid int) (ID, error) {
	stat, err := readStat(pid)
	if err != nil {
		return ID{}, err
	}
	return ID{PID: pid, StartTicks: stat.startTicks}, nil
}

// Alive reports whether the process still runs; a zombie does not.
func (id ID) Alive() bool {
	stat, err := readStat(id.PID)
	return err == nil && stat.startTicks == id.StartTicks && stat.state != 'Z' && stat.state != 'X'
}

// Signal sends sig to the process if it is still the same one.
func (id ID) Signal(sig syscall.Signal) error {
	if !id.Alive() {
		return nil
	}
	if err := syscall.Kill(id.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot send %s to process %d: %w", sig, id.PID, err)
	}
	return nil
}

// KillGroup kills the process and every member of the group that it leads.
func (id ID) KillGroup() error {
	if !id.Alive() {
		return nil
	}
	if err := syscall.Kill(-id.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot kill the process group %d: %w", id.PID, err)
	}
	return id.Signal(syscall.SIGKILL)
}

// WaitGone polls until the process has ended and reports whether it did in time.
func (id ID) WaitGone(timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for id.Alive() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

type procStat struct {
	state      byte
	startTicks uint64
}

func readStat(pid int) (procStat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	stat, err := parseStat(content)
	if err != nil {
		return procStat{}, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return stat, nil
}

func parseStat(content []byte) (procStat, error) {
	// The command name, in parentheses, may itself hold spaces and parentheses.
	end := bytes.LastIndexByte(content, ')')
	if end < 0 {
		return procStat{}, errors.New("its stat file has no command name")
	}
	fields := strings.Fields(string(content[end+1:]))
	const stateField, startField = 0, 22 - 3
	if len(fields) <= startField {
		return procStat{}, fmt.Errorf("its stat file has %d fields after the command name, fewer than %d", len(fields), startField+1)
	}
	ticks, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("its start time is not a number: %w", err)
	}
	state := fields[stateField]
	if len(state) != 1 || state[0] < 'A' || state[0] > 'z' {
		return procStat{}, fmt.Errorf("its state is %q, not a letter", state)
	}
	return procStat{state: state[0], startTicks: ticks}, nil
}

// KillRecorded kills every process, with its group, that a [Starter] recorded
// in dir and that still runs.
func KillRecorded(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the records of child processes: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot read the record of process %d: %w", pid, err))
			continue
		}
		ticks, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
		if err != nil {
			continue // cut off while it was written: the kernel's parent-death signal has ended that child
		}
		id := ID{PID: pid, StartTicks: ticks}
		errs = append(errs, id.KillGroup())
		if !id.WaitGone(5 * time.Second) {
			errs = append(errs, fmt.Errorf("process %d does not end although it was killed", pid))
		}
	}
	return errors.Join(errs...)
}
