//go:build e2e

package check

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// extraNodes makes the nodes of the cluster three pages long.
func extraNodes(t *testing.T) {
	t.Helper()
	const extra = 1100
	t.Cleanup(func() {
		if err := sandbox.Client.CoreV1().Nodes().DeleteCollection(background(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "check=extra"}); err != nil {
			t.Error(err)
		}
	})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < extra; i += 8 {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("extra-%d", i), Labels: map[string]string{"check": "extra"}}, Spec: corev1.NodeSpec{Unschedulable: true}}
				if _, err := sandbox.Client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestRequests: by the API server's audit log, no command asks for an object or a
// page of objects twice before it has its answer, and a kind that is wanted of the
// whole cluster is listed once, page by page.
func TestRequests(t *testing.T) {
	well(t)
	extraNodes(t)
	whole := []string{"nodes", "pods", "daemonsets.apps", "resourceslices.resource.k8s.io"}
	for _, c := range []struct {
		name string
		args []string
		// whole are the kinds that are listed of the whole cluster.
		whole []string
		// again may be asked for twice: after a load test the pods are listed anew,
		// to see which came and went.
		again string
	}{
		{"check", []string{"check", "-o", "json"}, append(whole, "services", "namespaces", "prometheuses.monitoring.coreos.com", "podmonitors.monitoring.coreos.com", "servicemonitors.monitoring.coreos.com"), ""},
		{"nodes", []string{"nodes", "-o", "json"}, whole, ""},
		{"models", []string{"models", "-o", "json"}, nil, ""},
		{"bench", []string{"bench", "resnet50", "--requests", "20", "--warmup", "0", "-o", "json"}, nil, "/api/v1/namespaces/triton/pods?labelSelector=app%3Dtriton-infer&limit=500"},
		{"bench, one of several", []string{"bench", "resnet50", "--namespace", "triton", "--service", "triton-infer", "--requests", "20", "--warmup", "0", "-o", "json"}, nil, "/api/v1/namespaces/triton/pods?labelSelector=app%3Dtriton-infer&limit=500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests := sandbox.Audit(t, func() { sandbox.Must(t, "kubectl-triton", c.args...) })
			times := map[string]int{}
			var lists []string
			for _, r := range requests {
				if !strings.HasPrefix(r.UserAgent, "kubectl-triton/") && r.Resource != "pods/portforward" {
					t.Errorf("%s comes from %s", r, r.UserAgent)
				}
				switch r.Verb {
				case "get", "list":
					times[r.URI.String()]++
				case "watch": // the state of one pod that a tunnel leads to
					times["watch "+r.URI.Query().Get("fieldSelector")]++
				}
				if r.Verb == "list" && r.Namespace == "" {
					if r.URI.Query().Get("limit") == "" {
						t.Errorf("without a limit: %s", r)
					}
					lists = append(lists, r.Resource)
				}
			}
			for request, n := range times {
				if n > 1 && (request != c.again || n > 2) {
					t.Errorf("%d times: %s", n, request)
				}
			}
			pages := slices.DeleteFunc(slices.Clone(lists), func(r string) bool { return r != "nodes" })
			if slices.Contains(c.whole, "nodes") && len(pages) != 3 {
				t.Errorf("the nodes took %d pages, want 3", len(pages))
			}
			for _, kind := range c.whole {
				if !slices.Contains(lists, kind) {
					t.Errorf("%s were not listed", kind)
				}
			}
			for _, r := range requests {
				if r.Verb == "list" && r.Namespace != "" && slices.Contains(c.whole, r.Resource) {
					t.Errorf("%s are listed again: %s", r.Resource, r)
				}
			}
			if len(c.whole) == 0 && len(lists) > 0 {
				t.Errorf("listed of the whole cluster: %v", lists)
			}
			if len(requests) == 0 {
				t.Error("the audit log has no request")
			}
		})
	}
}
