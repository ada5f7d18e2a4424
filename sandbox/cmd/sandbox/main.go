// Command sandbox runs a real Kubernetes control plane with simulated GPU nodes
// on this machine, without root and without a container runtime.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newCommand(os.Stdout, os.Stderr).ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		if interrupted {
			os.Exit(130)
		}
		os.Exit(1)
	}
}
