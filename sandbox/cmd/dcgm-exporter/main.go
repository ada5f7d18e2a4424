// Command dcgm-exporter stands in for NVIDIA's dcgm-exporter in the sandbox.
//
// It takes the real program's flags and environment variables as far as they
// mean something to simulated GPUs, refuses all others, and serves the same
// metrics under the same names, types, help texts, labels and value formats,
// in the two generations of names that are in use. Sources: the exporter's
// command-line definitions, its default-counters.csv and its metric template,
// release 4.5.3-4.8.2.
//
// Each refresh of the values is printed as one line of JSON on standard
// output, so that a test can compare what a reader made of the metrics with
// what was published. Everything else is logged on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

const shutdownTimeout = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dcgm-exporter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	cfg, err := parseConfig(args, getenv, stderr)
	if err != nil {
		return err
	}
	counters, err := loadCounters(cfg.collectorsFile, cfg.generation)
	if err != nil {
		return err
	}
	if cfg.gpuDir == "" {
		return fmt.Errorf("this node has no GPU driver: the environment variable %s is not set; the exporter can run on GPU nodes only", envGPUDir)
	}
	telemetry, err := gpu.NewTelemetry(cfg.gpuDir)
	if err != nil {
		return fmt.Errorf("the GPU driver could not be initialised: %w", err)
	}
	defer func() { err = errors.Join(err, telemetry.Close()) }()
	listener, err := listen(cfg)
	if err != nil {
		return err
	}

	log := slog.New(slog.NewTextHandler(stderr, nil))
	log.Info("Starting webserver", "address", listener.Addr().String(), "collect_interval", cfg.collectInterval.String(), "field_names", string(cfg.generation))
	e := &exporter{cfg: cfg, counters: counters, telemetry: telemetry, published: stdout, log: log}
	return e.run(ctx, listener)
}

// listen takes the listener that the node agent opened for the container port
// of the configured address, or else any free loopback port.
func listen(cfg config) (net.Listener, error) {
	inherited, err := workload.Listeners()
	if err != nil {
		return nil, err
	}
	if len(inherited) == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen on a free loopback port: %w", err)
		}
		return l, nil
	}
	var chosen net.Listener
	for port, l := range inherited {
		if strconv.Itoa(port) == cfg.port {
			chosen = l
		} else {
			err = errors.Join(err, l.Close())
		}
	}
	if chosen == nil {
		return nil, errors.Join(fmt.Errorf("the exporter is to listen on port %s, but the container declares no such port", cfg.port), err)
	}
	return chosen, err
}

// run refreshes the values and serves them until ctx ends.
func (e *exporter) run(ctx context.Context, listener net.Listener) error {
	defer listener.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Without a first period there is nothing to say about utilisation yet.
	// Connections wait in the listener's queue meanwhile.
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(min(e.cfg.collectInterval, firstPeriod)):
	}
	if err := e.refresh(time.Now()); err != nil {
		return err
	}
	server := &http.Server{Handler: e.handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	collected := make(chan error, 1)
	go func() { collected <- e.collect(ctx) }()

	var err error
	select {
	case err = <-served:
		cancel()
		return errors.Join(fmt.Errorf("serve the metrics: %w", err), <-collected)
	case err = <-collected:
	}
	shutdown, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if shutdownErr := server.Shutdown(shutdown); shutdownErr != nil {
		err = errors.Join(err, server.Close())
	}
	<-served //nolint:errcheck // it always ends with an error
	return err
}
