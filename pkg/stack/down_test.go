package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

func ownNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring", Labels: map[string]string{PartOfLabel: PartOf}}}
}

func told(changes []Change) []string {
	var out []string
	for _, c := range changes {
		text := string(c.Verb) + " " + c.String()
		if c.Note != "" {
			text += ": " + c.Note
		}
		out = append(out, text)
	}
	return out
}

// ofStack are objects of all kinds that 'up' and others leave in a cluster.
func ofStack(t *testing.T) (typed []runtime.Object, objects []*unstructured.Unstructured) {
	t.Helper()
	fullname := fullName("prom-operator")
	claim := func(name string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "monitoring", Labels: map[string]string{ManagedByLabel: "prometheus-operator"}},
			Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("50Gi")}}}}
	}
	typed = []runtime.Object{ownNamespace(),
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fullname + "-kubelet", Namespace: "kube-system"}},
		claim("prometheus-" + fullname + "-prometheus-db-0"), claim("prometheus-somebody-db-0"),
	}
	crd := func(name, manager string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: "+name+", managedFields: [{manager: "+manager+"}]}}")
	}
	monitorIn := func(namespace, name, more string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, metadata: {name: "+name+", namespace: "+namespace+more+"}}")
	}
	objects = []*unstructured.Unstructured{
		crd("servicemonitors.monitoring.coreos.com", fieldManager), crd("podmonitors.monitoring.coreos.com", fieldManager),
		crd("prometheusrules.monitoring.coreos.com", "helm"), crd("others.example.com", fieldManager),
		monitorIn("a", "theirs", ""), monitorIn("b", "theirs", ""), monitorIn("b", "more", ""),
		monitorIn("monitoring", "ours", ", labels: {app.kubernetes.io/managed-by: kubectl-triton, app.kubernetes.io/part-of: kubectl-triton-observe}"),
		monitorIn("monitoring", "charts", ", annotations: {meta.helm.sh/release-name: prom-operator, meta.helm.sh/release-namespace: monitoring}"),
		fromYAML(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: triton-latency, namespace: monitoring, labels: {app.kubernetes.io/part-of: kubectl-triton-observe}}}"),
		fromYAML(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs, namespace: monitoring}}"),
	}
	return typed, objects
}

func TestPlanRemoval(t *testing.T) {
	typed, objects := ofStack(t)
	w := newWorld(t, typed, objects...)
	w.record(t, true, "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil, "")
	w.record(t, false, "dcgm-exporter", "monitoring", "dcgm-exporter", "4.8.1", release.StatusDeployed, nil, "")
	r, err := w.PlanRemoval(t.Context(), "monitoring")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Releases) != 1 || r.Releases[0].Name != "prom-operator" || len(r.Foreign) != 1 || r.Foreign[0].Name != "dcgm-exporter" || !r.OwnNamespace || r.NamespaceMissing || r.Empty() {
		t.Errorf("got %+v", r)
	}
	if got, want := told(r.Objects), []string{"delete ConfigMap monitoring/triton-latency", "delete ServiceMonitor monitoring/ours"}; !slices.Equal(got, want) {
		t.Errorf("objects:\n got %q\nwant %q", got, want)
	}
	want := []string{
		"keep CustomResourceDefinition podmonitors.monitoring.coreos.com: nobody else has objects of it",
		"keep CustomResourceDefinition servicemonitors.monitoring.coreos.com: 3 objects of others in 2 namespaces would be deleted with it",
		"keep PersistentVolumeClaim monitoring/prometheus-prom-operator-kube-prometh-prometheus-db-0: 50Gi of recorded metrics or silences",
		"keep Service kube-system/prom-operator-kube-prometh-kubelet: made by prometheus-operator for the kubelets' metrics",
	}
	if got := told(r.Kept); !slices.Equal(got, want) {
		t.Errorf("kept:\n got %q\nwant %q", got, want)
	}
	if err := w.Purge(t.Context(), r.Kept[:1]); err != nil {
		t.Fatal(err)
	}
	if err := w.Purge(t.Context(), r.Kept[:1]); err != nil {
		t.Errorf("what is gone can't be purged again: %v", err)
	}
}

// TestPlanRemovalOfForeignStack: of a stack that somebody else made nothing is
// listed for --purge.
func TestPlanRemovalOfForeignStack(t *testing.T) {
	typed, objects := ofStack(t)
	w := newWorld(t, typed[1:], objects[:3]...)
	w.record(t, false, "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil, "")
	r, err := w.PlanRemoval(t.Context(), "monitoring")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Releases)+len(r.Objects)+len(r.Kept) != 0 || !r.Empty() || !r.NamespaceMissing {
		t.Errorf("got %+v", r)
	}
}

// TestPlanRemovalBesideTheSameElsewhere: the kubelets' Service is called after the
// release, and may be that of one of the same name in another namespace.
func TestPlanRemovalBesideTheSameElsewhere(t *testing.T) {
	typed, _ := ofStack(t)
	theirs := fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: "+fullName("prom-operator")+"-prometheus, namespace: team, annotations: {meta.helm.sh/release-name: prom-operator, meta.helm.sh/release-namespace: team}}}")
	for _, test := range []struct {
		elsewhere []*unstructured.Unstructured
		want      int
	}{{nil, 1}, {[]*unstructured.Unstructured{theirs}, 0}} {
		w := newWorld(t, typed[:2], test.elsewhere...)
		r, err := w.PlanRemoval(t.Context(), "monitoring")
		if err != nil || len(r.Kept) != test.want {
			t.Errorf("beside %d others kept is %q, %v", len(test.elsewhere), told(r.Kept), err)
		}
	}
}

// TestPlanRemovalFromAnotherNamespace: the monitors, rules and dashboards are those
// of the one stack that there is; a wrong --stack-namespace must not take them from
// it. Without a stack anywhere they go.
func TestPlanRemovalFromAnotherNamespace(t *testing.T) {
	theirs := fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: "+fullName("prom-operator")+"-prometheus, namespace: monitoring, annotations: {meta.helm.sh/release-name: prom-operator, meta.helm.sh/release-namespace: monitoring}}}")
	dashboard := fromYAML(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: triton-latency, namespace: monitoring, labels: {app.kubernetes.io/part-of: kubectl-triton-observe}}}")
	for name, test := range map[string]struct {
		own     bool
		objects []*unstructured.Unstructured
		refused bool
	}{
		"its own stack is elsewhere": {true, []*unstructured.Unstructured{theirs, dashboard}, true},
		"somebody's is elsewhere":    {false, []*unstructured.Unstructured{theirs, dashboard}, false},
		"there is none":              {true, []*unstructured.Unstructured{dashboard}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, test.objects...)
			w.record(t, test.own, "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil, "")
			r, err := w.PlanRemoval(t.Context(), "monitorng")
			switch {
			case test.refused && (err == nil || !strings.Contains(err.Error(), "--stack-namespace monitoring")):
				t.Errorf("planned %+v, %v", r, err)
			case !test.refused && (err != nil || len(r.Objects) != 1):
				t.Errorf("planned %+v, %v", r, err)
			}
		})
	}
}

func TestRemoveNamespace(t *testing.T) {
	object := func(text string) *unstructured.Unstructured { return fromYAML(t, text) }
	defaults := []*unstructured.Unstructured{
		object("{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}"),
		object("{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: monitoring}}"),
		object("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: monitoring}}"),
		object("{apiVersion: v1, kind: Event, metadata: {name: e, namespace: monitoring}}"),
		object("{apiVersion: v1, kind: ConfigMap, metadata: {name: elsewhere, namespace: default}}"),
	}
	owned := func(kind, apiVersion, owner, uid string) string {
		return ", ownerReferences: [{apiVersion: " + apiVersion + ", kind: " + kind + ", name: " + owner + ", uid: " + uid + "}]"
	}
	deployment := object("{apiVersion: apps/v1, kind: Deployment, metadata: {name: theirs, namespace: monitoring, uid: d}}")
	replicaSet := object("{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: theirs-1, namespace: monitoring, uid: r" + owned("Deployment", "apps/v1", "theirs", "d") + "}}")
	pod := object("{apiVersion: v1, kind: Pod, metadata: {name: theirs-1-x, namespace: monitoring, uid: p" + owned("ReplicaSet", "apps/v1", "theirs-1", "r") + "}}")
	for name, test := range map[string]struct {
		objects []*unstructured.Unstructured
		own     bool
		left    string
		removed bool
	}{
		"nothing left":           {nil, true, "", true},
		"not made by the plugin": {nil, false, "", false},
		"somebody's ConfigMap":   {[]*unstructured.Unstructured{object("{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs, namespace: monitoring}}")}, true, "ConfigMap theirs", false},
		"somebody's Deployment":  {[]*unstructured.Unstructured{deployment, replicaSet, pod}, true, "Pod theirs-1-x", false},
		"somebody's Ingress":     {[]*unstructured.Unstructured{object("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: theirs, namespace: monitoring}}")}, true, "Ingress theirs", false},
		"somebody's monitor":     {[]*unstructured.Unstructured{object("{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: theirs, namespace: monitoring}}")}, true, "PodMonitor theirs", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, append(slices.Clone(defaults), test.objects...)...)
			left, err := w.RemoveNamespace(t.Context(), &Removal{Namespace: "monitoring", OwnNamespace: test.own})
			if err != nil || left != test.left {
				t.Errorf("left %q, %v; want %q", left, err, test.left)
			}
			_, err = w.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Get(t.Context(), "monitoring", metav1.GetOptions{})
			if apierrors.IsNotFound(err) != test.removed {
				t.Errorf("the namespace: %v; removed should be %v", err, test.removed)
			}
		})
	}
}

// TestRemoveNamespaceWaits: what the garbage collector still has to take is
// waited for.
func TestRemoveNamespaceWaits(t *testing.T) {
	orphan := fromYAML(t, "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: monitoring, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: gone, uid: g}]}}")
	w := newWorld(t, nil, fromYAML(t, "{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}"), orphan)
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	looked := 0
	w.dynamic.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		if looked++; looked == 3 {
			if err := w.dynamic.Tracker().Delete(pods, "monitoring", "x"); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	if left, err := w.RemoveNamespace(t.Context(), &Removal{Namespace: "monitoring", OwnNamespace: true}); left != "" || err != nil || looked != 3 {
		t.Errorf("left %q, %v after %d looks", left, err, looked)
	}
	w = newWorld(t, nil, orphan)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := w.RemoveNamespace(ctx, &Removal{Namespace: "monitoring", OwnNamespace: true}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Pod x in namespace monitoring") {
		t.Errorf("it waits on after its time, or doesn't say for what: %v", err)
	}
}

// TestRemoveNamespaceAsksOncePerOwner: many objects of one owner don't make as
// many requests, and owners in a circle end.
func TestRemoveNamespaceAsksOncePerOwner(t *testing.T) {
	owned := func(kind, apiVersion, name, uid, owner string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: "+apiVersion+", kind: "+kind+", metadata: {name: "+name+", namespace: monitoring, uid: "+uid+", ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: "+owner+", uid: "+owner+"}]}}")
	}
	var pods []*unstructured.Unstructured
	for i := range 20 {
		name := fmt.Sprintf("p%d", i)
		pods = append(pods, owned("Pod", "v1", name, name, "gone"))
	}
	w := newWorld(t, nil, append(pods, fromYAML(t, "{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}"))...)
	asked := 0
	w.dynamic.PrependReactor("get", "replicasets", func(k8stesting.Action) (bool, runtime.Object, error) {
		asked++
		return false, nil, nil
	})
	kind := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	left, waiting, err := w.leftOf(t.Context(), kind, "monitoring")
	if left != "" || waiting == "" || err != nil || asked != 1 {
		t.Errorf("left %q, waits for %q, %v after %d requests for the owner", left, waiting, err, asked)
	}
	w = newWorld(t, nil, owned("ReplicaSet", "apps/v1", "a", "a", "b"), owned("ReplicaSet", "apps/v1", "b", "b", "a"))
	if left, err := w.RemoveNamespace(t.Context(), &Removal{Namespace: "monitoring", OwnNamespace: true}); left != "ReplicaSet a" || err != nil {
		t.Errorf("of owners in a circle left is %q, %v", left, err)
	}
}

// TestAwaitGonePages: the pods are read page by page, and less and less often.
func TestAwaitGonePages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []runtime.Object{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "monitoring", Labels: map[string]string{"release": "prom-operator"}}}})
		lists := 0
		w.typed.PrependReactor("list", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
			lists++
			if limit := action.(k8stesting.ListActionImpl).ListOptions.Limit; limit <= 0 {
				t.Errorf("a list without a limit: %d", limit)
			}
			return false, nil, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.awaitGone(ctx, "monitoring", "prom-operator", func(string, string, bool, error) {})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "pod x") || lists > 30 {
			t.Errorf("%v after %d lists in a minute", err, lists)
		}
	})
}

// TestRemoveNamespaceUnseen: what may not be listed may be somebody's.
func TestRemoveNamespaceUnseen(t *testing.T) {
	w := newWorld(t, nil, fromYAML(t, "{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}"))
	w.dynamic.PrependReactor("list", "ingresses", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "ingresses"}, "", errors.New("no"))
	})
	left, err := w.RemoveNamespace(t.Context(), &Removal{Namespace: "monitoring", OwnNamespace: true})
	if err != nil || !strings.Contains(left, "may not list (ingresses)") {
		t.Errorf("left %q, %v", left, err)
	}
}

// operatedWorld has what the operator makes for the Prometheus of release
// prom-operator, and what belongs to others.
func operatedWorld(t *testing.T) *world {
	t.Helper()
	ours := fullName("prom-operator") + "-prometheus"
	owner := func(apiVersion, name string) string {
		return "{apiVersion: " + apiVersion + ", kind: Prometheus, name: " + name + ", uid: a}"
	}
	made := func(apiVersion, kind, name string, owners ...string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: "+apiVersion+", kind: "+kind+", metadata: {name: "+name+", namespace: monitoring, ownerReferences: ["+strings.Join(owners, ", ")+"]}}")
	}
	w := newWorld(t, nil,
		made("apps/v1", "StatefulSet", "operated", owner("monitoring.coreos.com/v1", ours)),
		made("v1", "Secret", "operated", owner("monitoring.coreos.com/v1", ours)),
		made("v1", "ConfigMap", "operated", owner("monitoring.coreos.com/v1", ours)),
		made("v1", "Service", "operated", owner("monitoring.coreos.com/v1", ours)),
		made("v1", "Service", "shared", owner("monitoring.coreos.com/v1", ours), owner("monitoring.coreos.com/v1", "theirs")),
		made("v1", "Secret", "other-prometheus", owner("monitoring.coreos.com/v1", "theirs")),
		made("v1", "Secret", "similar-prometheus", owner("monitoring.coreos.com/v1", fullName("prom-operator")+"-team")),
		made("v1", "ConfigMap", "nobodys"),
		made("v1", "ConfigMap", "other-group", owner("example.com/v1", ours)),
	)
	w.record(t, true, "prom-operator", "monitoring", "kube-prometheus-stack", "88.5.3", release.StatusDeployed, nil,
		"{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: "+ours+"}}")
	w.record(t, true, "dcgm-exporter", "monitoring", "dcgm-exporter", "4.8.2", release.StatusDeployed, nil, "")
	return w
}

func (w *world) release(t *testing.T, name string) *Release {
	t.Helper()
	rel, err := w.records("monitoring").Get(t.Context(), name)
	if err != nil || rel == nil {
		t.Fatalf("release %s is %v, %v", name, rel, err)
	}
	return rel
}

func (w *world) operated(t *testing.T) (names []string) {
	t.Helper()
	for _, resource := range []string{"secrets", "configmaps", "services", "statefulsets"} {
		kind := schema.GroupVersionResource{Version: "v1", Resource: resource}
		if resource == "statefulsets" {
			kind.Group = "apps"
		}
		list, err := w.dynamic.Resource(kind).Namespace("monitoring").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			names = append(names, resource+"/"+list.Items[i].GetName())
		}
	}
	return names
}

// othersOperated is what stays of an operatedWorld.
func othersOperated() []string {
	return []string{"secrets/other-prometheus", "secrets/similar-prometheus", "configmaps/nobodys", "configmaps/other-group", "services/shared"}
}

// TestCollect: what the operator made for this release goes; what it made for
// another Prometheus, whatever that is called, what both share and what others
// made stays.
func TestCollect(t *testing.T) {
	w := operatedWorld(t)
	if left := w.collect(t.Context(), w.release(t, "dcgm-exporter")); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
	if got := w.operated(t); len(got) != 9 {
		t.Errorf("the end of dcgm-exporter left %v, want all nine", got)
	}
	if left := w.collect(t.Context(), w.release(t, "prom-operator")); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
	if got := w.operated(t); !slices.Equal(got, othersOperated()) {
		t.Errorf("left are %v, want what is not this release's", got)
	}
}

// TestRemoveGoesOnWhenDenied: what may not be listed or deleted is named, and
// the removal goes on with the rest.
func TestRemoveGoesOnWhenDenied(t *testing.T) {
	w := operatedWorld(t)
	deny := func(verb, resource string) *bool {
		on := true
		w.dynamic.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) {
			return on, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
		})
		return &on
	}
	denied := []*bool{deny("list", "statefulsets"), deny("delete", "services")}
	r := &Removal{Namespace: "monitoring", Releases: []*Release{w.release(t, "prom-operator"), w.release(t, "dcgm-exporter")}}
	if err := w.Remove(t.Context(), r, func(string, string, bool, error) {}); err != nil {
		t.Fatal(err)
	}
	if len(r.Left) != 2 || !strings.Contains(r.Left[0], "which statefulsets the operator made for prom-operator") || !strings.Contains(r.Left[1], "could not delete Service monitoring/operated") {
		t.Errorf("left is %q", r.Left)
	}
	for _, on := range denied {
		*on = false
	}
	if got, want := w.operated(t), slices.Concat(othersOperated()[:4], []string{"services/operated", "services/shared", "statefulsets/operated"}); !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}
