package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// A process identity is its pid in the upper half and the lower 32 bits of its
// start time in the other: a pid alone may be given to another process.

func ownIdentity() (uint64, error) {
	identity, alive, err := identify(os.Getpid())
	if err == nil && !alive {
		err = errors.New("this process has no entry")
	}
	if err != nil {
		return 0, fmt.Errorf("read this process's start time from /proc: %w", err)
	}
	return identity, nil
}

// alive says whether the process of that identity still runs. A zombie is
// dead: the driver has taken its memory and kernels already.
func alive(identity uint64) (bool, error) {
	current, running, err := identify(int(identity >> 32))
	return running && current == identity, err
}

func identify(pid int) (identity uint64, running bool, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || isNoSuchProcess(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	startTicks, state, err := parseStat(string(data))
	if err != nil {
		return 0, false, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return uint64(pid)<<32 | startTicks&0xffffffff, state != 'Z' && state != 'X', nil
}

// parseStat reads fields 3 (state) and 22 (start time) of proc_pid_stat(5).
// The second field is the command in parentheses, which may hold anything.
func parseStat(stat string) (startTicks uint64, state byte, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("no command in %q", stat)
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("too few fields in %q", stat)
	}
	// proc(5): the state is one letter.
	if len(fields[0]) != 1 || (fields[0][0]|0x20) < 'a' || (fields[0][0]|0x20) > 'z' {
		return 0, 0, fmt.Errorf("no state in %q", stat)
	}
	startTicks, err = strconv.ParseUint(fields[19], 10, 64)
	return startTicks, fields[0][0], err
}
