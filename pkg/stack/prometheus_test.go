package stack

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

func expression(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
}

func TestSatisfy(t *testing.T) {
	const in, notIn, exists, absent = metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist
	for name, test := range map[string]struct {
		selector   metav1.LabelSelector
		want       map[string]string // besides the plugin's own labels
		impossible bool
	}{
		"empty":                     {},
		"matchLabels":               {selector: metav1.LabelSelector{MatchLabels: map[string]string{"release": "prom"}}, want: map[string]string{"release": "prom"}},
		"In":                        {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "ml", "web")}}, want: map[string]string{"team": "ml"}},
		"two Ins with one in both":  {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "a", "c"), expression("team", in, "b", "c")}}, want: map[string]string{"team": "c"}},
		"In and NotIn":              {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "a", "b"), expression("team", notIn, "a")}}, want: map[string]string{"team": "b"}},
		"Exists":                    {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("scrape", exists)}}, want: map[string]string{"scrape": "true"}},
		"Exists of an own label":    {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression(PartOfLabel, exists)}}, want: nil},
		"NotIn and DoesNotExist":    {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", notIn, "a"), expression("skip", absent)}}},
		"both kinds agree":          {selector: metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}, MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "a", "b")}}, want: map[string]string{"team": "b"}},
		"both kinds contradict":     {selector: metav1.LabelSelector{MatchLabels: map[string]string{"team": "z"}, MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "a", "b")}}, impossible: true},
		"two Ins with none in both": {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in, "a"), expression("team", in, "b")}}, impossible: true},
		"Exists and DoesNotExist":   {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", exists), expression("team", absent)}}, impossible: true},
		"own label forbidden":       {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression(PartOfLabel, absent)}}, impossible: true},
		"In of nothing":             {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", in)}}, impossible: true},
		"unknown operator":          {selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("team", "Like", "a")}}, impossible: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := satisfy(&test.selector)
			if test.impossible {
				if err == nil {
					t.Fatalf("satisfied by %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{ManagedByLabel: ManagedBy, PartOfLabel: PartOf}
			maps.Copy(want, test.want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			selector, err := metav1.LabelSelectorAsSelector(&test.selector)
			if err != nil || !selector.Matches(labels.Set(got)) {
				t.Errorf("%v does not match %s", got, selector)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	namespace := func(name string, l map[string]string) runtime.Object {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}}
	}
	w := newWorld(t, []runtime.Object{
		namespace("monitoring", nil), namespace("triton", map[string]string{"scraped": "yes"}), namespace("default", nil),
	})
	all := &metav1.LabelSelector{}
	scraped := &metav1.LabelSelector{MatchLabels: map[string]string{"scraped": "yes"}}
	for name, test := range map[string]struct {
		selection selection
		others    []string
		namespace string
		problem   string
	}{
		"no selector":                      {selection{}, nil, "", "takes no PodMonitors"},
		"impossible selector":              {selection{object: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", metav1.LabelSelectorOpIn)}}}, nil, "", "no labels make Prometheus monitoring/k8s take a PodMonitor"},
		"own namespace only":               {selection{object: all}, []string{"triton"}, "monitoring", ""},
		"all namespaces":                   {selection{object: all, namespace: all}, []string{"triton"}, "monitoring", ""},
		"a labelled one":                   {selection{object: all, namespace: scraped}, []string{"default", "triton"}, "triton", ""},
		"a labelled one and one not there": {selection{object: all, namespace: scraped}, []string{"none", "triton"}, "triton", ""},
		"none that is labelled":            {selection{object: all, namespace: scraped}, []string{"default"}, "", "monitoring and default is none; label one with 'kubectl label namespace monitoring"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Prometheus{Namespace: "monitoring", Name: "k8s", selectors: map[string]selection{PodMonitorKind: test.selection}}
			got, err := w.Admit(t.Context(), p, PodMonitorKind, test.others...)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("got %+v, %v; want an error with %q", got, err, test.problem)
				}
				return
			}
			if err != nil || got.Namespace != test.namespace {
				t.Errorf("got %+v, %v; want namespace %s", got, err, test.namespace)
			}
		})
	}
}

// stackPrometheus is one as the operator reports it.
const stackPrometheus = `
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata:
  name: prom-operator-kube-prometh-prometheus
  namespace: monitoring
  labels: {app: kube-prometheus-stack-prometheus, app.kubernetes.io/managed-by: Helm, release: prom-operator}
  annotations: {meta.helm.sh/release-name: prom-operator, meta.helm.sh/release-namespace: monitoring}
spec:
  retention: 10d
  retentionSize: 45GB
  scrapeInterval: 30s
  version: v3.5.0
  replicas: 1
  serviceMonitorSelector: {matchLabels: {release: prom-operator}}
  serviceMonitorNamespaceSelector: {}
  podMonitorSelector: {}
  podMonitorNamespaceSelector: {matchLabels: {scraped: "yes"}}
  ruleSelector: {matchExpressions: [{key: role, operator: In, values: [alerts]}]}
  storage: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 50Gi}}}}}
status:
  conditions:
  - {type: Available, status: "False", reason: SomePodsNotReady, message: "shard 0: pod prometheus-0: 0/3 nodes are available"}
  - {type: Reconciled, status: "True"}
`

func TestNewPrometheus(t *testing.T) {
	p, err := newPrometheus(fromYAML(t, stackPrometheus))
	if err != nil {
		t.Fatal(err)
	}
	want := &Prometheus{Namespace: "monitoring", Name: "prom-operator-kube-prometh-prometheus", Version: "v3.5.0",
		Owner:      Owner{Tool: "Helm", Name: "prom-operator", Namespace: "monitoring"},
		Conditions: map[string]string{"Available": "SomePodsNotReady: shard 0: pod prometheus-0: 0/3 nodes are available", "Reconciled": ""},
		Retention:  "10d", RetentionSize: "45GB", ScrapeInterval: "30s", Storage: "50Gi"}
	if diff := cmp.Diff(want, p, cmp.FilterPath(func(path cmp.Path) bool {
		return path.Last().String() == ".selectors" || path.Last().String() == ".release"
	}, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if ok, why := p.Available(); ok || !strings.HasPrefix(why, "SomePodsNotReady") {
		t.Errorf("available: %v, %q", ok, why)
	}
	if s := p.selectors[ServiceMonitorKind]; s.object.MatchLabels["release"] != "prom-operator" || s.namespace == nil || len(s.namespace.MatchLabels) != 0 {
		t.Errorf("ServiceMonitors: %+v", s)
	}
	if s := p.selectors[PodMonitorKind]; s.object == nil || s.namespace.MatchLabels["scraped"] != "yes" {
		t.Errorf("PodMonitors: %+v", s)
	}
	if s := p.selectors[PrometheusRuleKind]; s.object.MatchExpressions[0].Values[0] != "alerts" || s.namespace != nil {
		t.Errorf("rules: %+v", s)
	}
	if fullName("prom-operator")+"-prometheus" != p.Name {
		t.Errorf("the chart calls it %s, computed is %s-prometheus", p.Name, fullName("prom-operator"))
	}
}

func TestNewPrometheusOfOddities(t *testing.T) {
	for name, test := range map[string]struct{ change, storage, available string }{
		"a size as a number": {`spec: {storage: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 1000000}}}}}}`, "1M", "has not reported"},
		"nothing":            {`spec: {}`, "", "has not reported"},
		"no spec":            {`metadata: {name: x}`, "", "has not reported"},
		"a bare condition":   {`status: {conditions: [{type: Available, status: Unknown}, {type: Reconciled, status: "True"}]}`, "", "not Available"},
		"half reported":      {`status: {conditions: [{type: Available, status: "True"}]}`, "", "has not reported"},
		"ephemeral storage":  {`spec: {storage: {emptyDir: {medium: Memory}}}`, "", "has not reported"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPrometheus(fromYAML(t, test.change))
			if err != nil {
				t.Fatal(err)
			}
			if p.Storage != test.storage {
				t.Errorf("storage %q, want %q", p.Storage, test.storage)
			}
			if ok, why := p.Available(); ok || !strings.Contains(why, test.available) {
				t.Errorf("available: %v, %q; want %q", ok, why, test.available)
			}
		})
	}
	if _, err := newPrometheus(fromYAML(t, `{metadata: {name: a, namespace: b}, spec: {retention: [1]}}`)); err == nil || !strings.Contains(err.Error(), "b/a") {
		t.Errorf("a Prometheus that can't be read gives %v", err)
	}
}
