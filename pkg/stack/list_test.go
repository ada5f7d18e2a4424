package stack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestMonitorsPages: monitors are found on whatever page they are, and no page is
// asked for twice. The fake clients don't pass the pages on.
func TestMonitorsPages(t *testing.T) {
	kinds := map[string]string{"servicemonitors": "ServiceMonitor", "podmonitors": "PodMonitor", "namespaces": "Namespace"}
	var mu sync.Mutex
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resource, q := path.Base(r.URL.Path), r.URL.Query()
		mu.Lock()
		asked[resource+" "+q.Get("continue")]++
		mu.Unlock()
		if q.Get("limit") == "" {
			t.Errorf("%s are listed without a limit", resource)
		}
		next := ""
		if q.Get("continue") == "" {
			next = "2"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":%q,"kind":"%sList","metadata":{"continue":%q},"items":[{"metadata":{"name":"on-page%s","labels":{"page":%q}}}]}`,
			map[bool]string{true: "v1", false: "monitoring.coreos.com/v1"}[resource == "namespaces"], kinds[resource], next, q.Get("continue"), "p"+q.Get("continue"))
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	c := &Client{}
	var err error
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if c.kubernetes, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	m, err := c.Monitors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.items) != 4 || len(m.namespaces) != 2 || m.namespaces["on-page2"]["page"] != "p2" || len(asked) != 6 {
		t.Errorf("%d monitors and %d namespaces from %d pages, want 4, 2 and 6", len(m.items), len(m.namespaces), len(asked))
	}
	for page, n := range asked {
		if n != 1 {
			t.Errorf("asked %d times: %s", n, page)
		}
	}
}

// TestRemovalPages: what a removal looks at is read page by page, and what is on
// the second page counts too.
func TestRemovalPages(t *testing.T) {
	const crd = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"page%s.monitoring.coreos.com","managedFields":[{"manager":"kubectl-triton"}]}}`
	const monitor = `{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"on-page%s","namespace":"page%[1]s"}}`
	const config = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("limit") == "" {
			t.Errorf("%s is listed without a limit", r.URL.Path)
		}
		page, next := "1", "2"
		if q.Get("continue") != "" {
			page, next = q.Get("continue"), ""
		}
		item := ""
		switch path.Base(r.URL.Path) {
		case "customresourcedefinitions":
			item = fmt.Sprintf(crd, page)
		case "servicemonitors":
			item = fmt.Sprintf(monitor, page)
		case "configmaps":
			item = fmt.Sprintf(config, map[string]string{"1": "kube-root-ca.crt", "2": "precious"}[page])
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"List","metadata":{"continue":%q},"items":[%s]}`, next, item)
	}))
	defer server.Close()
	c := &Client{}
	var err error
	if c.dynamic, err = dynamic.NewForConfig(&rest.Config{Host: server.URL}); err != nil {
		t.Fatal(err)
	}
	own, err := c.ownCRDs(t.Context())
	if err != nil || len(own) != 2 {
		t.Errorf("own CRDs %v, error %v; want those of both pages", own, err)
	}
	total, note, err := c.inUse(t.Context(), "servicemonitors.monitoring.coreos.com", &Removal{})
	if err != nil || total != 2 {
		t.Errorf("%d objects in use (%s), error %v; want 2", total, note, err)
	}
	left, _, err := c.leftOf(t.Context(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "monitoring")
	if err != nil || left != "ConfigMap precious" {
		t.Errorf("left is %q, error %v; want the ConfigMap of the second page", left, err)
	}
}
