package stack

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	restfake "k8s.io/client-go/rest/fake"
)

// TestUpgradeMendsCustomResources: what somebody changed of a chart's custom
// resource is put back, though the chart's manifest is the same as before; what
// somebody added stays.
func TestUpgradeMendsCustomResources(t *testing.T) {
	const wanted = "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: k8s, namespace: monitoring}, spec: {retention: 10d}}"
	live := fromYAML(t, "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: k8s, namespace: monitoring}, spec: {retention: 1h, logLevel: debug}}")
	var patches []string
	answer := func(status int, o *unstructured.Unstructured) (*http.Response, error) {
		data, err := o.MarshalJSON()
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(data))}, err
	}
	api := &restfake.RESTClient{
		NegotiatedSerializer: resource.UnstructuredPlusDefaultContentConfig().NegotiatedSerializer,
		Client: restfake.CreateHTTPClient(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				patches = append(patches, string(body))
			}
			return answer(http.StatusOK, live)
		}),
	}
	info := func() *resource.Info {
		kind := schema.GroupVersionKind{Group: monitoringGroup, Version: "v1", Kind: "Prometheus"}
		return &resource.Info{Client: api, Namespace: "monitoring", Name: "k8s", Object: fromYAML(t, wanted),
			Mapping: &meta.RESTMapping{Resource: prometheuses, GroupVersionKind: kind, Scope: meta.RESTScopeNamespace}}
	}
	client := newCarrier(nil)
	if _, err := client.Update(kube.ResourceList{info()}, kube.ResourceList{info()}, false); err != nil {
		t.Fatal(err)
	}
	if len(patches) != 1 || strings.TrimSpace(patches[0]) != `{"spec":{"retention":"10d"}}` {
		t.Errorf("patched %q", patches)
	}
}
