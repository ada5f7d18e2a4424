package stack

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestOwnerOf(t *testing.T) {
	helm := map[string]string{helmReleaseName: "kps", helmReleaseNamespace: "team"}
	for name, test := range map[string]struct {
		labels, annotations map[string]string
		want                Owner
		text                string
		gitOps              bool
	}{
		"nobody":          {nil, nil, Owner{}, "nobody known", false},
		"Helm":            {nil, helm, Owner{"Helm", "kps", "team"}, "Helm release team/kps", false},
		"this plugin":     {map[string]string{ManagedByLabel: ManagedBy}, nil, Owner{Tool: ManagedBy}, "kubectl-triton", false},
		"Argo CD, label":  {map[string]string{"argocd.argoproj.io/instance": "obs"}, nil, Owner{Tool: "Argo CD", Name: "obs"}, "Argo CD (obs)", true},
		"Argo CD, id":     {nil, map[string]string{"argocd.argoproj.io/tracking-id": "obs:/Service:a/b"}, Owner{Tool: "Argo CD", Name: "obs:/Service:a/b"}, "Argo CD (obs:/Service:a/b)", true},
		"Flux's Helm":     {map[string]string{"helm.toolkit.fluxcd.io/name": "obs", "helm.toolkit.fluxcd.io/namespace": "flux"}, helm, Owner{"Flux", "obs", "flux"}, "Flux (obs)", true},
		"Flux's Kustom":   {map[string]string{"kustomize.toolkit.fluxcd.io/name": "obs", "kustomize.toolkit.fluxcd.io/namespace": "flux"}, nil, Owner{"Flux", "obs", "flux"}, "Flux (obs)", true},
		"rendered charts": {map[string]string{ManagedByLabel: "Helm"}, nil, Owner{Tool: "GitOps"}, "GitOps", true},
		"somebody else":   {map[string]string{ManagedByLabel: "kustomize"}, nil, Owner{}, "nobody known", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := &unstructured.Unstructured{}
			o.SetLabels(test.labels)
			o.SetAnnotations(test.annotations)
			got := OwnerOf(o)
			if got != test.want || got.String() != test.text || got.GitOps() != test.gitOps {
				t.Errorf("got %+v, %q, GitOps %v; want %+v, %q, %v", got, got, got.GitOps(), test.want, test.text, test.gitOps)
			}
		})
	}
}

func TestJudgeCRD(t *testing.T) {
	crd := func(version string, labels map[string]string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		if version != "" {
			o.SetAnnotations(map[string]string{operatorVersion: version})
		}
		o.SetLabels(labels)
		return o
	}
	for name, test := range map[string]struct {
		live, wanted *unstructured.Unstructured
		verb         Verb
		note         string
	}{
		"equal":                    {crd("0.93.1", nil), crd("0.93.1", nil), Unchanged, "0.93.1"},
		"older":                    {crd("0.80.0", nil), crd("0.93.1", nil), Update, "0.80.0 becomes 0.93.1"},
		"older by a number":        {crd("0.9.0", nil), crd("0.10.0", nil), Update, "0.9.0 becomes 0.10.0"},
		"a pre-release of it":      {crd("0.93.1-rc.1", nil), crd("0.93.1", nil), Update, "0.93.1-rc.1 becomes 0.93.1"},
		"newer":                    {crd("0.95.0", nil), crd("0.93.1", nil), Reuse, "is newer (0.95.0) than the chart's (0.93.1)"},
		"without a version":        {crd("", nil), crd("0.93.1", nil), Update, "of an unknown version, becomes 0.93.1"},
		"with a strange version":   {crd("main", nil), crd("0.93.1", nil), Update, "of an unknown version, becomes 0.93.1"},
		"the chart says none":      {crd("0.93.1", nil), crd("", nil), Unchanged, "0.93.1"},
		"older, but of Argo CD":    {crd("0.80.0", map[string]string{"argocd.argoproj.io/instance": "crds"}), crd("0.93.1", nil), Reuse, "belongs to Argo CD (crds)"},
		"older, but of Flux":       {crd("0.80.0", map[string]string{"kustomize.toolkit.fluxcd.io/name": "crds"}), crd("0.93.1", nil), Reuse, "belongs to Flux (crds)"},
		"older, of a rendered set": {crd("0.80.0", map[string]string{ManagedByLabel: "Helm"}), crd("0.93.1", nil), Reuse, "belongs to GitOps"},
	} {
		t.Run(name, func(t *testing.T) {
			if verb, note := judgeCRD(test.live, test.wanted); verb != test.verb || note != test.note {
				t.Errorf("got %s, %q; want %s, %q", verb, note, test.verb, test.note)
			}
		})
	}
}

func TestPlanCRDs(t *testing.T) {
	crd := func(name, version string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: "+name+", annotations: {operator.prometheus.io/version: "+version+"}}}")
	}
	w := newWorld(t, nil, crd("probes.monitoring.coreos.com", "0.99.0"), crd("podmonitors.monitoring.coreos.com", "0.1.0"))
	changes, err := w.PlanCRDs(t.Context(), []*unstructured.Unstructured{
		crd("probes.monitoring.coreos.com", "0.93.1"), crd("podmonitors.monitoring.coreos.com", "0.93.1"), crd("prometheuses.monitoring.coreos.com", "0.93.1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var verbs []Verb
	for _, c := range changes {
		verbs = append(verbs, c.Verb)
	}
	if want := []Verb{Reuse, Update, Create}; !slices.Equal(verbs, want) {
		t.Errorf("got %v, want %v", verbs, want)
	}
	if summarise(changes) != Update {
		t.Errorf("as a whole: %s", summarise(changes))
	}
}

func TestSummarise(t *testing.T) {
	there := &unstructured.Unstructured{}
	change := func(verb Verb) Change {
		if verb == Create {
			return Change{Verb: verb}
		}
		return Change{Verb: verb, Before: there}
	}
	for _, test := range []struct {
		verbs []Verb
		want  Verb
	}{
		{nil, Unchanged},
		{[]Verb{Unchanged, Reuse}, Unchanged},
		{[]Verb{Create, Create}, Create},
		{[]Verb{Unchanged, Create}, Update},
		{[]Verb{Create, Unchanged}, Update},
		{[]Verb{Unchanged, Delete}, Update},
		{[]Verb{Update}, Update},
		{[]Verb{Unchanged, Unknown}, Unknown},
		{[]Verb{Keep}, Unchanged},
	} {
		var changes []Change
		for _, verb := range test.verbs {
			changes = append(changes, change(verb))
		}
		if got := summarise(changes); got != test.want {
			t.Errorf("%v as a whole: %s, want %s", test.verbs, got, test.want)
		}
	}
}

func TestSortObjects(t *testing.T) {
	var objects []*unstructured.Unstructured
	for _, r := range []Ref{
		{Kind: "Deployment", Namespace: "b", Name: "x"}, {Kind: "ConfigMap", Namespace: "b", Name: "x"}, {Kind: "Secret", Namespace: "b", Name: "x"},
		{Kind: "Deployment", Namespace: "a", Name: "y"}, {Kind: "ServiceAccount", Namespace: "b", Name: "x"}, {Kind: "CustomResourceDefinition", Name: "c"},
		{Kind: "Namespace", Name: "z"}, {Kind: "ClusterRole", Name: "r"}, {Kind: "Namespace", Name: "b"},
	} {
		o := &unstructured.Unstructured{}
		o.SetKind(r.Kind)
		o.SetNamespace(r.Namespace)
		o.SetName(r.Name)
		objects = append(objects, o)
	}
	sortObjects(objects)
	var got []string
	for _, o := range objects {
		got = append(got, RefOf(o).String())
	}
	want := []string{"Namespace b", "Namespace z", "CustomResourceDefinition c", "ServiceAccount b/x", "Secret b/x", "ConfigMap b/x", "ClusterRole r", "Deployment a/y", "Deployment b/x"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
