package plugin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
)

// maxIntervals bounds the memory of a file of intervals.
const maxIntervals = 10_000_000

// readIntervals reads perf_analyzer's file of request intervals: whole
// microseconds, one a line.
func readIntervals(path string) ([]time.Duration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var inPath *fs.PathError
		if errors.As(err, &inPath) {
			err = inPath.Err
		}
		return nil, usageErrorf("--request-intervals: %s can't be read: %w", path, err)
	}
	intervals, err := parseIntervals(text)
	if err != nil {
		return nil, usageErrorf("--request-intervals: %s, %w", path, err)
	}
	return intervals, nil
}

func parseIntervals(text []byte) ([]time.Duration, error) {
	var intervals []time.Duration
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		us, err := strconv.ParseInt(line, 10, 64)
		switch {
		case err != nil || us < 0 || us > int64(24*time.Hour/time.Microsecond):
			return nil, fmt.Errorf("line %d: %q is not a number of microseconds from 0 to a day", n, line)
		case len(intervals) == maxIntervals:
			return nil, fmt.Errorf("line %d: more than %d intervals", n, maxIntervals)
		}
		intervals = append(intervals, time.Duration(us)*time.Microsecond)
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case bench.IntervalRate(intervals) == 0:
		return nil, errors.New("it holds no interval above 0")
	}
	return intervals, nil
}
