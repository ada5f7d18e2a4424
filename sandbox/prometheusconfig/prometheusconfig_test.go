package prometheusconfig

import (
	"strings"
	"testing"
)

const original = `
global: {scrape_interval: 1s}
rule_files: [/etc/prometheus/rules/x/*.yaml]
scrape_configs:
  - job_name: pods
    sample_limit: 10000000
    metrics_path: /etc/prometheus/metrics
    authorization: {credentials_file: /var/run/secrets/token}
    kubernetes_sd_configs: [{role: pod}, {role: endpointslice}]
  - job_name: static
    static_configs: [{targets: ["10.0.0.1:1"]}]
alerting:
  alertmanagers:
    - kubernetes_sd_configs: [{role: endpointslice}]
`

const want = `# Adapted to the sandbox's network.
alerting:
  alertmanagers:
    - kubernetes_sd_configs:
        - kubeconfig_file: /k
          role: endpointslice
      proxy_url: http://p
global:
  scrape_interval: 1s
rule_files:
  - /local/etc/prometheus/rules/x/*.yaml
scrape_configs:
  - authorization:
      credentials_file: /local/var/run/secrets/token
    job_name: pods
    kubernetes_sd_configs:
      - kubeconfig_file: /k
        role: pod
      - kubeconfig_file: /k
        role: endpointslice
    metrics_path: /etc/prometheus/metrics
    proxy_url: http://p
    sample_limit: 10000000
  - job_name: static
    proxy_url: http://p
    static_configs:
      - targets:
          - 10.0.0.1:1
`

func TestAdapt(t *testing.T) {
	got, err := Adapt([]byte(original), Surroundings{ProxyURL: "http://p", Kubeconfig: "/k", Path: func(p string) string { return "/local" + p }})
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("adapted to:\n%s\nwant:\n%s", got, want)
	}
	if !Adapted(got) || Adapted([]byte(original)) {
		t.Error("Adapted doesn't tell the two apart")
	}
	if !Is([]byte(original)) || Is([]byte("route: {receiver: x}")) {
		t.Error("Is doesn't tell Prometheus's configuration from Alertmanager's")
	}
}

func TestAdaptRefusesWhatItCannotAdapt(t *testing.T) {
	for name, tt := range map[string]struct{ config, kubeconfig, want string }{
		"not YAML":       {"{", "/k", "not valid YAML"},
		"jobs no list":   {"scrape_configs: 3", "/k", "scrape_configs is not a list"},
		"job no mapping": {"scrape_configs: [3]", "/k", "scrape_configs[0] is not a mapping"},
		"discovery":      {"scrape_configs: [{kubernetes_sd_configs: [3]}]", "/k", "kubernetes_sd_configs[0] is not a mapping"},
		"no token":       {"scrape_configs: [{kubernetes_sd_configs: [{role: pod}]}]", "", "no ServiceAccount token"},
		"alertmanagers":  {"alerting: {alertmanagers: 3}", "/k", "alerting.alertmanagers is not a list"},
	} {
		_, err := Adapt([]byte(tt.config), Surroundings{ProxyURL: "http://p", Kubeconfig: tt.kubeconfig})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
}

func FuzzAdapt(f *testing.F) {
	f.Add([]byte(original))
	f.Add([]byte("scrape_configs: [{}]"))
	f.Fuzz(func(t *testing.T, config []byte) {
		adapted, err := Adapt(config, Surroundings{ProxyURL: "http://p", Kubeconfig: "/k", Path: func(p string) string { return p }})
		if err != nil {
			return
		}
		if _, err := Adapt(adapted, Surroundings{ProxyURL: "http://p", Kubeconfig: "/k"}); err != nil {
			t.Errorf("what Adapt wrote can't be read again: %v", err)
		}
	})
}
