package stack

import (
	"io"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakediscovery "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	memcache "k8s.io/client-go/discovery/cached/memory"
)

// world is a Client of a made-up cluster, with Helm's records in memory.
type world struct {
	*Client
	typed   *fake.Clientset
	dynamic *dynamicfake.FakeDynamicClient
	helm    *storage.Storage
}

// kinds are those that the made-up API server has.
func kinds() []*metav1.APIResourceList {
	verbs := metav1.Verbs{"list", "get", "create", "delete", "patch"}
	kind := func(name, kind string, namespaced bool) metav1.APIResource {
		return metav1.APIResource{Name: name, Kind: kind, Namespaced: namespaced, Verbs: verbs}
	}
	return []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			kind("namespaces", "Namespace", false), kind("pods", "Pod", true), kind("services", "Service", true), kind("secrets", "Secret", true),
			kind("configmaps", "ConfigMap", true), kind("serviceaccounts", "ServiceAccount", true), kind("events", "Event", true),
			kind("persistentvolumeclaims", "PersistentVolumeClaim", true), {Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: metav1.Verbs{"create"}},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{
			kind("deployments", "Deployment", true), kind("replicasets", "ReplicaSet", true), kind("statefulsets", "StatefulSet", true),
		}},
		{GroupVersion: "rbac.authorization.k8s.io/v1", APIResources: []metav1.APIResource{
			kind("clusterroles", "ClusterRole", false), kind("clusterrolebindings", "ClusterRoleBinding", false),
		}},
		{GroupVersion: "admissionregistration.k8s.io/v1", APIResources: []metav1.APIResource{
			kind("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false), kind("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false),
		}},
		{GroupVersion: "networking.k8s.io/v1", APIResources: []metav1.APIResource{kind("ingresses", "Ingress", true)}},
		{GroupVersion: "apiextensions.k8s.io/v1", APIResources: []metav1.APIResource{kind("customresourcedefinitions", "CustomResourceDefinition", false)}},
		{GroupVersion: "monitoring.coreos.com/v1", APIResources: []metav1.APIResource{
			kind("prometheuses", "Prometheus", true), kind("servicemonitors", "ServiceMonitor", true), kind("podmonitors", "PodMonitor", true), kind("prometheusrules", "PrometheusRule", true),
		}},
	}
}

// newWorld gives a Client whose typed and dynamic clients each know some objects.
func newWorld(t *testing.T, typed []runtime.Object, objects ...*unstructured.Unstructured) *world {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for _, list := range kinds() {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			lists[gv.WithResource(r.Name)] = r.Kind + "List"
		}
	}
	w := &world{typed: fake.NewClientset(typed...), helm: storage.Init(driver.NewMemory())}
	w.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	w.typed.Discovery().(*fakediscovery.FakeDiscovery).Resources = kinds()
	disc := memcache.NewMemCacheClient(w.typed.Discovery())
	w.Client = &Client{kubernetes: w.typed, dynamic: w.dynamic, discovery: disc, mapper: restmapper.NewDeferredDiscoveryRESTMapper(disc)}
	w.Client.helm = func(namespace string) (driver.Driver, kube.Interface) {
		if memory, ok := w.helm.Driver.(*driver.Memory); ok {
			memory.SetNamespace(namespace)
		}
		return w.helm.Driver, &kubefake.PrintingKubeClient{Out: io.Discard}
	}
	for _, o := range objects {
		resource, err := w.resource(RefOf(o))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resource.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// record puts a release into Helm's records.
func (w *world) record(t *testing.T, own bool, name, namespace, chartName, version string, status release.Status, config map[string]any, manifest string) {
	t.Helper()
	labels := map[string]string{}
	if own {
		labels[ownLabel] = "observe"
	}
	if memory, ok := w.helm.Driver.(*driver.Memory); ok {
		memory.SetNamespace(namespace)
	}
	err := w.helm.Create(&release.Release{
		Name: name, Namespace: namespace, Version: 1, Labels: labels, Config: config, Manifest: manifest,
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: chartName, Version: version}},
		Info:  &release.Info{Status: status, LastDeployed: helmtime.Unix(1_700_000_000, 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fromYAML reads one object.
func fromYAML(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}
