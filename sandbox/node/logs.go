package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/util/flushwriter"
	criapi "k8s.io/cri-api/pkg/apis"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // how a query becomes log options
)

// serveContainerLogs answers /containerLogs with the kubelet's options.
func (a *Agent) serveContainerLogs(w http.ResponseWriter, r *http.Request) {
	worker := a.worker(r.PathValue("namespace"), r.PathValue("pod"))
	if worker == nil {
		http.Error(w, fmt.Sprintf("pod %q not found", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	if tail := query.Get("tail"); tail != "" && query.Get("tailLines") == "" {
		query.Set("tailLines", tail)
	}
	options := &corev1.PodLogOptions{}
	if err := legacyscheme.ParameterCodec.DecodeParameters(query, corev1.SchemeGroupVersion, options); err != nil {
		http.Error(w, fmt.Sprintf("unable to decode the request: %v", err), http.StatusBadRequest)
		return
	}
	source, err := worker.logSource(r.Context(), r.PathValue("container"), options.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stdout, stderr := flushwriter.Wrap(w), flushwriter.Wrap(w)
	if options.Stream != nil {
		switch *options.Stream {
		case corev1.LogStreamStdout:
			stderr = io.Discard
		case corev1.LogStreamStderr:
			stdout = io.Discard
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	if options.Follow {
		_ = http.NewResponseController(w).Flush() // an asker that is gone already ends the reading too
	}
	err = crilogs.ReadLogs(r.Context(), source.path, source.path, criLogOptions(options, time.Now()), &logRuntime{running: source.running}, stdout, stderr)
	if err != nil && r.Context().Err() == nil {
		a.log.Warn("cannot serve a container's log", "pod", worker.key, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func criLogOptions(options *corev1.PodLogOptions, now time.Time) *crilogs.LogOptions {
	result := &crilogs.LogOptions{
		TailLines: options.TailLines, LimitBytes: options.LimitBytes,
		Follow: options.Follow, Timestamp: options.Timestamps,
	}
	switch {
	case options.SinceTime != nil:
		result.Since = options.SinceTime.Time
	case options.SinceSeconds != nil:
		result.Since = now.Add(-time.Duration(*options.SinceSeconds) * time.Second)
	}
	return result
}

// logSource is the log of one run of a container.
type logSource struct {
	path    string
	running func() bool
}

// logSource finds a log on the worker's goroutine, which owns the containers.
func (w *podWorker) logSource(ctx context.Context, name string, previous bool) (logSource, error) {
	type answer struct {
		source logSource
		err    error
	}
	answered := make(chan answer, 1)
	w.post(func() {
		source, err := w.findLog(name, previous)
		answered <- answer{source, err}
	})
	select {
	case a := <-answered:
		return a.source, a.err
	case <-w.finished:
		return logSource{}, fmt.Errorf("pod %q is gone", w.key.Name)
	case <-ctx.Done():
		return logSource{}, ctx.Err()
	}
}

func (w *podWorker) findLog(name string, previous bool) (logSource, error) {
	for _, c := range w.all() {
		if c.spec.Name != name {
			continue
		}
		attempt := c.attempt
		if previous {
			attempt--
		}
		if attempt < 0 {
			if previous {
				return logSource{}, fmt.Errorf("previous terminated container %q in pod %q not found", name, w.key.Name)
			}
			reason := "ContainerCreating"
			if c.state.Waiting != nil {
				reason = c.state.Waiting.Reason
			}
			return logSource{}, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, w.key.Name, reason)
		}
		path := c.logPath(attempt)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return logSource{}, fmt.Errorf("the log of container %q in pod %q is no longer kept", name, w.key.Name)
		}
		return logSource{path: path, running: func() bool { return w.isRunning(c, attempt) }}, nil
	}
	return logSource{}, fmt.Errorf("container %q in pod %q is not available", name, w.key.Name)
}

// isRunning asks the worker's goroutine whether a container's run goes on.
func (w *podWorker) isRunning(c *container, attempt int32) bool {
	answered := make(chan bool, 1)
	w.post(func() { answered <- c.attempt == attempt && c.state.Running != nil })
	select {
	case running := <-answered:
		return running
	case <-w.finished:
		return false
	}
}

// logRuntime tells the log library whether there is more to follow; it asks nothing else.
type logRuntime struct {
	criapi.RuntimeService
	running func() bool
}

// ContainerStatus implements the only method that reading logs needs.
func (r *logRuntime) ContainerStatus(context.Context, string, bool) (*runtimev1.ContainerStatusResponse, error) {
	state := runtimev1.ContainerState_CONTAINER_EXITED
	if r.running() {
		state = runtimev1.ContainerState_CONTAINER_RUNNING
	}
	return &runtimev1.ContainerStatusResponse{Status: &runtimev1.ContainerStatus{State: state}}, nil
}
