package stack

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// prometheusOf is a Prometheus that somebody made.
func prometheusOf(t *testing.T, namespace, name string, labels, annotations map[string]string) *Prometheus {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	p, err := newPrometheus(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestChoosePrometheus(t *testing.T) {
	byHelm := func(namespace, name string) map[string]string {
		return map[string]string{helmReleaseName: name, helmReleaseNamespace: namespace}
	}
	flux := map[string]string{"helm.toolkit.fluxcd.io/name": "stack", "helm.toolkit.fluxcd.io/namespace": "flux-system"}
	const manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
	const fluxManifest = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {helm.toolkit.fluxcd.io/name: stack}}\n"
	fromRelease := prometheusOf(t, "monitoring", "prom-operator-kube-prometh-prometheus", nil, byHelm("monitoring", "prom-operator"))
	fluxRelease := prometheusOf(t, "monitoring", "prom-operator-kube-prometh-prometheus", flux, byHelm("monitoring", "prom-operator"))
	argo := prometheusOf(t, "argo", "k8s", map[string]string{"argocd.argoproj.io/instance": "obs"}, nil)
	other := prometheusOf(t, "team", "k8s", nil, byHelm("team", "kps"))
	elsewhere := prometheusOf(t, "staging", "x", nil, byHelm("staging", "prom-operator"))

	for name, test := range map[string]struct {
		found    []*Prometheus
		own      string // "", own, foreign, flux
		adopt    bool
		asked    string
		want     string // namespace/name
		manage   bool
		note     string
		problems []string
	}{
		"nothing there":                         {want: "monitoring/prom-operator-kube-prometh-prometheus", manage: true},
		"own release":                           {found: []*Prometheus{other, fromRelease}, own: "own", want: fromRelease.String(), manage: true},
		"own release, Prometheus not there yet": {own: "own", want: "monitoring/prom-operator-kube-prometh-prometheus", manage: true},
		"foreign release":                       {found: []*Prometheus{other, fromRelease}, own: "foreign", want: fromRelease.String(), note: "Helm release monitoring/prom-operator"},
		"foreign release, adopted":              {found: []*Prometheus{other, fromRelease}, own: "foreign", adopt: true, want: fromRelease.String(), manage: true},
		"foreign release without one, one else": {found: []*Prometheus{other}, own: "foreign", want: "team/k8s", note: "Helm release team/kps"},
		"foreign release without any":           {own: "foreign", problems: []string{"prom-operator", "monitoring", "--adopt", "--stack-namespace"}},
		"Flux's release":                        {found: []*Prometheus{other, fluxRelease}, own: "flux", want: fluxRelease.String(), note: "Flux (stack)"},
		"Flux's release is not adopted":         {found: []*Prometheus{other, fluxRelease}, own: "flux", adopt: true, want: fluxRelease.String(), note: "Flux (stack)"},
		"Flux's release, marked in it only":     {found: []*Prometheus{other, fromRelease}, own: "flux", adopt: true, want: fromRelease.String(), note: "Helm release"},
		"Flux's release without any":            {own: "flux", adopt: true, problems: []string{"GitOps", "--stack-namespace"}},
		"Flux took over the own release":        {found: []*Prometheus{fluxRelease}, own: "own", want: fluxRelease.String(), note: "Flux (stack)"},
		"one of Argo CD":                        {found: []*Prometheus{argo}, want: "argo/k8s", note: "Argo CD (obs)"},
		"the same release name elsewhere":       {found: []*Prometheus{elsewhere}, want: "staging/x", note: "Helm release staging/prom-operator"},
		"several":                               {found: []*Prometheus{argo, other}, problems: []string{"several", "--prometheus", "argo/k8s, team/k8s"}},
		"several, one asked for":                {found: []*Prometheus{argo, other}, asked: "team/k8s", want: "team/k8s", note: "owned by Helm release team/kps"},
		"the own one asked for":                 {found: []*Prometheus{argo, fromRelease}, own: "own", asked: fromRelease.String(), want: fromRelease.String(), manage: true},
		"another than the own asked for":        {found: []*Prometheus{argo, fromRelease}, own: "own", asked: "argo/k8s", want: "argo/k8s", note: "Argo CD"},
		"one asked for that isn't there":        {found: []*Prometheus{argo, other}, asked: "no/pe", problems: []string{"no/pe", "the cluster has argo/k8s, team/k8s"}},
		"one asked for where none is":           {asked: "no/pe", problems: []string{"no/pe", "the cluster has none"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			text := manifest
			if test.own == "flux" {
				text = fluxManifest
			}
			if test.own != "" {
				w.record(t, test.own == "own", "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil, text)
			}
			releases := w.records("monitoring")
			own, err := releases.Get(t.Context(), "prom-operator")
			if err != nil {
				t.Fatal(err)
			}
			p := &Plan{Wish: Wish{Namespace: "monitoring", Prometheus: test.asked, Adopt: test.adopt}}
			manage, err := p.choosePrometheus(test.found, own)
			if test.problems != nil {
				if err == nil {
					t.Fatalf("chose %s", p.Prometheus)
				}
				for _, part := range test.problems {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q is not in %q", part, err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Prometheus.String() != test.want || manage != test.manage {
				t.Errorf("chose %s, manage %v; want %s, %v", p.Prometheus, manage, test.want, test.manage)
			}
			if !strings.Contains(p.Stack.Note, test.note) || (p.Stack.Verb == Reuse) == manage {
				t.Errorf("component: %s, %q; want %q", p.Stack.Verb, p.Stack.Note, test.note)
			}
		})
	}
}

// TestSettlePrometheus: the values decide which Prometheus there will be.
func TestSettlePrometheus(t *testing.T) {
	p := &Plan{Wish: Wish{Namespace: "monitoring"}, Prometheus: PlannedPrometheus("monitoring", "prom-operator")}
	rendered := fromYAML(t, strings.Replace(stackPrometheus, "name: prom-operator-kube-prometh-prometheus", "name: mine", 1))
	rendered.SetAnnotations(nil) // Helm adds them
	if err := p.settlePrometheus(&ReleasePlan{Name: "prom-operator", rendering: &rendering{objects: []*unstructured.Unstructured{fromYAML(t, "{apiVersion: v1, kind: Service}"), rendered}}}); err != nil {
		t.Fatal(err)
	}
	if p.Prometheus.String() != "monitoring/mine" || p.Prometheus.Storage != "50Gi" || p.Prometheus.Owner != (Owner{Tool: "Helm", Name: "prom-operator", Namespace: "monitoring"}) {
		t.Errorf("settled on %+v", p.Prometheus)
	}
	w := newWorld(t, nil)
	admission, err := w.Admit(t.Context(), p.Prometheus, ServiceMonitorKind)
	if err != nil || admission.Labels["release"] != "prom-operator" {
		t.Errorf("a monitor gets %+v, %v; the selector wants release=prom-operator", admission, err)
	}
	err = p.settlePrometheus(&ReleasePlan{Name: "prom-operator", rendering: &rendering{}})
	if err == nil || !strings.Contains(err.Error(), "no Prometheus") {
		t.Errorf("values without a Prometheus give %v", err)
	}
}

// TestAdoptedValuesLast: the values of a release that was taken over hold in
// the next run too, when the release is the plugin's own.
func TestAdoptedValuesLast(t *testing.T) {
	w := newWorld(t, nil)
	theirs := map[string]any{"grafana": map[string]any{"persistence": map[string]any{"enabled": true}}}
	w.record(t, false, "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, theirs, "")
	releases := w.records("monitoring")
	foreign, err := releases.Get(t.Context(), "prom-operator")
	if err != nil {
		t.Fatal(err)
	}
	values := remember(Merge(Values{"grafana": map[string]any{"sidecar": true}}, foreign.adoptedValues()), foreign.adoptedValues())
	w.record(t, true, "dcgm-exporter", "monitoring", "dcgm-exporter", "4.8.2", release.StatusDeployed, values, "")
	own, err := releases.Get(t.Context(), "dcgm-exporter")
	if err != nil {
		t.Fatal(err)
	}
	got := own.adoptedValues()
	if lookUp(got, []string{"grafana", "persistence", "enabled"}) != true || lookUp(got, []string{"grafana", "sidecar"}) != nil {
		t.Errorf("the adopted values are %v, want %v", got, theirs)
	}
	if (*Release)(nil).adoptedValues() != nil || len(remember(Values{}, nil)) != 0 {
		t.Error("where nothing was adopted, something is remembered")
	}
}
