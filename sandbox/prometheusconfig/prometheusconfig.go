// Package prometheusconfig adapts a configuration of Prometheus that was
// written for a cluster, so that it works where pod addresses can't be routed
// and containers are plain processes: targets are scraped through the pod
// network's proxy, the API server is asked by a kubeconfig file, and files are
// read where they lie on this machine.
package prometheusconfig

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// marker begins a configuration that is adapted already.
const marker = "# Adapted to the sandbox's network.\n"

// Surroundings are what differs from a cluster.
type Surroundings struct {
	ProxyURL   string              // of the pod network
	Kubeconfig string              // path of the pod's own; empty without a ServiceAccount token
	Path       func(string) string // local path of a container's path; nil: the same
}

// Adapted reports whether Adapt wrote the configuration.
func Adapted(config []byte) bool { return bytes.HasPrefix(config, []byte(marker)) }

// Is reports whether a file looks like a configuration of Prometheus.
func Is(content []byte) bool {
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		return false
	}
	_, ok := config["scrape_configs"]
	return ok
}

// Adapt returns the configuration for these surroundings.
func Adapt(original []byte, s Surroundings) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(original, &config); err != nil {
		return nil, fmt.Errorf("it is not valid YAML: %w", err)
	}
	if s.Path != nil {
		s.paths(config)
	}
	if err := s.clients(config, "scrape_configs", "scrape_configs"); err != nil {
		return nil, err
	}
	if alerting, ok := config["alerting"].(map[string]any); ok {
		if err := s.clients(alerting, "alertmanagers", "alerting.alertmanagers"); err != nil {
			return nil, err
		}
	}
	adapted := bytes.NewBufferString(marker)
	encoder := yaml.NewEncoder(adapted)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(config), encoder.Close()); err != nil {
		return nil, fmt.Errorf("cannot encode it: %w", err)
	}
	return adapted.Bytes(), nil
}

// clients adapts a list of what Prometheus sends requests to.
func (s Surroundings) clients(parent map[string]any, key, name string) error {
	list, ok := parent[key].([]any)
	if !ok && parent[key] != nil {
		return fmt.Errorf("%s is not a list", name)
	}
	for i, item := range list {
		client, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("%s[%d] is not a mapping", name, i)
		}
		client["proxy_url"] = s.ProxyURL
		discoveries, _ := client["kubernetes_sd_configs"].([]any)
		for j, item := range discoveries {
			discovery, ok := item.(map[string]any)
			if !ok {
				return fmt.Errorf("%s[%d].kubernetes_sd_configs[%d] is not a mapping", name, i, j)
			}
			if s.Kubeconfig == "" {
				return fmt.Errorf("%s[%d] discovers targets in Kubernetes, but the pod has no ServiceAccount token mounted", name, i)
			}
			discovery["kubeconfig_file"] = s.Kubeconfig
		}
	}
	return nil
}

// paths translates the values of all keys that name files.
func (s Surroundings) paths(node any) {
	switch node := node.(type) {
	case []any:
		for _, item := range node {
			s.paths(item)
		}
	case map[string]any:
		for key, value := range node {
			text, isText := value.(string)
			list, isList := value.([]any)
			switch {
			case isText && strings.HasSuffix(key, "_file"):
				node[key] = s.Path(text)
			case isList && strings.HasSuffix(key, "_files"):
				for i := range list {
					if text, ok := list[i].(string); ok {
						list[i] = s.Path(text)
					}
				}
			default:
				s.paths(value)
			}
		}
	}
}
