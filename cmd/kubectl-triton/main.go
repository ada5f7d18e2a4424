// Command kubectl-triton is the kubectl plugin "kubectl triton". It owns the
// process: signals, streams and the exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/plugin"
)

func main() {
	os.Exit(run())
}

func run() int {
	// The first signal cancels the context, so that a running test stops and
	// still reports; afterwards the default action is restored, so that a second
	// one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	return plugin.Execute(ctx, streams, os.Args[1:])
}
