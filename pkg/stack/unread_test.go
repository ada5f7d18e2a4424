package stack

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// TestPlanDeletesNothingForWantOfAnAnswer: when the API server doesn't say what
// a Prometheus takes, nothing that is there counts as no longer wanted.
func TestPlanDeletesNothingForWantOfAnAnswer(t *testing.T) {
	const mark = ", labels: {app.kubernetes.io/managed-by: kubectl-triton, app.kubernetes.io/part-of: kubectl-triton-observe}}"
	prometheus := func(selector string) *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: k8s, namespace: team}, spec: {"+
			selector+"Selector: {}, "+selector+"NamespaceSelector: {matchLabels: {scraped: 'yes'}}}}")
	}
	triton := Target{Name: "triton", Namespace: "ml", PodLabels: map[string]string{"app": "triton"}, Port: 8002, PortName: "metrics", Declared: true,
		Service: "triton", ServicePort: "metrics", ServiceLabels: map[string]string{"app": "triton"}}
	for name, test := range map[string]struct {
		selector string
		own      *unstructured.Unstructured
	}{
		"rules":    {"rule", fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: PrometheusRule, metadata: {name: triton-rules-alerts, namespace: team"+mark+"}")},
		"monitors": {"podMonitor", fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: ml.triton, namespace: team"+mark+"}")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []runtime.Object{
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}},
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", Labels: map[string]string{"scraped": "yes"}}},
			}, prometheus(test.selector), test.own)
			w.typed.PrependReactor("get", "namespaces", func(action k8stesting.Action) (bool, runtime.Object, error) {
				if action.(k8stesting.GetAction).GetName() == "team" {
					return true, nil, apierrors.NewInternalError(errors.New("etcdserver: leader changed"))
				}
				return false, nil, nil
			})
			plan, err := w.Plan(t.Context(), Wish{Namespace: "monitoring", Tritons: []Target{triton}})
			if err == nil {
				t.Fatalf("planned %q and %q", told(plan.Monitors.Changes), told(plan.Rules.Changes))
			}
			if !strings.Contains(err.Error(), "could not read the labels of namespace team") {
				t.Errorf("got %v", err)
			}
		})
	}
}
