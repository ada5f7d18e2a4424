package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestPreparePrometheus(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "mounted.yml")
	const original = `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: pods
    kubernetes_sd_configs: [{role: pod}, {role: endpointslice}]
  - job_name: static
    static_configs: [{targets: ["10.0.0.1:1"]}]
`
	if err := os.WriteFile(config, []byte(original), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"--config.file=" + config, "--web.listen-address=:9090", "--web.listen-address=:9091", "--storage.tsdb.path=/x"},
		{"--config.file", config, "--web.listen-address", ":9090", "--storage.tsdb.path=/x"},
	} {
		l := &launch{arguments: arguments, dir: dir, proxyURL: "http://127.0.0.1:1", kubeconfig: "/k"}
		if err := preparePrometheus(l); err != nil {
			t.Fatal(err)
		}
		want := []string{"--storage.tsdb.path=/x", "--config.file=" + filepath.Join(dir, "prometheus.yml"), "--web.listen-address=127.0.0.1:0"}
		if !slices.Equal(l.arguments, want) {
			t.Errorf("arguments = %q, want %q", l.arguments, want)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Global        map[string]string
		ScrapeConfigs []struct {
			ProxyURL  string `json:"proxy_url"`
			Discovery []struct {
				Role       string
				Kubeconfig string `json:"kubeconfig_file"`
			} `json:"kubernetes_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.ScrapeConfigs) != 2 || got.Global["scrape_interval"] != "1s" {
		t.Fatalf("patched configuration lost something: %s", content)
	}
	for _, job := range got.ScrapeConfigs {
		if job.ProxyURL != "http://127.0.0.1:1" {
			t.Errorf("proxy_url = %q, want the network's", job.ProxyURL)
		}
	}
	if d := got.ScrapeConfigs[0].Discovery; len(d) != 2 || d[0].Kubeconfig != "/k" || d[1].Kubeconfig != "/k" || d[1].Role != "endpointslice" {
		t.Errorf("discovery = %+v, want both with the kubeconfig", d)
	}
}

func TestPatchPrometheusConfigRefuses(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"no YAML", "a: [", "not valid YAML"},
		{"jobs are no list", "scrape_configs: 1", "not a list"},
		{"job is no mapping", "scrape_configs: [1]", "scrape_configs[0] is not a mapping"},
		{"discovery is no mapping", "scrape_configs: [{kubernetes_sd_configs: [1]}]", "kubernetes_sd_configs[0] is not a mapping"},
		{"no ServiceAccount", "scrape_configs: [{kubernetes_sd_configs: [{role: pod}]}]", "no ServiceAccount token"},
	}
	for _, tt := range tests {
		if _, err := patchPrometheusConfig([]byte(tt.config), "http://p", ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one that contains %q", tt.name, err, tt.want)
		}
	}
}

func FuzzPatchPrometheusConfig(f *testing.F) {
	f.Add([]byte("scrape_configs: [{kubernetes_sd_configs: [{role: pod}]}]"))
	f.Add([]byte("scrape_configs:"))
	f.Fuzz(func(t *testing.T, config []byte) {
		patched, err := patchPrometheusConfig(config, "http://p", "/k")
		if err != nil {
			return
		}
		if _, err := patchPrometheusConfig(patched, "http://p", "/k"); err != nil {
			t.Errorf("a patched configuration can't be read: %v", err)
		}
	})
}

func TestPrometheusAnnouncement(t *testing.T) {
	line := `time=2026-11-23T20:38:27.900Z level=INFO source=tls_config.go:354 msg="Listening on" component=web address=127.0.0.1:43985`
	match := prometheusListening.FindStringSubmatch(line)
	if match == nil || match[1] != "127.0.0.1:43985" {
		t.Errorf("match = %q, want the address", match)
	}
	if prometheusListening.MatchString(`msg="Start listening for connections" component=web address=127.0.0.1:0`) {
		t.Error("matches before the port is known")
	}
}
