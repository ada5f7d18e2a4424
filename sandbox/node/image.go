package node

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

// program is what runs for a known image.
type program struct {
	name string // of the executable, and of the image's own command
	// prepare adapts a launch to the program; nil if it is socket-activated and needs nothing else.
	prepare func(*launch) error
	// announcement matches the log line by which a program that opens its own
	// port tells the address, as its first group; nil for socket activation.
	announcement *regexp.Regexp
}

// programFor returns the program that an image stands for.
func programFor(image string) (program, bool) {
	switch repository(image) {
	case "nvcr.io/nvidia/tritonserver",
		"registry.example/inference/serving": // one of somebody's own, whose name does not tell
		return program{name: "tritonserver"}, true
	case "nvcr.io/nvidia/k8s/dcgm-exporter":
		return program{name: "dcgm-exporter"}, true
	case "docker.io/grafana/grafana":
		return program{name: "grafana"}, true
	case "quay.io/prometheus/prometheus":
		return program{name: "prometheus", prepare: preparePrometheus, announcement: prometheusListening}, true
	case "quay.io/prometheus-operator/prometheus-operator":
		return program{name: "operator", prepare: prepareOperator, announcement: operatorListening}, true
	case "quay.io/prometheus-operator/prometheus-config-reloader":
		return program{name: "prometheus-config-reloader"}, true
	case "quay.io/kiwigrid/k8s-sidecar":
		return program{name: "k8s-sidecar"}, true
	case "ghcr.io/jkroepke/kube-webhook-certgen", "registry.k8s.io/ingress-nginx/kube-webhook-certgen":
		return program{name: "kube-webhook-certgen"}, true
	}
	return program{}, false
}

// pullable reports whether an image can be had. The top-level domain "invalid"
// never resolves (RFC 2606), so that neither does an image of such a registry.
func pullable(image string) bool {
	registry, _, _ := strings.Cut(repository(image), "/")
	host, _, _ := strings.Cut(registry, ":")
	return !strings.HasSuffix(host, ".invalid")
}

// repository returns the image's name without tag and digest, Docker Hub's
// short forms written out.
func repository(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	first, _, nested := strings.Cut(name, "/")
	switch {
	case !nested:
		return "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + name
	}
	return name
}

// launch is one start of a program, with everything resolved.
type launch struct {
	program   program
	arguments []string
	variables map[string]string
	dir       string // working directory, private to the container
	ports     []int32
	mounts    podpath.Mounts // of the container

	proxyURL   string // of the pod network
	kubeconfig string // of the pod's ServiceAccount; empty without one
}

// commandArguments returns what follows the program's name in a container's
// command line. A container may override the image's command only by the same
// program; args may repeat its name, since entrypoint scripts pass it on.
func commandArguments(p program, command, args []string) ([]string, error) {
	if len(command) > 0 {
		if path.Base(command[0]) != p.name {
			return nil, fmt.Errorf("exec: %q: executable file not found: the sandbox runs this image as %q and nothing else", command[0], p.name)
		}
		return append(append([]string{}, command[1:]...), args...), nil
	}
	if len(args) > 0 && path.Base(args[0]) == p.name {
		args = args[1:]
	}
	return append([]string{}, args...), nil
}

func (p program) executable(binDir string) string { return filepath.Join(binDir, p.name) }
