package node

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/sandbox/prometheusconfig"
)

// prometheusListening matches the line in which Prometheus's web toolkit tells
// the address that it listens on.
var prometheusListening = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:[0-9]+)`)

// preparePrometheus lets the real Prometheus work outside a cluster: it listens
// on a free loopback port, scrapes through the pod network's proxy, and asks
// the API server with the pod's own ServiceAccount.
func preparePrometheus(l *launch) error {
	config := "/etc/prometheus/prometheus.yml"
	var arguments []string
	for i := 0; i < len(l.arguments); i++ {
		name, value, joined := strings.Cut(strings.TrimLeft(l.arguments[i], "-"), "=")
		if !joined && (name == "config.file" || name == "web.listen-address") && i+1 < len(l.arguments) {
			i++
			value = l.arguments[i]
		}
		switch name {
		case "config.file":
			config = value
		case "web.listen-address":
		default:
			arguments = append(arguments, l.arguments[i])
		}
	}
	original, err := os.ReadFile(config)
	if err != nil {
		return fmt.Errorf("cannot read the configuration of Prometheus: %w", err)
	}
	if prometheusconfig.Adapted(original) {
		// A reloader in the same pod has adapted it, and does so after each change.
		l.arguments = slices.Concat(arguments, []string{"--config.file=" + config, "--web.listen-address=127.0.0.1:0"})
		return nil
	}
	adapted, err := prometheusconfig.Adapt(original, prometheusconfig.Surroundings{ProxyURL: l.proxyURL, Kubeconfig: l.kubeconfig, Path: l.mounts.LocalOr})
	if err != nil {
		return fmt.Errorf("cannot adapt the configuration of Prometheus: %w", err)
	}
	own := filepath.Join(l.dir, "prometheus.yml")
	if err := os.WriteFile(own, adapted, 0o600); err != nil {
		return fmt.Errorf("cannot store the configuration of Prometheus: %w", err)
	}
	l.arguments = slices.Concat(arguments, []string{"--config.file=" + own, "--web.listen-address=127.0.0.1:0"})
	return nil
}
