package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
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
	patched, err := patchPrometheusConfig(original, l.proxyURL, l.kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot adapt the configuration of Prometheus: %w", err)
	}
	own := filepath.Join(l.dir, "prometheus.yml")
	if err := os.WriteFile(own, patched, 0o600); err != nil {
		return fmt.Errorf("cannot store the configuration of Prometheus: %w", err)
	}
	l.arguments = slices.Concat(arguments, []string{"--config.file=" + own, "--web.listen-address=127.0.0.1:0"})
	return nil
}

func patchPrometheusConfig(original []byte, proxyURL, kubeconfig string) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(original, &config); err != nil {
		return nil, fmt.Errorf("it is not valid YAML: %w", err)
	}
	jobs, ok := config["scrape_configs"].([]any)
	if !ok && config["scrape_configs"] != nil {
		return nil, errors.New("scrape_configs is not a list")
	}
	for i, item := range jobs {
		job, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("scrape_configs[%d] is not a mapping", i)
		}
		job["proxy_url"] = proxyURL
		discoveries, ok := job["kubernetes_sd_configs"].([]any)
		if !ok {
			continue
		}
		for j, item := range discoveries {
			discovery, ok := item.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("scrape_configs[%d].kubernetes_sd_configs[%d] is not a mapping", i, j)
			}
			if kubeconfig == "" {
				return nil, fmt.Errorf("scrape_configs[%d] discovers targets in Kubernetes, but the pod has no ServiceAccount token mounted", i)
			}
			discovery["kubeconfig_file"] = kubeconfig
		}
	}
	return yaml.Marshal(config)
}
