//go:build benchmark

package benchmark

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startRounds are more than those of long measurements: a start takes some 30 ms,
// and what else the machine does is of that size.
const startRounds = 61

// TestStart compares what it costs to begin at all, the price of every command,
// with kubectl's, in interleaved rounds.
func TestStart(t *testing.T) {
	commands := [][]string{
		{"kubectl", "version", "--client"},
		{"kubectl-triton", "--help"},
		{"kubectl-triton", "version", "--client"},
	}
	walls, cpus := make([][]time.Duration, len(commands)), make([][]time.Duration, len(commands))
	for range startRounds {
		for i, c := range commands {
			cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, c[0]), c[1:]...)
			cmd.Env = append(plainEnvironment(), "KUBECONFIG=none")
			begin := time.Now()
			out, err := cmd.Output()
			wall := time.Since(begin)
			if err != nil || len(out) == 0 {
				t.Fatalf("%s: %v, %d bytes", cmd, err, len(out))
			}
			walls[i] = append(walls[i], wall)
			cpus[i] = append(cpus[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return 1000 * d[len(d)/2].Seconds()
	}
	rows := []string{"| command | time ms | ratio | CPU ms | ratio | program MB |", "|---|---|---|---|---|---|"}
	for i, c := range commands {
		info, err := os.Stat(filepath.Join(binDir, c[0]))
		if err != nil {
			t.Fatal(err)
		}
		wall, cpu := median(walls[i]), median(cpus[i])
		rows = append(rows, fmt.Sprintf("| %s | %.1f | %.2f | %.1f | %.2f | %.1f |", strings.Join(c, " "),
			wall, wall/median(walls[0]), cpu, cpu/median(cpus[0]), float64(info.Size())/1e6))
	}
	writeSection(t, "Start", fmt.Sprintf("Until a command that asks no cluster has ended, medians of %d interleaved rounds.\n\n%s\n", startRounds, strings.Join(rows, "\n")))
}
