// Command tritonserver is the sandbox's stand-in for the container image
// nvcr.io/nvidia/tritonserver. It takes tritonserver's flags; its models are
// described by files, see package modelconfig.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	listeners, err := workload.Listeners()
	if err != nil {
		return err
	}
	config := triton.Config{
		Args: args, Listeners: listeners, Log: os.Stdout,
		GPUDirectory: os.Getenv("SANDBOX_GPU_DIR"), Process: process(),
		Crash: func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) },
	}
	if devices := os.Getenv("NVIDIA_VISIBLE_DEVICES"); strings.HasPrefix(devices, "GPU-") {
		config.GPUs = strings.Split(devices, ",")
	}
	server, err := triton.Start(config)
	if err != nil {
		return err
	}
	got := <-signals
	if number, ok := got.(syscall.Signal); ok {
		server.Signal(int(number))
	}
	return server.Stop(context.Background())
}

// process names this server in the GPU's accounts.
func process() string {
	if uid := os.Getenv("POD_UID"); uid != "" {
		return uid
	}
	return fmt.Sprintf("tritonserver-%d", os.Getpid())
}
