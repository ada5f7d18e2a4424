package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

// Instance is one sandbox of this user on this machine.
type Instance struct {
	Name string
	Dir  string
}

// record is what the daemon leaves in the directory for other commands.
type record struct {
	Daemon  process.ID `json:"daemon"`
	Started time.Time  `json:"started"`
	Ready   time.Time  `json:"ready,omitzero"`
	Options Options    `json:"options"`

	ChartsURL string `json:"chartsURL,omitempty"`
}

func directoryPrefix() string {
	return "kubectl-triton-sandbox-" + strconv.Itoa(os.Getuid()) + "-"
}

// Named returns the instance of that name, whether it exists or not.
func Named(name string) (Instance, error) {
	if err := validateName(name); err != nil {
		return Instance{}, err
	}
	return Instance{Name: name, Dir: filepath.Join(os.TempDir(), directoryPrefix()+name)}, nil
}

// All returns the instances that exist, by name.
func All() ([]Instance, error) {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix()+"*"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the instances: %w", err)
	}
	sort.Strings(paths)
	var instances []Instance
	for _, path := range paths {
		instances = append(instances, Instance{Name: strings.TrimPrefix(filepath.Base(path), directoryPrefix()), Dir: path})
	}
	return instances, nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (i Instance) Kubeconfig() string { return filepath.Join(i.Dir, "kubeconfig") }

// LogPath is the path of the daemon's own log.
func (i Instance) LogPath() string { return filepath.Join(i.Dir, "daemon.log") }

// AuditLog is the path of the API server's audit log, which an instance with
// Options.Audit has.
func (i Instance) AuditLog() string { return filepath.Join(i.Dir, "audit.log") }

func (i Instance) lockPath() string   { return filepath.Join(i.Dir, "lock") }
func (i Instance) recordPath() string { return filepath.Join(i.Dir, "instance.json") }
func (i Instance) pidsDir() string    { return filepath.Join(i.Dir, "pids") }
func (i Instance) volumesDir() string { return filepath.Join(i.Dir, "volumes") }

// Exists reports whether the instance's directory exists.
func (i Instance) Exists() (bool, error) {
	info, err := os.Lstat(i.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot look for the instance %s: %w", i.Name, err)
	case !info.IsDir():
		return false, fmt.Errorf("%s is not a directory; remove it to use the instance name %s", i.Dir, i.Name)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Getuid() {
		return false, fmt.Errorf("the directory %s belongs to another user; choose another instance name", i.Dir)
	}
	return true, nil
}

var errLocked = errors.New("locked")

// lock takes the instance's lock, which its daemon holds as long as it lives,
// and returns errLocked if someone else has it.
func (i Instance) lock() (*os.File, error) {
	file, err := os.OpenFile(i.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock of the instance %s: %w", i.Name, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		// Someone may have removed the directory before the lock was ours.
		var mine, current os.FileInfo
		if mine, err = file.Stat(); err == nil {
			if current, err = os.Stat(i.lockPath()); err == nil && !os.SameFile(mine, current) {
				err = syscall.EWOULDBLOCK
			}
		}
	}
	if err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("cannot lock the instance %s: %w", i.Name, err)
	}
	return file, nil
}

// running reports whether the instance's daemon, or a command that starts or
// removes the instance, holds its lock.
func (i Instance) running() (bool, error) {
	file, err := i.lock()
	switch {
	case errors.Is(err, errLocked):
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return false, file.Close()
}

func (i Instance) readRecord() (record, error) {
	content, err := os.ReadFile(i.recordPath())
	if err != nil {
		return record{}, fmt.Errorf("cannot read the record of the instance %s: %w", i.Name, err)
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("the record of the instance %s is damaged: %w", i.Name, err)
	}
	return r, nil
}

func (i Instance) writeRecord(r record) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the record of the instance %s: %w", i.Name, err)
	}
	next := i.recordPath() + ".next"
	if err := os.WriteFile(next, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot store the record of the instance %s: %w", i.Name, err)
	}
	if err := os.Rename(next, i.recordPath()); err != nil {
		return fmt.Errorf("cannot store the record of the instance %s: %w", i.Name, err)
	}
	return nil
}

// logTail returns the last lines of the daemon's log that are no routine notes.
func (i Instance) logTail(lines int) string {
	content, err := os.ReadFile(i.LogPath())
	if err != nil {
		return ""
	}
	var kept []string
	for _, line := range strings.Split(strings.TrimRight(string(content), "\n"), "\n") {
		if len(line) > 4 && line[0] == 'I' && strings.Trim(line[1:5], "0123456789") == "" {
			continue // klog's information
		}
		kept = append(kept, line)
	}
	if len(kept) > lines {
		kept = kept[len(kept)-lines:]
	}
	return strings.Join(kept, "\n")
}
