package node

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	streamIdleTimeout     = 4 * time.Hour
	streamCreationTimeout = 30 * time.Second
)

// handler serves the part of the kubelet's API that the API server uses.
func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/portForward/{namespace}/{pod}", a.servePortForward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", a.servePortForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveContainerLogs)
	for _, path := range []string{"/exec/", "/attach/", "/run/", "/cri/"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, fmt.Sprintf("the sandbox's nodes don't support %s: containers are plain processes", strings.Trim(path, "/")), http.StatusNotImplemented)
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok") // the asker may be gone
	})
	return mux
}

func (a *Agent) servePortForward(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	worker := a.worker(namespace, name)
	if worker == nil || (r.PathValue("uid") != "" && r.PathValue("uid") != string(worker.pod().UID)) {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// The server ends the request's context when this handler returns, and the
	// streaming library returns when the tunnel is closed.
	forwarder := &podForwarder{tunnel: r.Context(), worker: worker}
	portforward.ServePortForward(w, r, forwarder, namespace+"/"+name, string(worker.pod().UID), options, streamIdleTimeout, streamCreationTimeout, portforward.SupportedProtocols)
}
