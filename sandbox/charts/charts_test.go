// Package charts_test holds what the stand-in charts have to share with the
// originals: the kinds, namespaces and names of their objects.
package charts_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec map[string]any `json:"spec"`
}

// render returns a chart's objects for a release in the namespace monitoring.
func render(t *testing.T, name, release, values string) []object {
	t.Helper()
	c, err := loader.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, given); err != nil {
		t.Fatal(err)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	rendering, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: "monitoring", IsInstall: true, Revision: 1}, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, rendering)
	if err != nil {
		t.Fatalf("%s with %q: %v", name, values, err)
	}
	var objects []object
	for file, content := range files {
		if strings.HasSuffix(file, "NOTES.txt") {
			continue
		}
		for _, manifest := range releaseutil.SplitManifests(content) {
			var o object
			if err := yaml.UnmarshalStrict([]byte(manifest), &map[string]any{}); err != nil {
				t.Fatalf("%s is not valid YAML: %v\n%s", file, err, manifest)
			}
			if err := yaml.Unmarshal([]byte(manifest), &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if o.Kind != "" {
				objects = append(objects, o)
			}
		}
	}
	return objects
}

// TestNames holds the names of the originals, 88.5.3 and 4.8.2, whose lists the
// golden files are, but for the default rules and dashboards, of which there
// are fewer here.
func TestNames(t *testing.T) {
	for name, release := range map[string]string{"kube-prometheus-stack": "prom-operator", "dcgm-exporter": "dcgm-exporter"} {
		var lines []string
		for _, o := range render(t, name, release, "") {
			hook := ""
			if h := o.Metadata.Annotations["helm.sh/hook"]; h != "" {
				hook = " hook " + h
			}
			lines = append(lines, strings.TrimSpace(o.Kind+" "+o.Metadata.Namespace+"/"+o.Metadata.Name+hook))
		}
		slices.Sort(lines)
		got := strings.Join(lines, "\n") + "\n"
		golden := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s has other objects than %s:\n%s", name, golden, got)
		}
	}
}

func find(t *testing.T, objects []object, kind, name string) object {
	t.Helper()
	for _, o := range objects {
		if o.Kind == kind && o.Metadata.Name == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return object{}
}

func TestSelectors(t *testing.T) {
	const prometheus = "prom-operator-kube-prometh-prometheus"
	own := find(t, render(t, "kube-prometheus-stack", "prom-operator", ""), "Prometheus", prometheus)
	selector, err := yaml.Marshal(own.Spec["serviceMonitorSelector"])
	if err != nil || string(selector) != "matchLabels:\n  release: prom-operator\n" {
		t.Errorf("by default monitors are selected by %q, %v", selector, err)
	}
	all := find(t, render(t, "kube-prometheus-stack", "prom-operator", "prometheus: {prometheusSpec: {serviceMonitorSelectorNilUsesHelmValues: false}}"), "Prometheus", prometheus)
	if selector, ok := all.Spec["serviceMonitorSelector"].(map[string]any); !ok || len(selector) != 0 {
		t.Errorf("all monitors are selected by %v, want an empty selector", all.Spec["serviceMonitorSelector"])
	}
}

func TestSwitchesLeaveOut(t *testing.T) {
	for values, unwanted := range map[string][]string{
		"alertmanager: {enabled: false}": {"Alertmanager", "-alertmanager"},
		"grafana: {enabled: false}":      {"-grafana"},
		"prometheusOperator: {admissionWebhooks: {enabled: false}, tls: {enabled: false}}": {"Job", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "-admission"},
		"kubeEtcd: {enabled: false}":         {"-kube-etcd"},
		"coreDns: {enabled: false}":          {"-coredns"},
		"nodeExporter: {enabled: false}":     {"-prometheus-node-exporter"},
		"kubeStateMetrics: {enabled: false}": {"prom-operator-kube-state-metrics"},
		"defaultRules: {create: false}":      {"PrometheusRule"},
	} {
		for _, o := range render(t, "kube-prometheus-stack", "prom-operator", values) {
			for _, u := range unwanted {
				if o.Kind == u || (strings.HasPrefix(u, "-") && strings.HasSuffix(o.Metadata.Name, u)) || (o.Metadata.Name == u && o.Kind != "PrometheusRule") {
					// Rules and dashboards about a component stay without it, as in the original.
					if o.Kind != "PrometheusRule" && o.Kind != "ConfigMap" || o.Kind == u {
						t.Errorf("%q leaves %s %s", values, o.Kind, o.Metadata.Name)
					}
				}
			}
		}
	}
}

func TestManyValuesRender(t *testing.T) {
	for _, values := range []string{
		"prometheus: {prometheusSpec: {scrapeInterval: 1s, retentionSize: 5GB, storageSpec: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 1Gi}}}}}, additionalScrapeConfigs: [{job_name: x}], podAntiAffinity: hard}}",
		"prometheus: {additionalServiceMonitors: [{name: x, selector: {}, endpoints: [{port: m}]}], additionalPodMonitors: [{name: y, selector: {}, podMetricsEndpoints: [{port: m}]}]}",
		"grafana: {adminPassword: x, persistence: {enabled: true}, sidecar: {dashboards: {folderAnnotation: f, provider: {foldersFromFilesStructure: true}}}, additionalDataSources: [{name: a, type: b}]}",
		"additionalPrometheusRulesMap: {x: {groups: [{name: g, rules: []}]}}",
		"kubeControllerManager: {endpoints: [10.0.0.1]}\nglobal: {imageRegistry: mirror.example.com, imagePullSecrets: [a, {name: b}]}\nfullnameOverride: short",
		"prometheusOperator: {admissionWebhooks: {failurePolicy: Fail, namespaceSelector: {matchLabels: {a: b}}}, namespaces: {releaseNamespace: true, additional: [x]}}",
	} {
		if len(render(t, "kube-prometheus-stack", "prom-operator", values)) < 50 {
			t.Errorf("%q renders too little", values)
		}
	}
	for _, values := range []string{
		"tlsServerConfig: {enabled: true, clientAuthType: RequireAndVerifyClientCert}\nbasicAuth: {users: {a: b}}",
		"kubernetes: {enablePodLabels: true, podLabelAllowlistRegex: [a, b]}\ncustomMetrics: 'X, gauge, y'\nhostNetwork: true\ndebugDump: {enabled: true}",
	} {
		if len(render(t, "dcgm-exporter", "other", values)) < 7 {
			t.Errorf("%q renders too little", values)
		}
	}
}
