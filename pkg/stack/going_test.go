package stack

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// TestNamespaceOnItsWayOut: in a namespace that is being deleted nothing can be
// made; what to wait for is said at once.
func TestNamespaceOnItsWayOut(t *testing.T) {
	now := metav1.Now()
	w := newWorld(t, []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring", DeletionTimestamp: &now, Finalizers: []string{"kubernetes"}}}})
	_, planned := w.Plan(t.Context(), Wish{Namespace: "monitoring"})
	_, removed := w.PlanRemoval(t.Context(), "monitoring")
	for _, err := range []error{planned, removed} {
		if err == nil || !strings.Contains(err.Error(), "namespace monitoring is being deleted") || !strings.Contains(err.Error(), "kubectl wait --for=delete namespace/monitoring") {
			t.Errorf("got %v", err)
		}
	}
}

func serviceMonitors(t *testing.T) *unstructured.Unstructured {
	return fromYAML(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com, annotations: {operator.prometheus.io/version: 0.93.1}}
spec: {group: monitoring.coreos.com, names: {kind: ServiceMonitor, plural: servicemonitors}}
status: {conditions: [{type: Established, status: "True"}]}
`)
}

// TestApplyCRDsThatAreGoing: a CRD that is being deleted is waited for and made
// anew; one that does not end is named with what holds it.
func TestApplyCRDsThatAreGoing(t *testing.T) {
	for name, endsAfter := range map[string]int{"it ends": 3, "it never ends": -1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			going := serviceMonitors(t)
			now := metav1.Now()
			going.SetDeletionTimestamp(&now)
			going.SetFinalizers([]string{"customresourcecleanup.apiextensions.k8s.io"})
			looks, created := 0, false
			w.dynamic.PrependReactor("get", "customresourcedefinitions", func(k8stesting.Action) (bool, runtime.Object, error) {
				looks++
				switch {
				case created:
					return true, serviceMonitors(t), nil
				case endsAfter < 0 || looks <= endsAfter:
					return true, going, nil
				}
				return true, nil, apierrors.NewNotFound(crds.GroupResource(), going.GetName())
			})
			w.dynamic.PrependReactor("create", "customresourcedefinitions", func(k8stesting.Action) (bool, runtime.Object, error) {
				if endsAfter < 0 || looks <= endsAfter {
					return true, nil, apierrors.NewAlreadyExists(crds.GroupResource(), going.GetName())
				}
				created = true
				return true, serviceMonitors(t), nil
			})
			w.dynamic.PrependReactor("patch", "customresourcedefinitions", func(k8stesting.Action) (bool, runtime.Object, error) {
				t.Error("the one that is going was written")
				return true, going, nil
			})
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				plan, err := w.PlanCRDs(ctx, []*unstructured.Unstructured{serviceMonitors(t)})
				if err != nil || len(plan) != 1 || plan[0].Verb != Create || plan[0].Note != "the one that is there is being deleted" {
					t.Fatalf("planned %+v, %v", plan, err)
				}
				err = w.ApplyCRDs(ctx, plan)
				switch {
				case endsAfter > 0 && (err != nil || !created):
					t.Errorf("created %v, %v", created, err)
				case endsAfter < 0 && (err == nil || !strings.Contains(err.Error(), "servicemonitors.monitoring.coreos.com is being deleted and has not ended (it waits for customresourcecleanup.apiextensions.k8s.io)")):
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestApplyCRDsWaitsForDiscovery: an established kind that discovery doesn't
// tell of yet is not there for Helm.
func TestApplyCRDsWaitsForDiscovery(t *testing.T) {
	w := newWorld(t, nil)
	late := serviceMonitors(t)
	late.SetName("probes.monitoring.coreos.com")
	if err := unstructured.SetNestedField(late.Object, "Probe", "spec", "names", "kind"); err != nil {
		t.Fatal(err)
	}
	w.dynamic.PrependReactor("get", "customresourcedefinitions", func(k8stesting.Action) (bool, runtime.Object, error) { return true, late, nil })
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.ApplyCRDs(ctx, []Change{{Ref: RefOf(late), Verb: Create, After: late}})
		if err == nil || !strings.Contains(err.Error(), "does not tell of the kind of the CRD probes.monitoring.coreos.com") {
			t.Errorf("got %v", err)
		}
	})
}

// TestGoneAsksLessAndLessOften: a CRD whose objects have finalizers may take long,
// and a stack has ten.
func TestGoneAsksLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, serviceMonitors(t))
		asked := 0
		w.dynamic.PrependReactor("get", "customresourcedefinitions", func(k8stesting.Action) (bool, runtime.Object, error) {
			asked++
			return false, nil, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.gone(ctx, RefOf(serviceMonitors(t))); err == nil || asked > 30 {
			t.Errorf("%v after %d requests in a minute", err, asked)
		}
	})
}
