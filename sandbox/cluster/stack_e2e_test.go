//go:build e2e

package cluster_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// eventually repeats check until it returns no complaint.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// helm runs the stock client with a home of its own.
func (s *sandbox) helm(t *testing.T, home string, args ...string) outcome {
	t.Helper()
	return execute(t, program(t, "helm"), []string{"KUBECONFIG=" + s.kubeconfig(), "HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}, args...)
}

func (s *sandbox) apply(t *testing.T, manifest string) outcome {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return execute(t, program(t, "kubectl"), []string{"KUBECONFIG=" + s.kubeconfig()}, "apply", "-f", file)
}

const exporterValues = `
nodeSelector: {nvidia.com/gpu.present: "true"}
tolerations: [{operator: Exists}]
arguments: [--collect-interval=1000]
readinessProbe: {initialDelaySeconds: 1}
serviceMonitor: {interval: 1s, scrapeTimeout: 1s, additionalLabels: {release: prom-operator}}
`

const stackValues = `
grafana:
  persistence: {enabled: true}
  sidecar: {dashboards: {folderAnnotation: grafana_folder, provider: {foldersFromFilesStructure: true}}}
prometheus: {prometheusSpec: {retention: 2d, storageSpec: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 1Gi}}}}}}}
`

const monitorAndDashboard = `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: triton-infer, namespace: triton, labels: {release: prom-operator}}
spec:
  selector: {matchLabels: {app: triton-infer}}
  endpoints: [{port: metrics, interval: 1s, scrapeTimeout: 1s}]
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: triton, namespace: triton, labels: {release: prom-operator}}
spec: {groups: [{name: triton, interval: 1s, rules: [{record: "triton:inferences", expr: sum(nv_inference_count)}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: dashboard, namespace: triton, labels: {grafana_dashboard: "1"}, annotations: {grafana_folder: Triton}}
data: {latency.json: '{"uid":"triton-latency","title":"Triton latency"}'}
`

const brokenRule = `
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: broken, namespace: triton}
spec: {groups: [{name: g, rules: [{record: x, expr: "sum((("}]}]}
`

// TestStackFromCharts installs the stand-in charts by the stock Helm and expects
// what a real stack does: the operator turns monitors and rules into what
// Prometheus scrapes and evaluates, its webhook refuses a broken rule, the
// sidecar brings a dashboard to Grafana, and nothing runs after the uninstall.
func TestStackFromCharts(t *testing.T) {
	s := newSandbox(t, "charts")
	s.must("up", "--name", s.name, "--stack=false")
	home := t.TempDir()
	repository := strings.TrimSpace(s.must("charts", "--name", s.name).stdout)
	install := func(release, chart, values string) {
		t.Helper()
		file := filepath.Join(home, release+".yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := s.helm(t, home, "upgrade", "--install", release, chart, "--repo", repository, "-n", "monitoring", "-f", file, "--wait", "--timeout", "100s"); o.code != 0 {
			t.Fatalf("helm upgrade --install %s: exit code %d\n%s\n%s", release, o.code, o.stderr, s.kubectl("get", "pods,events", "-A"))
		}
	}
	install("prom-operator", "kube-prometheus-stack", stackValues)
	install("dcgm-exporter", "dcgm-exporter", exporterValues)
	if o := s.apply(t, monitorAndDashboard); o.code != 0 {
		t.Fatalf("the monitor, rule and dashboard were refused: %s", o.stderr)
	}
	eventually(t, func() string {
		out := s.kubectl("-n", "monitoring", "get", "prometheus,alertmanager", "-o", `jsonpath={range .items[*]}{.kind}={.status.conditions[?(@.type=="Available")].status} {end}`)
		if out != "Prometheus=True Alertmanager=True " && out != "Alertmanager=True Prometheus=True " {
			return "the custom resources are not available: " + out
		}
		return ""
	})
	t.Run("webhook", func(t *testing.T) {
		if o := s.apply(t, brokenRule); o.code == 0 || !strings.Contains(o.stderr, "could not parse expression") {
			t.Errorf("a broken rule: exit code %d, %s", o.code, o.stderr)
		}
	})
	t.Run("prometheus", s.testOperatedPrometheus)
	t.Run("grafana", s.testProvisionedGrafana)
	t.Run("uninstall", func(t *testing.T) { s.testUninstall(t, home) })
	before := s.processes()
	s.must("down", "--name", s.name)
	s.expectNothingLeft(before)
}

func (s *sandbox) testOperatedPrometheus(t *testing.T) {
	base := "http://" + s.forward(t, nil, "-n", "monitoring", "svc/prom-operator-kube-prometh-prometheus", ":9090")
	type series struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	query := func(expression string) []series {
		status, body := get(t, base+"/api/v1/query?query="+url.QueryEscape(expression))
		var answer struct{ Data struct{ Result []series } }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("status %d, %v: %s", status, err, body)
		}
		return answer.Data.Result
	}
	for expression, want := range map[string]int{
		`up{job="triton-infer"} == 1`: 1, `up{job="dcgm-exporter"} == 1`: 2, `up{job="prom-operator-kube-prometh-prometheus"} == 1`: 2,
		`up{job="prom-operator-kube-prometh-operator"} == 1`: 1, // over TLS
		`DCGM_FI_DEV_FB_USED`:                                4, `triton:inferences`: 1, `count(nv_inference_count) > 0`: 1,
	} {
		eventually(t, func() string {
			if got := query(expression); len(got) != want {
				return fmt.Sprintf("%s has %d series, want %d: %v", expression, len(got), want, got)
			}
			return ""
		})
	}
	triton := query("nv_inference_count")[0].Metric
	for label, want := range map[string]string{"namespace": "triton", "service": "triton-infer", "endpoint": "metrics", "container": "triton", "job": "triton-infer"} {
		if triton[label] != want {
			t.Errorf("the label %s of Triton's series is %q, want %q: %v", label, triton[label], want, triton)
		}
	}
	held := query(`DCGM_FI_DEV_FB_USED{exported_pod!=""}`)
	if len(held) != 1 || held[0].Metric["exported_namespace"] != "triton" || held[0].Metric["namespace"] != "monitoring" {
		t.Errorf("the GPU that Triton holds: %v, want one, with Triton's pod as exported_pod", held)
	}
	if _, body := get(t, base+"/api/v1/status/flags"); !strings.Contains(body, `"storage.tsdb.retention.time":"2d"`) {
		t.Errorf("the retention of the values did not arrive: %s", body)
	}
}

func (s *sandbox) testProvisionedGrafana(t *testing.T) {
	encoded := s.kubectl("-n", "monitoring", "get", "secret", "prom-operator-grafana", "-o", "jsonpath={.data.admin-password}")
	password, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(password) < 20 {
		t.Fatalf("the administrator's password %q: %v", encoded, err)
	}
	base := "http://" + s.forward(t, nil, "-n", "monitoring", "svc/prom-operator-grafana", ":80")
	ask := func(path string) (int, string) {
		request, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("admin", string(password))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	expect := func(path string, status int, part string) {
		t.Helper()
		eventually(t, func() string {
			if got, body := ask(path); got != status || !strings.Contains(body, part) {
				return fmt.Sprintf("%s: status %d, %s; want %d with %s", path, got, body, status, part)
			}
			return ""
		})
	}
	expect("/api/dashboards/uid/triton-latency", http.StatusOK, `"folderTitle":"Triton"`)
	expect("/api/datasources/uid/prometheus", http.StatusOK, "http://prom-operator-kube-prometh-prometheus.monitoring:9090/")
	expect("/api/search", http.StatusOK, "Prometheus / Overview")
	s.kubectl("-n", "triton", "delete", "configmap", "dashboard")
	expect("/api/dashboards/uid/triton-latency", http.StatusNotFound, "")
	if out := s.kubectl("-n", "monitoring", "get", "pvc", "-o", "jsonpath={.items[*].status.phase}"); out != "Bound Bound" {
		t.Errorf("the claims of Grafana and Prometheus are %q, want both bound", out)
	}
}

func (s *sandbox) testUninstall(t *testing.T, home string) {
	if o := s.helm(t, home, "uninstall", "dcgm-exporter", "prom-operator", "-n", "monitoring", "--wait"); o.code != 0 {
		t.Fatalf("helm uninstall: exit code %d\n%s", o.code, o.stderr)
	}
	eventually(t, func() string {
		if out := s.kubectl("-n", "monitoring", "get", "pods", "-o", "name"); out != "" {
			return "pods are left: " + out
		}
		for _, id := range s.processes() {
			content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID)) // it may have ended
			switch name := filepath.Base(strings.SplitN(string(content), "\x00", 2)[0]); name {
			case "prometheus", "operator", "grafana", "k8s-sidecar", "prometheus-config-reloader", "dcgm-exporter", "kube-webhook-certgen":
				return name + " still runs"
			}
		}
		return ""
	})
	if out := s.kubectl("-n", "kube-system", "get", "service", "-o", "name"); out != "service/prom-operator-kube-prometh-kubelet\n" {
		t.Errorf("in kube-system the uninstall leaves %q, want the kubelets' Service as the real chart does", out)
	}
}

const faultyPods = `
apiVersion: v1
kind: Pod
metadata: {name: nopull, namespace: default}
spec: {containers: [{name: c, image: "nowhere.invalid/team/app:1"}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: unbound, namespace: default}
spec: {storageClassName: none, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: bound, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: baseline}}
---
apiVersion: v1
kind: Namespace
metadata: {name: small}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: none, namespace: small}
spec: {hard: {configmaps: "0"}}
`

// TestFaults provokes what an installer must be able to explain.
func TestFaults(t *testing.T) {
	s := newSandbox(t, "faults")
	s.must("up", "--name", s.name, "--stack=false", "--triton-replicas", "0", "--gpu-nodes", "1",
		"--gpu-node-labels", "cloud.google.com/gke-accelerator=nvidia-tesla-a100", "--gpu-node-taints", "sku=gpu:NoSchedule")
	if o := s.apply(t, faultyPods); o.code != 0 {
		t.Fatal(o.stderr)
	}
	field := func(want string, args ...string) {
		t.Helper()
		eventually(t, func() string {
			if got := s.kubectl(append([]string{"get"}, args...)...); got != want {
				return fmt.Sprintf("kubectl get %v = %q, want %q", args, got, want)
			}
			return ""
		})
	}
	field("ImagePullBackOff", "pod", "nopull", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
	field("Pending", "pvc", "unbound", "-o", "jsonpath={.status.phase}")
	field("Bound", "pvc", "bound", "-o", "jsonpath={.status.phase}")
	field("sku=gpu:NoSchedule", "node", "gpu-node-0", "-o", "jsonpath={.spec.taints[0].key}={.spec.taints[0].value}:{.spec.taints[0].effect}")
	field("nvidia-tesla-a100", "node", "gpu-node-0", "-o", `jsonpath={.metadata.labels.cloud\.google\.com/gke-accelerator}`)
	s.kubectl("delete", "pvc", "bound")
	field("", "pv", "-o", "name")
	for manifest, want := range map[string]string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"strict"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"x"}]}}`: "violates PodSecurity",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"small"}}`:                                                                "exceeded quota",
	} {
		eventually(t, func() string {
			if o := s.apply(t, manifest); !strings.Contains(o.stderr, want) {
				return fmt.Sprintf("%s: %q, want %q", manifest, o.stderr, want)
			}
			return ""
		})
	}
	t.Run("charts", s.testChartFaults)
	t.Run("API server", s.testOutage)
}

func (s *sandbox) testChartFaults(t *testing.T) {
	home := t.TempDir()
	repository := strings.TrimSpace(s.must("charts", "--name", s.name).stdout)
	show := func() outcome { return s.helm(t, home, "show", "chart", "dcgm-exporter", "--repo", repository) }
	if o := show(); o.code != 0 || !strings.Contains(o.stdout, "version: 4.8.2") {
		t.Fatalf("exit code %d, %s %s", o.code, o.stdout, o.stderr)
	}
	for _, fault := range []string{"corrupt", "missing", "unavailable"} {
		s.must("charts", "--name", s.name, "--fault", fault)
		if o := show(); o.code == 0 {
			t.Errorf("Helm reads a chart from a repository that is %s", fault)
		}
	}
	s.must("charts", "--name", s.name, "--fault", "none")
	if o := show(); o.code != 0 {
		t.Errorf("the repository does not recover: %s", o.stderr)
	}
	if o := s.run("charts", "--name", s.name, "--fault", "sulking"); o.code == 0 {
		t.Error("an unknown fault was accepted")
	}
}

func (s *sandbox) testOutage(t *testing.T) {
	away := make(chan outcome, 1)
	go func() { away <- s.run("restart-apiserver", "--name", s.name, "--for", "3s") }()
	eventually(t, func() string {
		o := execute(t, program(t, "kubectl"), []string{"KUBECONFIG=" + s.kubeconfig()}, "get", "--raw", "/readyz")
		if o.code == 0 {
			return "the API server still answers"
		}
		return ""
	})
	if o := <-away; o.code != 0 {
		t.Fatal(o.stderr)
	}
	if o := s.apply(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"after","namespace":"default"},"spec":{"containers":[{"name":"c","image":"x"}]}}`); o.code != 0 {
		t.Fatalf("after the outage: %s", o.stderr)
	}
	eventually(t, func() string {
		if phase := s.kubectl("get", "pod", "after", "-o", "jsonpath={.status.phase}"); phase != "Running" {
			return "scheduler and nodes have not recovered: the pod is " + phase
		}
		return ""
	})
}
