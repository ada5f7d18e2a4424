// Command prometheus-config-reloader is the sandbox's program for the image of
// that name: it expands a configuration, watches it and what belongs to it,
// and has Prometheus or Alertmanager reload. Unlike the original it adapts
// Prometheus's configuration to the sandbox's network on the way (see package
// prometheusconfig).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
	"github.com/kubectl-triton/kubectl-triton/sandbox/prometheusconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "prometheus-config-reloader:", err)
		os.Exit(1)
	}
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func run(ctx context.Context, args []string) error {
	var (
		r           reloader
		watchedDirs list
		interval    time.Duration
		ordinalFrom string
	)
	flags := flag.NewFlagSet("prometheus-config-reloader", flag.ContinueOnError)
	flags.StringVar(&r.source, "config-file", "", "configuration to expand; may be compressed")
	flags.StringVar(&r.target, "config-envsubst-file", "", "where the expanded configuration goes")
	flags.Var(&watchedDirs, "watched-dir", "directory whose changes need a reload too")
	flags.DurationVar(&interval, "watch-interval", 3*time.Minute, "0 expands once and exits; else changes are seen at once")
	flags.StringVar(&r.reloadURL, "reload-url", "http://127.0.0.1:9090/-/reload", "where to ask for a reload")
	flags.StringVar(&ordinalFrom, "statefulset-ordinal-from-envvar", "POD_NAME", "variable with the pod's name")
	// What the original also takes and what makes no difference here.
	for _, name := range []string{"listen-address", "web-config-file", "log-format", "log-level", "runtimeinfo-url", "reload-method", "process-executable-name", "delay-interval", "retry-interval", "reload-timeout", "auto-gomemlimit-ratio"} {
		flags.String(name, "", "accepted for the original's sake")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	mounts, err := podpath.FromEnvironment()
	if err != nil {
		return err
	}
	if r.client, err = workload.Client(); err != nil {
		return err
	}
	r.log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	r.surroundings = prometheusconfig.Surroundings{ProxyURL: os.Getenv(workload.EnvProxyURL), Kubeconfig: os.Getenv("KUBECONFIG"), Path: mounts.LocalOr}
	r.variables = func(name string) string {
		if name == "STATEFULSET_ORDINAL_NUMBER" {
			pod := os.Getenv(ordinalFrom)
			return pod[strings.LastIndexByte(pod, '-')+1:]
		}
		return os.Getenv(name)
	}
	if _, err := r.expand(); err != nil {
		return err
	}
	if interval == 0 {
		return nil
	}
	return r.watch(ctx, watchedDirs)
}
