package stack

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// triton is a server as the plugin finds one.
func triton(change func(*Target)) Target {
	t := Target{Name: "triton-infer", Namespace: "triton", PodLabels: map[string]string{"app": "triton-infer"}, Port: 8002, Container: "triton",
		Service: "triton-infer", ServicePort: "metrics", ServiceLabels: map[string]string{"app": "triton-infer", "team": "ml"}}
	change(&t)
	return t
}

func TestMonitorGoldens(t *testing.T) {
	all := &metav1.LabelSelector{}
	release := &metav1.LabelSelector{MatchLabels: map[string]string{"release": "prom-operator"}}
	takesAll := map[string]selection{PodMonitorKind: {all, all}, ServiceMonitorKind: {all, all}}
	w := newWorld(t, nil)
	for name, test := range map[string]struct {
		selectors map[string]selection
		target    Target
		interval  time.Duration
	}{
		"pod-named-port":      {takesAll, triton(func(t *Target) { t.PortName, t.Declared = "metrics", true }), 2 * time.Second},
		"pod-declared-number": {takesAll, triton(func(t *Target) { t.Port, t.Declared = 9002, true }), 1500 * time.Millisecond},
		"pod-undeclared":      {takesAll, triton(func(*Target) {}), 2 * time.Second},
		"service":             {map[string]selection{ServiceMonitorKind: {release, nil}}, triton(func(*Target) {}), 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := w.Monitor(t.Context(), &Prometheus{Namespace: "monitoring", Name: "k8s", selectors: test.selectors}, test.target, test.interval)
			if err != nil {
				t.Fatal(err)
			}
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "monitor-"+name+".yaml", text)
		})
	}
}

func TestMonitorProblems(t *testing.T) {
	all := &metav1.LabelSelector{}
	w := newWorld(t, nil)
	for name, test := range map[string]struct {
		selectors map[string]selection
		target    Target
		want      []string
	}{
		"Services only, and there is none":          {map[string]selection{ServiceMonitorKind: {all, all}}, triton(func(t *Target) { t.ServicePort = "" }), []string{"takes no PodMonitors", "ServiceMonitor", "named metrics port", "triton/triton-infer"}},
		"Services only, and this one has no labels": {map[string]selection{ServiceMonitorKind: {all, all}}, triton(func(t *Target) { t.ServiceLabels = nil }), []string{"takes no PodMonitors", "labels"}},
		"neither kind": {nil, triton(func(*Target) {}), []string{"takes no PodMonitors", "takes no ServiceMonitors"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := w.Monitor(t.Context(), &Prometheus{Namespace: "monitoring", Name: "k8s", selectors: test.selectors}, test.target, time.Second)
			if err == nil {
				t.Fatalf("got %s", RefOf(o))
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has more than one line", err)
			}
		})
	}
}

func TestExporterMonitorHasItsOwnName(t *testing.T) {
	all := &metav1.LabelSelector{}
	w := newWorld(t, nil)
	p := &Prometheus{Namespace: "monitoring", Name: "k8s", selectors: map[string]selection{PodMonitorKind: {all, all}}}
	o, err := w.ExporterMonitor(t.Context(), p, OwnExporter("gpu"), time.Second)
	if err != nil || RefOf(o).String() != "PodMonitor monitoring/gpu.gpu.dcgm-exporter" {
		t.Errorf("got %v, %v", o, err)
	}
}

// TestMonitorsOf: a target is left to somebody's monitor only if that reaches it
// and the Prometheus takes that.
func TestMonitorsOf(t *testing.T) {
	monitorOf := func(text string) *unstructured.Unstructured {
		return fromYAML(t, "apiVersion: monitoring.coreos.com/v1\n"+text)
	}
	const service = "kind: ServiceMonitor\nmetadata: {name: theirs, namespace: %ns, labels: {release: kps}}\nspec: {selector: {matchLabels: {%label}}, endpoints: [{port: metrics, interval: 15s}]%more}"
	text := func(ns, label, more string) string {
		return strings.NewReplacer("%ns", ns, "%label", label, "%more", more).Replace(service)
	}
	all := &metav1.LabelSelector{}
	byRelease := &metav1.LabelSelector{MatchLabels: map[string]string{"release": "kps"}}
	scraped := &metav1.LabelSelector{MatchLabels: map[string]string{"scraped": "yes"}}
	for name, test := range map[string]struct {
		monitor  string
		takes    map[string]selection
		found    bool
		interval string
	}{
		"the Service's, in its namespace":  {text("triton", "team: ml", ""), map[string]selection{ServiceMonitorKind: {byRelease, all}}, true, "15s"},
		"in another namespace, naming it":  {text("team", "team: ml", ", namespaceSelector: {matchNames: [x, triton]}"), map[string]selection{ServiceMonitorKind: {byRelease, all}}, true, "15s"},
		"in another namespace, for any":    {text("team", "team: ml", ", namespaceSelector: {any: true}"), map[string]selection{ServiceMonitorKind: {byRelease, all}}, true, "15s"},
		"in another namespace":             {text("team", "team: ml", ""), map[string]selection{ServiceMonitorKind: {byRelease, all}}, false, ""},
		"naming another namespace":         {text("triton", "team: ml", ", namespaceSelector: {matchNames: [x]}"), map[string]selection{ServiceMonitorKind: {byRelease, all}}, false, ""},
		"of another Service":               {text("triton", "team: web", ""), map[string]selection{ServiceMonitorKind: {byRelease, all}}, false, ""},
		"not taken for its labels":         {text("triton", "team: ml", ""), map[string]selection{ServiceMonitorKind: {scraped, all}}, false, ""},
		"not taken for its kind":           {text("triton", "team: ml", ""), map[string]selection{PodMonitorKind: {all, all}}, false, ""},
		"not taken for its namespace":      {text("triton", "team: ml", ""), map[string]selection{ServiceMonitorKind: {all, nil}}, false, ""},
		"taken for its namespace's labels": {text("triton", "team: ml", ""), map[string]selection{ServiceMonitorKind: {all, scraped}}, true, "15s"},
		"of the pods, without an interval": {"kind: PodMonitor\nmetadata: {name: theirs, namespace: triton}\nspec: {selector: {matchLabels: {app: triton-infer}}, podMetricsEndpoints: [{port: metrics}]}", map[string]selection{PodMonitorKind: {all, all}}, true, ""},
		"of other pods":                    {"kind: PodMonitor\nmetadata: {name: theirs, namespace: triton}\nspec: {selector: {matchLabels: {app: web}}, podMetricsEndpoints: [{port: metrics}]}", map[string]selection{PodMonitorKind: {all, all}}, false, ""},
		"this plugin's own":                {"kind: PodMonitor\nmetadata: {name: ours, namespace: triton, labels: {app.kubernetes.io/managed-by: kubectl-triton}}\nspec: {selector: {matchLabels: {app: triton-infer}}}", map[string]selection{PodMonitorKind: {all, all}}, false, ""},
		"one that can't be read":           {"kind: PodMonitor\nmetadata: {name: theirs, namespace: triton}\nspec: {selector: [1]}", map[string]selection{PodMonitorKind: {all, all}}, false, ""},
		"a selector that can't be read":    {"kind: PodMonitor\nmetadata: {name: theirs, namespace: triton}\nspec: {selector: {matchExpressions: [{key: a, operator: Like}]}}", map[string]selection{PodMonitorKind: {all, all}}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []runtime.Object{
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "triton", Labels: map[string]string{"scraped": "yes"}}},
			}, monitorOf(test.monitor))
			known, err := w.Monitors(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ref, interval, found := known.Of(&Prometheus{Namespace: "monitoring", selectors: test.takes}, triton(func(*Target) {}))
			if found != test.found || interval != test.interval || found && ref.Name != "theirs" {
				t.Errorf("got %s, %q, %v; want %v, %q", ref, interval, found, test.found, test.interval)
			}
		})
	}
}

// TestMonitorsNote: what is scraped already is left alone and said.
func TestMonitorsNote(t *testing.T) {
	all := &metav1.LabelSelector{}
	w := newWorld(t, nil, fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: theirs, namespace: triton}, spec: {selector: {matchLabels: {app: triton-infer}}}}"))
	known, err := w.Monitors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{Wish: Wish{ScrapeInterval: 2 * time.Second, Tritons: []Target{triton(func(*Target) {}), triton(func(t *Target) { t.Name, t.PodLabels = "b", map[string]string{"app": "b"} })}},
		Prometheus: &Prometheus{Namespace: "monitoring", selectors: map[string]selection{PodMonitorKind: {all, all}}}}
	objects, notes, err := p.monitors(t.Context(), w.Client, known)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 1 || objects[0].GetName() != "triton.b" {
		t.Errorf("monitors: %v", objects)
	}
	if len(notes) != 1 || notes[0] != "Triton triton/triton-infer is scraped already, every 30s by PodMonitor triton/theirs; a test of some seconds needs a scrape interval of 2s" {
		t.Errorf("notes: %q", notes)
	}
}
