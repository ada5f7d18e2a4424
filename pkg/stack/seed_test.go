package stack

import (
	"errors"
	"io"
	"testing"

	"helm.sh/helm/v3/pkg/kube"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// TestSeedDoesNotOutliveARefusedRelease: an installation that ends before Helm has
// a record of it leaves no Secret that nobody would ever remove.
func TestSeedDoesNotOutliveARefusedRelease(t *testing.T) {
	login := func() *unstructured.Unstructured {
		return fromYAML(t, "{apiVersion: v1, kind: Secret, metadata: {name: prom-operator-grafana, namespace: monitoring}, data: {admin-password: eA==}}")
	}
	for name, test := range map[string]struct {
		there  []*unstructured.Unstructured
		client *kubefake.FailingKubeClient
		stays  bool
	}{
		"refused":                {nil, &kubefake.FailingKubeClient{BuildError: errors.New("refused")}, false},
		"refused, there before":  {[]*unstructured.Unstructured{login()}, &kubefake.FailingKubeClient{BuildError: errors.New("refused")}, true},
		"refused, with a record": {nil, &kubefake.FailingKubeClient{BuildError: errors.New("refused")}, true},
		"installed":              {nil, &kubefake.FailingKubeClient{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, test.there...)
			test.client.PrintingKubeClient = kubefake.PrintingKubeClient{Out: io.Discard}
			w.rest = &rest.Config{}
			records, _ := w.Client.helm("monitoring")
			w.Client.helm = func(string) (driver.Driver, kube.Interface) { return records, test.client }
			if name == "refused, with a record" {
				w.record(t, true, "beacon", "monitoring", "beacon", "1.4.0", release.StatusDeployed, nil, "")
			}
			plan := &ReleasePlan{Name: "beacon", Package: loaded(t), Verb: Create, rendering: &rendering{}, labelled: []*unstructured.Unstructured{login()}}
			_, err := w.records("monitoring").Apply(t.Context(), plan)
			if (err == nil) != (name == "installed") {
				t.Fatal(err)
			}
			_, err = w.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace("monitoring").Get(t.Context(), "prom-operator-grafana", metav1.GetOptions{})
			if apierrors.IsNotFound(err) == test.stays {
				t.Errorf("the Secret: %v; it should stay: %v", err, test.stays)
			}
		})
	}
}
