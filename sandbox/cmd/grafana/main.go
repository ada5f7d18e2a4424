// Command grafana runs the sandbox's stand-in for Grafana's HTTP API.
//
// It serves the API on the listener of container port 3000 and, where the
// container declares port 3001, the control API for tests there. Without
// inherited listeners it takes free loopback ports. It is configured by the
// environment variables that Grafana's image knows, and some of the sandbox's
// own.
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
	"strings"
	"syscall"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/grafana"
	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

const (
	apiPort     = 3000
	controlPort = 3001

	shutdownTimeout = 3 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	cfg, err := configure(args, getenv, stdout)
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(stdout, nil))
	server, err := grafana.New(cfg)
	if err != nil {
		return err
	}
	listeners, err := listen()
	if err != nil {
		return err
	}
	handlers := map[int]http.Handler{apiPort: server.Handler(), controlPort: server.Control()}
	servers := make([]*http.Server, 0, len(listeners))
	failed := make(chan error, len(listeners))
	for port, listener := range listeners {
		handler, known := handlers[port]
		if !known {
			cfg.Log.Warn("nothing is served on this container port", "port", port)
			err = errors.Join(err, listener.Close())
			continue
		}
		cfg.Log.Info("HTTP Server Listen", "port", port, "address", listener.Addr().String())
		srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
		servers = append(servers, srv)
		go func() { failed <- srv.Serve(listener) }()
	}

	updates := time.NewTicker(server.UpdateInterval())
	defer updates.Stop()
	running := len(servers)
	for waiting := true; waiting; {
		waiting = false
		select {
		case <-ctx.Done():
		case serveErr := <-failed:
			running--
			err = errors.Join(err, fmt.Errorf("serve: %w", serveErr))
		case <-updates.C:
			waiting = true
			if err := server.ReloadDashboards(); err != nil {
				cfg.Log.Error("Failed to provision dashboards", "error", err)
			}
		}
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(shutdown) != nil {
			err = errors.Join(err, srv.Close())
		}
	}
	for range running {
		<-failed //nolint:errcheck // it always ends with an error
	}
	return err
}

func listen() (map[int]net.Listener, error) {
	listeners, err := workload.Listeners()
	if err != nil || len(listeners) > 0 {
		return listeners, err
	}
	for _, port := range []int{apiPort, controlPort} {
		if listeners[port], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("listen on a free loopback port: %w", err)
		}
	}
	return listeners, nil
}

func configure(args []string, getenv func(string) string, usage io.Writer) (grafana.Config, error) {
	cfg := grafana.Config{
		AdminUser:     getenv("GF_SECURITY_ADMIN_USER"),
		AdminPassword: getenv("GF_SECURITY_ADMIN_PASSWORD"),
		PrometheusURL: getenv("GRAFANA_PROMETHEUS_URL"),
		DashboardsDir: getenv("GRAFANA_DASHBOARDS_DIR"),
	}
	flags := flag.NewFlagSet("grafana", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&cfg.DataDir, "data", "", "directory that keeps the state across restarts (default: $GF_PATHS_DATA if it exists, else in memory)")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if cfg.DataDir == "" && isDirectory(getenv("GF_PATHS_DATA")) {
		cfg.DataDir = getenv("GF_PATHS_DATA")
	}
	mounts, err := podpath.FromEnvironment()
	if err != nil {
		return cfg, err
	}
	if dir := getenv("GF_PATHS_PROVISIONING"); dir != "" {
		cfg.Provisioning = &grafana.Provisioning{Dir: dir, Mounts: mounts}
	}
	cfg.Tokens, err = parseTokens(getenv("GRAFANA_SERVICE_ACCOUNT_TOKENS"))
	return cfg, err
}

// parseTokens reads a list such as "glsa_a=Viewer,glsa_b=Editor". Its errors
// don't repeat a token.
func parseTokens(list string) (map[string]grafana.Role, error) {
	tokens := map[string]grafana.Role{}
	if list == "" {
		return tokens, nil
	}
	for i, item := range strings.Split(list, ",") {
		token, name, found := strings.Cut(strings.TrimSpace(item), "=")
		if !found || !strings.HasPrefix(token, "glsa_") {
			return nil, fmt.Errorf("GRAFANA_SERVICE_ACCOUNT_TOKENS, item %d: it has the form glsa_<token>=<role>", i+1)
		}
		role, err := grafana.ParseRole(name)
		if err != nil {
			return nil, fmt.Errorf("GRAFANA_SERVICE_ACCOUNT_TOKENS, item %d: %w", i+1, err)
		}
		tokens[token] = role
	}
	return tokens, nil
}

func isDirectory(path string) bool {
	if path == "" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
