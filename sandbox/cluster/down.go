package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

// gracefulEnd is how long a daemon may take to end its pods' processes.
const gracefulEnd = 10 * time.Second

// Down ends the instance and everything that it started, and removes its
// directory. It also does so after the daemon was killed. It reports whether
// there was an instance.
func (i Instance) Down(ctx context.Context) (existed bool, err error) {
	exists, err := i.Exists()
	if err != nil || !exists {
		return false, err
	}
	if r, err := i.readRecord(); err == nil && r.Daemon.PID != 0 {
		if err := r.Daemon.Signal(syscall.SIGTERM); err != nil {
			return true, err
		}
		if !waitGone(ctx, r.Daemon, gracefulEnd) {
			if err := r.Daemon.KillGroup(); err != nil {
				return true, err
			}
			if !r.Daemon.WaitGone(gracefulEnd) {
				return true, fmt.Errorf("the daemon of the instance %s (process %d) does not end although it was killed", i.Name, r.Daemon.PID)
			}
		}
	}
	lock, err := i.lockSoon(ctx, gracefulEnd)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil // another command removed it meanwhile
	case errors.Is(err, errLocked):
		return true, fmt.Errorf("the instance %s is being started or removed by another command; try again when that has ended", i.Name)
	case err != nil:
		return true, err
	}
	defer lock.Close()
	return true, i.erase()
}

// lockSoon waits for a command that is cleaning up after a bring-up that failed.
func (i Instance) lockSoon(ctx context.Context, timeout time.Duration) (*os.File, error) {
	deadline := time.Now().Add(timeout)
	for {
		lock, err := i.lock()
		if !errors.Is(err, errLocked) || time.Now().After(deadline) || ctx.Err() != nil {
			return lock, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// waitGone is WaitGone cut short by ctx.
func waitGone(ctx context.Context, id process.ID, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if id.WaitGone(100 * time.Millisecond) {
			return true
		}
	}
	return false
}

// erase kills what the instance's daemon may have left running and removes the
// directory. The caller holds the lock, so that no daemon lives.
func (i Instance) erase() error {
	if err := process.KillRecorded(i.pidsDir()); err != nil {
		return err
	}
	if err := os.RemoveAll(i.Dir); err != nil {
		return fmt.Errorf("cannot remove the directory of the instance %s: %w", i.Name, err)
	}
	return nil
}
