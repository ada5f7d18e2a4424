package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
)

// facts writes what is known of a node in one line.
func facts(n *Node) string {
	allocatable, capacity := n.Offered()
	text := fmt.Sprintf("%s %d/%d", n.Name, allocatable.Total(), capacity.Total())
	for _, p := range capacity.Profiles() {
		text += fmt.Sprintf(" %s:%d", p, capacity.MIG[p])
	}
	text += fmt.Sprintf(" held %d by", n.Allocated.Total())
	for _, h := range n.Holders {
		text += fmt.Sprintf(" %s/%s:%d", h.Namespace, h.Pod, h.GPUs.Total())
	}
	text += fmt.Sprintf("; %s %dMiB x%d %s mig=%s driver %s CUDA %s", n.Product, n.MemoryBytes>>20, n.Replicas, n.Sharing, n.MIGStrategy, n.DriverVersion, n.CUDAVersion)
	return text + "; " + string(n.Evidence[0].Kind)
}

// TestNodes: what the survey reads from nodes, slices, pods and claims.
func TestNodes(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []runtime.Object
		want    string
	}{
		{"whole GPUs", []runtime.Object{node("a", gpus(8), discovered("NVIDIA-L40S", "46068", "580.95.05")), pod("ml", "x", "a", "nvidia.com/gpu", 2), pod("ml", "cpu", "a", "", 0), pod("ml", "y", "b", "nvidia.com/gpu", 1)},
			"a 8/8 held 2 by ml/x:2; NVIDIA-L40S 46068MiB x1  mig= driver 580.95.05 CUDA 13.0; allocatable"},
		{"MIG mixed", []runtime.Object{node("a", gpus(0), offers("nvidia.com/mig-1g.5gb", 7, 7), offers("nvidia.com/mig-2g.10gb", 2, 3), discovered("NVIDIA-A100-SXM4-40GB", "40960", "580.95.05", "nvidia.com/mig.strategy=mixed")), pod("ml", "x", "a", "nvidia.com/mig-1g.5gb", 1)},
			"a 9/10 1g.5gb:7 2g.10gb:3 held 1 by ml/x:1; NVIDIA-A100-SXM4-40GB 40960MiB x1  mig=mixed driver 580.95.05 CUDA 13.0; allocatable"},
		{"MIG single", []runtime.Object{node("a", gpus(7), discovered("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "4864", "580.95.05", "nvidia.com/mig.strategy=single"))},
			"a 7/7 held 0 by; NVIDIA-A100-SXM4-40GB-MIG-1g.5gb 4864MiB x1  mig=single driver 580.95.05 CUDA 13.0; allocatable"},
		{"strategy single without instances", []runtime.Object{node("a", gpus(1), discovered("NVIDIA-A100-SXM4-40GB", "40960", "580.95.05", "nvidia.com/mig.strategy=single"))},
			"a 1/1 held 0 by; NVIDIA-A100-SXM4-40GB 40960MiB x1  mig= driver 580.95.05 CUDA 13.0; allocatable"},
		{"time-slicing", []runtime.Object{node("a", gpus(16), discovered("NVIDIA-L4-SHARED", "23034", "580.95.05", "nvidia.com/gpu.replicas=4", "nvidia.com/gpu.sharing-strategy=time-slicing"))},
			"a 16/16 held 0 by; NVIDIA-L4-SHARED 23034MiB x4 time-slicing mig= driver 580.95.05 CUDA 13.0; allocatable"},
		{"time-slicing under its own name", []runtime.Object{node("a", offers("nvidia.com/gpu.shared", 8, 8), label("nvidia.com/gpu.replicas=4", "nvidia.com/cuda.driver.major=550", "nvidia.com/cuda.driver.minor=54", "nvidia.com/cuda.driver.rev=15", "nvidia.com/cuda.runtime.major=12", "nvidia.com/cuda.runtime.minor=4")), pod("ml", "x", "a", "nvidia.com/gpu.shared", 1)},
			"a 8/8 held 1 by ml/x:1;  0MiB x4 time-slicing mig= driver 550.54.15 CUDA 12.4; allocatable"},
		{"GKE time-sharing", []runtime.Object{node("a", gke, gpus(4), label("cloud.google.com/gke-accelerator=nvidia-l4", "cloud.google.com/gke-gpu-sharing-strategy=time-sharing", "cloud.google.com/gke-max-shared-clients-per-gpu=4"))},
			"a 4/4 held 0 by; nvidia-l4 0MiB x4 time-slicing mig= driver  CUDA ; allocatable"},
		{"Karpenter", []runtime.Object{node("a", gpus(1), label("karpenter.k8s.aws/instance-gpu-name=t4", "karpenter.k8s.aws/instance-gpu-memory=16384"))},
			"a 1/1 held 0 by; t4 16384MiB x1  mig= driver  CUDA ; allocatable"},
		{"labels that are no numbers", []runtime.Object{node("a", gpus(1), label("nvidia.com/gpu.memory=lots", "nvidia.com/gpu.replicas=-3"))},
			"a 1/1 held 0 by;  0MiB x1  mig= driver  CUDA ; allocatable"},
		{"DRA, an old generation and a shared claim", []runtime.Object{node("a"), slice("a", 1, "gpu-0", "gpu-1", "gpu-2"), slice("a", 2, "gpu-0", "gpu-1", "mig-0:1g.10gb"),
			resourceClaim("ml", "c1", "a", []string{"gpu-0"}, []string{"x", "y"}), resourceClaim("ml", "c2", "a", []string{"gpu-1"}, []string{"x"}), resourceClaim("ml", "free", "other", []string{"gpu-1"}, nil)},
			"a 2/2 held 2 by ml/x:2 ml/y:1; NVIDIA H100 80GB HBM3 81559MiB x1  mig= driver 580.95.5 CUDA 13.0.0; resource slice"},
		{"DRA, MIG instances", []runtime.Object{node("a"), slice("a", 1, "m0:1g.10gb", "m1:1g.10gb", "m2:3g.40gb"), resourceClaim("ml", "c", "a", []string{"m2"}, []string{"x"})},
			"a 3/3 1g.10gb:2 3g.40gb:1 held 1 by ml/x:1; NVIDIA H100 80GB HBM3 0MiB x1  mig=mixed driver 580.95.5 CUDA 13.0.0; resource slice"},
		{"a claim for the resource name's own sake", []runtime.Object{node("a", gpus(2)), slice("a", 1, "gpu-0", "gpu-1"), pod("ml", "x", "a", "nvidia.com/gpu", 1), resourceClaim("ml", "x-extended", "a", []string{"gpu-0"}, []string{"x"})},
			"a 2/2 held 1 by ml/x:1; NVIDIA H100 80GB HBM3 81559MiB x1  mig= driver 580.95.5 CUDA 13.0.0; allocatable"},
		{"offered once", []runtime.Object{node("a", offers("nvidia.com/gpu", 0, 8))},
			"a 0/8 held 0 by;  0MiB x1  mig= driver  CUDA ; capacity"},
		{"hardware label", []runtime.Object{node("a", label("feature.node.kubernetes.io/pci-0300_10de.present=true"))},
			"a 0/0 held 0 by;  0MiB x1  mig= driver  CUDA ; hardware"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := surveyOf(t, c.objects...)
			if len(cluster.Nodes) != 1 {
				t.Fatalf("%d GPU nodes", len(cluster.Nodes))
			}
			if got := facts(&cluster.Nodes[0]); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestNotGPUNodes: other makers' accelerators and labels that say no.
func TestNotGPUNodes(t *testing.T) {
	cluster := surveyOf(t, node("cpu"), node("no", label("nvidia.com/gpu.present=false", "nvidia.com/gpu.count=0")),
		node("amd", label("karpenter.k8s.aws/instance-gpu-name=radeon-pro-v520", "karpenter.k8s.aws/instance-gpu-manufacturer=amd")),
		node("inf", label("k8s.amazonaws.com/accelerator=inferentia2")), node("zero", gpus(0)))
	if len(cluster.Nodes) != 0 || cluster.TotalNodes != 5 {
		t.Errorf("%d of %d are GPU nodes: %+v", len(cluster.Nodes), cluster.TotalNodes, cluster.Nodes)
	}
}

// TestPods: finished pods hold nothing, pending ones wait, sidecars and init
// containers count as the kubelet counts them.
func TestPods(t *testing.T) {
	done := pod("ml", "done", "a", "nvidia.com/gpu", 4)
	done.Status.Phase = corev1.PodSucceeded
	always := corev1.ContainerRestartPolicyAlways
	mixed := pod("ml", "mixed", "a", "nvidia.com/gpu", 1)
	sidecar, first := *mixed.Spec.Containers[0].DeepCopy(), *pod("", "", "", "nvidia.com/gpu", 3).Spec.Containers[0].DeepCopy()
	sidecar.RestartPolicy = &always
	mixed.Spec.InitContainers = []corev1.Container{sidecar, first}
	requests := pod("ml", "requests", "a", "", 0)
	requests.Spec.Containers[0].Resources.Requests = pod("", "", "", "nvidia.com/gpu", 1).Spec.Containers[0].Resources.Limits
	cluster := surveyOf(t, node("a", gpus(8)), done, mixed, requests, pod("ml", "pending", "", "nvidia.com/gpu", 8))
	want := []Holder{{"ml", "mixed", Resources{GPUs: 3}}, {"ml", "requests", Resources{GPUs: 1}}}
	if diff := cmp.Diff(want, cluster.Nodes[0].Holders); diff != "" {
		t.Error(diff)
	}
	if len(cluster.Waiting) != 1 || cluster.Waiting[0].Pod != "pending" || cluster.Waiting[0].GPUs.GPUs != 8 {
		t.Errorf("waiting: %+v", cluster.Waiting)
	}
}

// TestDenied: a kind that may not be listed costs its facts and no others.
func TestDenied(t *testing.T) {
	objects := []runtime.Object{node("a", gpus(1)), pod("ml", "x", "a", "nvidia.com/gpu", 1), slice("a", 1, "gpu-0"), chartExporter(nil)}
	for resource, kind := range map[string]string{
		"nodes": KindNode, "pods": KindPod, "daemonsets": KindDaemonSet, "resourceslices": KindResourceSlice, "resourceclaims": KindResourceClaim, "runtimeclasses": KindRuntimeClass,
	} {
		t.Run(kind, func(t *testing.T) {
			client := fake.NewClientset(objects...)
			client.PrependReactor("*", resource, func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
			})
			c, err := Survey(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			if c.Knows(kind) || len(c.Denied) != 1 || !strings.Contains(c.Denied[0].Reason, resource) {
				t.Errorf("denied: %+v", c.Denied)
			}
			if kind != KindNode && len(c.Nodes) != 1 {
				t.Errorf("%d nodes", len(c.Nodes))
			}
			for _, p := range c.Problems() {
				if kind == KindNode && p.Kind == ProblemNoGPUNodes || kind == KindPod && p.Kind == ProblemExporterMissing {
					t.Errorf("what can't be known is called a problem: %+v", p)
				}
			}
		})
	}
}

// TestDeniedSlices: GPUs that only slices would show are not called missing.
func TestDeniedSlices(t *testing.T) {
	client := fake.NewClientset(node("a", label("feature.node.kubernetes.io/pci-10de.present=true")), runtimeClass())
	client.PrependReactor("list", "resourceslices", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "resourceslices"}, "", errors.New("no"))
	})
	c, err := Survey(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Problems() {
		if p.Kind == ProblemNotOffered && (p.Severity != SeverityWarning || !strings.Contains(p.Cause, "whose ResourceSlices you may not list")) {
			t.Errorf("%+v", p)
		}
	}
}

// TestFailure: any other failure ends the survey, names the kind, and stops the
// other readers.
func TestFailure(t *testing.T) {
	defer goleak.VerifyNone(t)
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errors.New("etcd is away"))
	})
	if _, err := Survey(t.Context(), client); err == nil || !strings.Contains(err.Error(), "list Pods") || !strings.Contains(err.Error(), "etcd is away") {
		t.Errorf("error %v", err)
	}
	client = fake.NewClientset()
	client.PrependReactor("get", "runtimeclasses", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errors.New("etcd is away"))
	})
	if _, err := Survey(t.Context(), client); err == nil || !strings.Contains(err.Error(), "read RuntimeClass nvidia: ") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Survey(ctx, fake.NewClientset()); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel: %v", err)
	}
}

// TestNoDRA: an API server without the kind is an ordinary one.
func TestNoDRA(t *testing.T) {
	client := fake.NewClientset(node("a", gpus(1)))
	client.PrependReactor("list", "resourceslices", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "resourceslices"}, "")
	})
	c, err := Survey(t.Context(), client)
	if err != nil || len(c.Nodes) != 1 || len(c.Denied) != 0 {
		t.Errorf("%v %+v", err, c)
	}
}

// pagedServer serves lists as an API server does, in pages, and counts.
type pagedServer struct {
	mu       sync.Mutex
	requests map[string]int // by path
	largest  int
	expire   map[string]int // path → page at which the list's revision is gone, once
	lists    map[string][]runtime.Object
}

func (s *pagedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.URL.Path]++
	w.Header().Set("Content-Type", "application/json")
	items, ok := s.lists[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 404, Reason: metav1.StatusReasonNotFound})
		return
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if limit == 0 {
		limit = len(items)
	}
	token := r.URL.Query().Get("continue")
	start, _ := strconv.Atoi(strings.TrimPrefix(token, "again-"))
	if at, ok := s.expire[r.URL.Path]; ok && start == at && !strings.HasPrefix(token, "again-") {
		w.WriteHeader(http.StatusGone)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 410, Reason: metav1.StatusReasonExpired, ListMeta: metav1.ListMeta{Continue: "again-" + strconv.Itoa(start)}})
		return
	}
	end := min(start+limit, len(items))
	s.largest = max(s.largest, end-start)
	meta := metav1.ListMeta{ResourceVersion: "1"}
	if end < len(items) {
		meta.Continue = strconv.Itoa(end)
	}
	json.NewEncoder(w).Encode(map[string]any{"metadata": meta, "items": items[start:end]})
}

func (s *pagedServer) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestLargeCluster: 5,000 GPU nodes and 20,000 pods, each kind and page asked
// for once and no page above the limit, also when a list expires half-way.
func TestLargeCluster(t *testing.T) {
	const nodes, pods = 5000, 20_000
	d := chartExporter(map[string]string{LabelPresent: "true"})
	s := &pagedServer{requests: map[string]int{}, expire: map[string]int{"/api/v1/nodes": 2500}, lists: map[string][]runtime.Object{
		"/apis/apps/v1/daemonsets":                 {d},
		"/apis/resource.k8s.io/v1/resourceslices":  {},
		"/apis/node.k8s.io/v1/runtimeclasses/none": {},
	}}
	for i := range nodes {
		name := fmt.Sprintf("gpu-%05d", i)
		s.lists["/api/v1/nodes"] = append(s.lists["/api/v1/nodes"], node(name, gpus(8), discovered("NVIDIA-H100-80GB-HBM3", "81559", "580.95.05")))
		s.lists["/api/v1/pods"] = append(s.lists["/api/v1/pods"], exporterOn(d, name, ""))
	}
	for i := range pods - nodes {
		s.lists["/api/v1/pods"] = append(s.lists["/api/v1/pods"], pod("ml", fmt.Sprintf("p-%05d", i), fmt.Sprintf("gpu-%05d", i%nodes), "nvidia.com/gpu", 1))
	}
	c, err := Survey(t.Context(), s.client(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Nodes) != nodes || len(c.Nodes[7].Holders) != 3 || c.Exporters[0].Covered != nodes {
		t.Errorf("%d nodes, %d holders, %d covered", len(c.Nodes), len(c.Nodes[7].Holders), c.Exporters[0].Covered)
	}
	want := map[string]int{
		"/api/v1/nodes": nodes/500 + 1, // and one that found the list expired
		"/api/v1/pods":  pods / 500, "/apis/apps/v1/daemonsets": 1, "/apis/resource.k8s.io/v1/resourceslices": 1, "/apis/node.k8s.io/v1/runtimeclasses/nvidia": 1,
	}
	if diff := cmp.Diff(want, s.requests); diff != "" {
		t.Error("requests: ", diff)
	}
	if s.largest != 500 {
		t.Errorf("a page had %d objects", s.largest)
	}
	if kinds := kindsOf(c.Problems()); !slices.Equal(kinds, []ProblemKind{ProblemRuntimeClass}) {
		t.Errorf("problems: %v", kinds)
	}
}

func kindsOf(problems []Problem) []ProblemKind {
	kinds := []ProblemKind{}
	for _, p := range problems {
		kinds = append(kinds, p.Kind)
	}
	return kinds
}
