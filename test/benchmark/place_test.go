//go:build benchmark

package benchmark

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// program is where a measured program is: in the directory that BENCHMARK_BIN
// names, else where the Makefile builds them, else on PATH.
func program(name string) string {
	path := filepath.Join(cmp.Or(os.Getenv("BENCHMARK_BIN"), binDir), name)
	if _, err := os.Stat(path); err != nil {
		return name
	}
	return path
}

// installed tells whether a program can be run.
func installed(name string) bool {
	_, err := exec.LookPath(program(name))
	return err == nil
}

// cores are one for the server and one for the client, which keeps the noise of
// other programs' wake-ups away from neither but theirs from each other; -1 where
// they can't have one each.
func cores() (server, client int) {
	if runtime.NumCPU() < 2 || !installed("taskset") {
		return -1, -1
	}
	return runtime.NumCPU() - 2, runtime.NumCPU() - 1
}

func onCore(core int, args []string) []string {
	return append([]string{"taskset", "-c", strconv.Itoa(core)}, args...)
}
