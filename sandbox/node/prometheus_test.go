package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/sandbox/prometheusconfig"
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

func TestPreparePrometheusKeepsWhatAReloaderAdapted(t *testing.T) {
	config := filepath.Join(t.TempDir(), "prometheus.env.yaml")
	adapted, err := prometheusconfig.Adapt([]byte("scrape_configs: []"), prometheusconfig.Surroundings{ProxyURL: "http://p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, adapted, 0o600); err != nil {
		t.Fatal(err)
	}
	l := &launch{arguments: []string{"--config.file=" + config}, dir: t.TempDir(), proxyURL: "http://p"}
	if err := preparePrometheus(l); err != nil {
		t.Fatal(err)
	}
	if want := "--config.file=" + config; l.arguments[0] != want {
		t.Errorf("arguments = %q, want %q first: the file that is kept up to date", l.arguments, want)
	}
}

func TestPrepareOperator(t *testing.T) {
	l := &launch{arguments: []string{"--web.listen-address=:10250", "--log-format=json", "--kubelet-endpoints=true"}}
	if err := prepareOperator(l); err != nil {
		t.Fatal(err)
	}
	if want := []string{"--kubelet-endpoints=true", "--web.listen-address=127.0.0.1:0"}; !slices.Equal(l.arguments, want) {
		t.Errorf("arguments = %q, want %q", l.arguments, want)
	}
	match := operatorListening.FindStringSubmatch(`ts=2026-11-24T23:00:00Z level=info caller=/x/server.go:330 msg="starting secure server" address=127.0.0.1:41231 http2=false`)
	if match == nil || match[1] != "127.0.0.1:41231" {
		t.Errorf("match = %q, want the address", match)
	}
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
