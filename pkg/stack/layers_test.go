package stack

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestExporterLayers(t *testing.T) {
	wish := Wish{ScrapeInterval: 2 * time.Second, CollectInterval: 500 * time.Millisecond, Placement: Placement{
		NodeSelector: map[string]string{"feature.node.kubernetes.io/pci-10de.present": "true"},
		Tolerations:  []corev1.Toleration{{Key: "sku", Operator: corev1.TolerationOpEqual, Value: "gpu", Effect: corev1.TaintEffectNoSchedule}},
		RuntimeClass: "nvidia",
	}}
	merged := func(w Wish, a *Admission, existing Values) Values {
		t.Helper()
		layers, err := w.exporterLayers(a, existing)
		if err != nil {
			t.Fatal(err)
		}
		return Merge(layers...)
	}
	admission := &Admission{Namespace: "monitoring", Labels: map[string]string{"release": "prom-operator", ManagedByLabel: ManagedBy, PartOfLabel: PartOf}}
	got := merged(wish, admission, nil)
	for path, want := range map[string]any{
		"nodeSelector":     map[string]any{"feature.node.kubernetes.io/pci-10de.present": "true"},
		"tolerations":      []any{map[string]any{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}},
		"runtimeClassName": "nvidia",
		"arguments":        []any{"-f", "/etc/dcgm-exporter/default-counters.csv", "--collect-interval=500"},
		"serviceMonitor":   map[string]any{"enabled": true, "interval": "2s", "scrapeTimeout": "2s", "additionalLabels": map[string]any{"release": "prom-operator"}},
	} {
		value := got[path]
		if path == "serviceMonitor" {
			value = only(value.(map[string]any), "enabled", "interval", "scrapeTimeout", "additionalLabels")
		}
		if diff := cmp.Diff(want, value); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}

	if got := merged(wish, nil, nil); lookUp(got, []string{"serviceMonitor", "enabled"}) != false {
		t.Errorf("without an admission the chart's monitor is %v", got["serviceMonitor"])
	}
	bare := merged(Wish{ScrapeInterval: time.Second, CollectInterval: time.Second}, nil, nil)
	if diff := cmp.Diff([]any{}, bare["tolerations"]); diff != "" {
		t.Errorf("the assets' tolerations stay where the nodes have no taints: %s", diff)
	}
	if _, set := bare["affinity"]; set {
		t.Errorf("affinity: %v", bare["affinity"])
	}

	wish.ExporterValues = Values{"runtimeClassName": "mine", "serviceMonitor": map[string]any{"interval": "9s"}}
	existing := Values{"runtimeClassName": "theirs", "resources": map[string]any{"limits": nil}, "serviceMonitor": map[string]any{"interval": "7s"}}
	got = merged(wish, admission, existing)
	if got["runtimeClassName"] != "mine" || lookUp(got, []string{"serviceMonitor", "interval"}) != "9s" {
		t.Errorf("the user's values don't win: %v", got)
	}
	wish.ExporterValues = nil
	got = merged(wish, admission, existing)
	if got["runtimeClassName"] != "theirs" || lookUp(got, []string{"serviceMonitor", "interval"}) != "7s" {
		t.Errorf("the adopted values don't win over the plugin's: %v", got)
	}
}

func only(m map[string]any, keys ...string) map[string]any {
	out := map[string]any{}
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		}
	}
	return out
}

func TestPrometheusLayers(t *testing.T) {
	for _, profile := range []string{"lite", "standard", "full"} {
		for _, platform := range []string{"generic", "gke", "eks", "aks"} {
			layers, err := Wish{Profile: profile, Platform: platform, PrometheusValues: Values{"grafana": "mine"}}.prometheusLayers(Values{"grafana": "theirs", "b": true})
			if err != nil {
				t.Fatalf("%s on %s: %v", profile, platform, err)
			}
			got := Merge(layers...)
			if got["grafana"] != "mine" || got["b"] != true {
				t.Errorf("%s on %s: the user's values don't win: %v", profile, platform, got)
			}
			if lookUp(got, []string{"prometheus", "prometheusSpec", "podMonitorSelectorNilUsesHelmValues"}) != false {
				t.Errorf("%s on %s: Prometheus is choosy", profile, platform)
			}
			if managed := platform != "generic"; managed && lookUp(got, []string{"kubeEtcd", "enabled"}) != false {
				t.Errorf("%s on %s scrapes a control plane that isn't the user's", profile, platform)
			}
		}
	}
	if _, err := (Wish{Profile: "huge", Platform: "generic"}).prometheusLayers(nil); err == nil || !strings.Contains(err.Error(), "huge") {
		t.Errorf("an unknown profile gives %v", err)
	}
}

func TestPromDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Second: "1s", 90 * time.Second: "90s", 1500 * time.Millisecond: "1500ms", 100 * time.Millisecond: "100ms"} {
		if got := promDuration(d); got != want {
			t.Errorf("%s is written %s, want %s", d, got, want)
		}
	}
}
