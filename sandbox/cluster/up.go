package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const failureLogLines = 15

// Descriptors that a daemon inherits from the command that starts it.
const (
	progressFD = 3
	lockFD     = 4
)

// BringUpError is a bring-up that failed; nothing of it is left.
type BringUpError struct {
	Err     error
	LogTail string // of the daemon; may be empty
}

func (e *BringUpError) Error() string {
	if e.LogTail == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v\nThe end of the daemon's log:\n%s", e.Err, e.LogTail)
}

func (e *BringUpError) Unwrap() error { return e.Err }

// Up starts an instance and returns when all of its pods are ready. step hears
// of each milestone. executable is the sandbox's own program, beside which lie
// those of the pods; it is started with the arguments that DaemonArguments gives.
// When Up fails or ctx ends, everything is removed again.
func Up(ctx context.Context, executable string, options Options, step func(string)) (Instance, error) {
	if err := options.Validate(); err != nil {
		return Instance{}, err
	}
	if options.Models != "" {
		path, err := filepath.Abs(options.Models)
		if err != nil {
			return Instance{}, fmt.Errorf("cannot resolve the path of the models: %w", err)
		}
		options.Models = path
	}
	if _, err := readModels(options.Models); err != nil {
		return Instance{}, err
	}
	if err := findPrograms(filepath.Dir(executable), options.programs()); err != nil {
		return Instance{}, err
	}
	instance, err := Named(options.Name)
	if err != nil {
		return Instance{}, err
	}
	lock, err := instance.create()
	if err != nil {
		return Instance{}, err
	}
	defer lock.Close()
	if err := instance.startDaemon(ctx, executable, options, lock, step); err != nil {
		failure := &BringUpError{Err: err, LogTail: instance.logTail(failureLogLines)}
		if ctx.Err() != nil {
			failure = &BringUpError{Err: fmt.Errorf("interrupted: %w", ctx.Err())}
		}
		if err := instance.erase(); err != nil {
			failure.Err = errors.Join(failure.Err, err)
		}
		return Instance{}, failure
	}
	return instance, nil
}

func findPrograms(dir string, names []string) error {
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is missing in %s, where the sandbox looks for the programs of its pods; build everything with make", strings.Join(missing, ", "), dir)
	}
	return nil
}

// create makes the instance's directory and takes its lock. What an instance
// that died left under the same name is removed first.
func (i Instance) create() (*os.File, error) {
	err := os.Mkdir(i.Dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if _, err := i.Exists(); err != nil {
			return nil, err
		}
		stale, err := i.lock()
		if r, readErr := i.readRecord(); errors.Is(err, errLocked) && readErr == nil && r.Daemon.PID != 0 && !r.Daemon.Alive() {
			// A process that was killed may hold its lock for a moment longer.
			stale, err = i.lockSoon(context.Background(), gracefulEnd)
		}
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("the instance %s is running already; use it (KUBECONFIG=%s), end it with `sandbox down --name %s`, or start another with --name", i.Name, i.Kubeconfig(), i.Name)
		}
		if err != nil {
			return nil, err
		}
		defer stale.Close()
		if err := i.erase(); err != nil {
			return nil, err
		}
		err = os.Mkdir(i.Dir, 0o700)
		if err != nil {
			return nil, fmt.Errorf("cannot make the directory of the instance %s: %w", i.Name, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("cannot make the directory of the instance %s: %w", i.Name, err)
	}
	lock, err := i.lock()
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("the instance %s is being started by another command; wait for it, or choose another --name", i.Name)
	}
	return lock, err
}

// DaemonArguments are the arguments with which the sandbox's program serves
// the instance in dir.
func DaemonArguments(dir string) []string { return []string{"serve", "--dir", dir} }

// startDaemon starts the detached daemon, which inherits the lock, and follows
// its progress.
func (i Instance) startDaemon(ctx context.Context, executable string, options Options, lock *os.File, step func(string)) error {
	if err := i.writeRecord(record{Options: options}); err != nil {
		return err
	}
	log, err := os.OpenFile(i.LogPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot create the daemon's log: %w", err)
	}
	defer log.Close()
	hear, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe to the daemon: %w", err)
	}
	defer hear.Close()
	daemon := exec.Command(executable, DaemonArguments(i.Dir)...)
	daemon.Dir = i.Dir
	daemon.Stdout, daemon.Stderr = log, log
	daemon.ExtraFiles = []*os.File{progressFD - 3: tell, lockFD - 3: lock}
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = daemon.Start()
	tell.Close()
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	defer context.AfterFunc(ctx, func() { hear.Close() })()
	err = follow(hear, step)
	if err == nil {
		return daemon.Process.Release()
	}
	// A daemon that failed ends by itself; one that we gave up on may not.
	_ = daemon.Process.Kill() // it may have ended already
	_ = daemon.Wait()         // its own message says more than its exit code
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
