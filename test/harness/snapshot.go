package harness

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
)

// Snapshot is every object of a cluster by its key: "Kind namespace/name", or
// "Kind name" of what is in no namespace.
type Snapshot map[string]*unstructured.Unstructured

// restless are the kinds that change by themselves: what happened, who leads,
// what the kubelets report every few seconds, and metrics.
var restless = []string{"events", "leases", "nodes", "componentstatuses", "ipaddresses"}

// Snapshot reads all objects of all kinds that the API server lists, once the
// EndpointSlices have followed the pods.
func (s *Sandbox) Snapshot(t testing.TB) Snapshot {
	t.Helper()
	Eventually(t, 30*time.Second, "the EndpointSlices to follow the pods", func() bool { return s.followed(t) })
	// A client of its own: CRDs come and go.
	disc, err := discovery.NewDiscoveryClientForConfig(s.REST)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := disc.ServerPreferredResources()
	if err != nil {
		t.Fatalf("the API server's kinds: %v", err)
	}
	shot := Snapshot{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := false
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range list.APIResources {
			// The same objects are in events.k8s.io and endpoints have slices too.
			if !slices.Contains(kind.Verbs, "list") || slices.Contains(restless, kind.Name) {
				continue
			}
			wg.Go(func() {
				objects, err := s.Dynamic.Resource(gv.WithResource(kind.Name)).List(t.Context(), metav1.ListOptions{})
				mu.Lock()
				defer mu.Unlock()
				if apierrors.IsNotFound(err) {
					return // a CRD that went in between
				}
				if err != nil {
					failed = true
					t.Errorf("listing %s: %v", kind.Name, err)
					return
				}
				for i := range objects.Items {
					if objects.Items[i].GetLabels()["kube-aggregator.kubernetes.io/automanaged"] != "" {
						continue // the shadow of a CRD
					}
					shot[key(&objects.Items[i])] = &objects.Items[i]
				}
			})
		}
	}
	wg.Wait()
	if failed {
		t.FailNow()
	}
	return shot
}

func key(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

// Added are the keys of later that s lacks, sorted.
func (s Snapshot) Added(later Snapshot) []string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(later)) {
		if s[k] == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// Altered says of each object that is in both whether it is another one or has
// other contents; status and bookkeeping don't count.
func (s Snapshot) Altered(later Snapshot) []string {
	var found []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		now := later[k]
		switch {
		case now == nil:
		case now.GetUID() != s[k].GetUID():
			found = append(found, k+" is another one")
		case !reflect.DeepEqual(contents(s[k]), contents(now)):
			found = append(found, k+" has changed"+firstDifference("", contents(s[k]), contents(now)))
		}
	}
	return found
}

// Written are the objects that were written between the two, status included.
func (s Snapshot) Written(later Snapshot) []string {
	var found []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if now := later[k]; now != nil && now.GetResourceVersion() != s[k].GetResourceVersion() {
			found = append(found, k+" was written"+firstDifference("", s[k].Object, now.Object))
		}
	}
	return found
}

// Same fails the test unless later has the same objects with the same contents,
// but for those added whose keys are in except.
func (s Snapshot) Same(t testing.TB, later Snapshot, except ...string) {
	t.Helper()
	for _, k := range s.Added(later) {
		if !slices.Contains(except, k) {
			t.Errorf("%s is new", k)
		}
	}
	for _, k := range later.Added(s) {
		t.Errorf("%s is gone", k)
	}
	for _, text := range s.Altered(later) {
		t.Error(text)
	}
}

// Untouched fails the test unless nothing at all was written.
func (s Snapshot) Untouched(t testing.TB, later Snapshot) {
	t.Helper()
	s.Same(t, later)
	for _, text := range s.Written(later) {
		t.Error(text)
	}
}

func contents(o *unstructured.Unstructured) map[string]any {
	c := maps.Clone(o.Object)
	delete(c, "status")
	metadata := map[string]any{}
	for _, field := range []string{"labels", "annotations", "ownerReferences", "finalizers"} {
		if v, ok := o.Object["metadata"].(map[string]any)[field]; ok {
			metadata[field] = v
		}
	}
	c["metadata"] = metadata
	return c
}

// firstDifference is where two objects differ, for the reader of a failed test.
func firstDifference(path string, a, b any) string {
	before, ok := a.(map[string]any)
	after, ok2 := b.(map[string]any)
	if !ok || !ok2 {
		return fmt.Sprintf(": %s was %.200v, is %.200v", strings.TrimPrefix(path, "."), a, b)
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if k == "managedFields" || k == "resourceVersion" {
			continue
		}
		if !reflect.DeepEqual(before[k], after[k]) {
			return firstDifference(path+"."+k, before[k], after[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[k]; !ok {
			return fmt.Sprintf(": %s.%s is new: %.200v", strings.TrimPrefix(path, "."), k, after[k])
		}
	}
	return ""
}

// followed says whether each endpoint is a pod that is there, and as ready as
// the slice says: their controller works in batches.
func (s *Sandbox) followed(t testing.TB) bool {
	pods, err := s.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return false
	}
	ready := map[types.UID]bool{}
	for _, p := range pods.Items {
		ready[p.UID] = p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}
	slicesOf, err := s.Client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, slice := range slicesOf.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
				continue
			}
			is, there := ready[e.TargetRef.UID]
			if !there || e.Conditions.Ready != nil && *e.Conditions.Ready != is {
				return false
			}
		}
	}
	return true
}
