package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// readUsage adds up the schedstat files of the process's threads: time on a
// processor and time waiting on a run queue, both in ns, and a number of time
// slices (Linux, Documentation/scheduler/sched-stats.rst). The runtime keeps its
// threads, so that the sums don't fall.
func readUsage() (usage, bool) {
	threads, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return usage{}, false
	}
	var sum usage
	known := false
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		u, ok := parseSchedstat(text)
		if !ok {
			return usage{}, false
		}
		known = true
		sum.used += u.used
		sum.waited += u.waited
		sum.turns += u.turns
	}
	return sum, known
}

func parseSchedstat(text []byte) (usage, bool) {
	fields := bytes.Fields(text)
	if len(fields) != 3 {
		return usage{}, false
	}
	used, err1 := strconv.ParseInt(string(fields[0]), 10, 64)
	waited, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
	turns, err3 := strconv.ParseUint(string(fields[2]), 10, 64)
	return usage{time.Duration(used), time.Duration(waited), turns}, err1 == nil && err2 == nil && err3 == nil && used >= 0 && waited >= 0
}
