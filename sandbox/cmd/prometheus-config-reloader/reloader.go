package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/kubectl-triton/kubectl-triton/sandbox/prometheusconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

const (
	// settle lets the files of one change arrive before a reload.
	settle        = 100 * time.Millisecond
	retryReload   = time.Second
	reloadTimeout = 30 * time.Second
	maxConfig     = 64 << 20
)

// reloader keeps one configuration expanded and its reader up to date.
type reloader struct {
	source, target string
	reloadURL      string
	client         *http.Client
	log            *slog.Logger
	surroundings   prometheusconfig.Surroundings
	variables      func(string) string

	succeeded atomic.Bool
	reloads   atomic.Int64
	failures  atomic.Int64
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)

// expand writes the target anew and reports whether that changed it.
func (r *reloader) expand() (changed bool, err error) {
	if r.source == "" || r.target == "" {
		return false, nil
	}
	content, err := os.ReadFile(r.source)
	if err != nil {
		return false, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		reader, err := gzip.NewReader(bytes.NewReader(content))
		if err == nil {
			content, err = io.ReadAll(io.LimitReader(reader, maxConfig))
		}
		if err != nil {
			return false, fmt.Errorf("cannot decompress the configuration: %w", err)
		}
	}
	content = reference.ReplaceAllFunc(content, func(match []byte) []byte {
		return []byte(r.variables(string(reference.FindSubmatch(match)[1])))
	})
	if prometheusconfig.Is(content) {
		if content, err = prometheusconfig.Adapt(content, r.surroundings); err != nil {
			return false, fmt.Errorf("cannot adapt the configuration: %w", err)
		}
	}
	if old, err := os.ReadFile(r.target); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	next := r.target + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return false, fmt.Errorf("cannot store the configuration: %w", err)
	}
	if err := os.Rename(next, r.target); err != nil {
		return false, fmt.Errorf("cannot store the configuration: %w", err)
	}
	return true, nil
}

// watch reloads after each change until ctx ends, and once at the beginning,
// since what was read at the start may have changed before the watch began.
func (r *reloader) watch(ctx context.Context, dirs []string) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch files: %w", err)
	}
	defer watcher.Close() //nolint:errcheck // the process ends with it
	if r.source != "" {
		dirs = append(dirs, filepath.Dir(r.source))
	}
	for _, dir := range dirs {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("cannot watch %s: %w", dir, err)
		}
	}
	stop, err := r.serveMetrics()
	if err != nil {
		return err
	}
	defer stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-watcher.Events:
			if !open {
				return errors.New("the watch of the configuration ended")
			}
			due.Reset(settle)
		case err := <-watcher.Errors:
			r.log.Error("the watch of the configuration failed", "err", err)
		case <-due.C:
			if err := r.reload(ctx); err != nil && ctx.Err() == nil {
				r.log.Error("Failed to trigger reload. Retrying.", "err", err)
				due.Reset(retryReload)
			}
		}
	}
}

func (r *reloader) reload(ctx context.Context) error {
	_, err := r.expand()
	if err == nil {
		err = r.trigger(ctx)
	}
	r.succeeded.Store(err == nil)
	r.reloads.Add(1)
	if err != nil {
		r.failures.Add(1)
		return err
	}
	r.log.Info("Reload triggered", "cfg_in", r.source, "cfg_out", r.target)
	return nil
}

func (r *reloader) trigger(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.reloadURL, nil)
	if err != nil {
		return fmt.Errorf("cannot ask for a reload: %w", err)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask for a reload: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12)) // the status says enough without it
		return fmt.Errorf("the reload was refused with status %d: %s", response.StatusCode, bytes.TrimSpace(text))
	}
	return nil
}

// serveMetrics serves the original's main metrics on the inherited ports.
func (r *reloader) serveMetrics() (stop func(), err error) {
	listeners, err := workload.Listeners()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		successful := 0
		if r.succeeded.Load() {
			successful = 1
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE reloader_last_reload_successful gauge\nreloader_last_reload_successful %d\n", successful)
		fmt.Fprintf(w, "# TYPE reloader_reloads_total counter\nreloader_reloads_total %d\n", r.reloads.Load())
		fmt.Fprintf(w, "# TYPE reloader_reloads_failed_total counter\nreloader_reloads_failed_total %d\n", r.failures.Load())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	for _, listener := range listeners {
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				r.log.Error("the metrics are not served any more", "err", err)
			}
		}()
	}
	return func() { server.Close() }, nil
}
