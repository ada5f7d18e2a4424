package plugin

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// tritonObjects are a Service and a pod of Triton.
func tritonObjects(change ...func(*corev1.Service, *corev1.Pod)) []runtime.Object {
	labels := map[string]string{"app": "triton"}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "triton-infer"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 8000}, {Name: "grpc", Port: 8001}, {Name: "metrics", Port: 8002}}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "triton-0", Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "triton", Image: "nvcr.io/nvidia/tritonserver:26.06-py3"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, c := range change {
		c(svc, pod)
	}
	return []runtime.Object{svc, pod}
}

func TestCheckTritonObjects(t *testing.T) {
	for name, objects := range map[string][]runtime.Object{
		"triton-well": tritonObjects(),
		"triton-none": nil,
		"triton-no-metrics-port": tritonObjects(func(s *corev1.Service, _ *corev1.Pod) {
			s.Spec.Ports = s.Spec.Ports[:2]
		}),
		"triton-not-ready": tritonObjects(func(_ *corev1.Service, p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionFalse
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, "check/"+name+".txt", []byte(told(t, fakeLookup(objects...), (*lookup).tritonCheckers, "triton-found", "triton-ports", "triton-pods-ready")))
		})
	}
}

// TestCheckTritonDenied: a Service whose pods may not be listed is not one
// without pods, and Services that may not be listed are not none.
func TestCheckTritonDenied(t *testing.T) {
	ids := []string{"triton-found", "triton-pods-ready", "triton-answers"}
	for resource, want := range map[string]string{
		"pods":     "✓ there is a Triton: triton/triton-infer · its pods are ready (skipped: you may not list the pods of namespace triton) · its server answers (skipped: you may not list the pods of namespace triton)",
		"services": "× Services can be read could not list the Services: the cluster does not allow it",
	} {
		l := fakeLookup(tritonObjects()...)
		l.cluster.client.(*fake.Clientset).PrependReactor("list", resource, func(kubetesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no such right"))
		})
		got := told(t, l, (*lookup).tritonCheckers, ids...)
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("without %s:\n%s", resource, got)
		}
	}
}

func TestPodsReadyLeavesRecordsOut(t *testing.T) {
	l := fakeLookup(tritonObjects()...)
	told(t, l, (*lookup).tritonCheckers, "triton-found")
	found := l.tritons(t.Context())[0]
	evicted := *found.pods[0].DeepCopy()
	evicted.Name, evicted.Status = "evicted", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
	found.pods = append(found.pods, evicted)
	if ready, all, findings := found.podsReady(); ready != 1 || all != 1 || len(findings) != 0 {
		t.Errorf("%d of %d ready, %+v", ready, all, findings)
	}
}

// TestTritonAnswers: what a server's own words lead to.
func TestTritonAnswers(t *testing.T) {
	limits := func(gpus string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse(gpus)}}
	}
	answer := func(change func(*tritonAnswer)) *tritonAnswer {
		target, _ := tritonTarget(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "svc"}}, nil)
		target.Declared = true
		a := &tritonAnswer{
			service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "svc"}}, target: target,
			pod:       corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: limits("2")}}}},
			container: &corev1.Container{Args: []string{"tritonserver", "--model-repository=/models"}},
			models:    []triton.ModelIndex{{Name: "m", Version: "1", State: "READY"}},
			configs:   []triton.ModelConfig{{Name: "m", MaxBatchSize: 8, DynamicBatching: &triton.DynamicBatching{}, InstanceGroup: []triton.InstanceGroup{{Kind: "KIND_GPU", Count: 1, GPUs: []int{0, 1}}}}},
			families:  []string{"nv_inference_request_summary_us", "nv_inference_request_success"},
		}
		if change != nil {
			change(a)
		}
		return a
	}
	for name, c := range map[string]struct {
		change func(*tritonAnswer)
		judge  func(*tritonAnswer) []check.Finding
		want   string // of the first finding; "" for none
	}{
		"ready":     {nil, (*tritonAnswer).serverReady, ""},
		"not ready": {func(a *tritonAnswer) { a.notReady = errors.New("400") }, (*tritonAnswer).serverReady, "the server in pod p is not ready"},
		"models":    {nil, (*tritonAnswer).modelsReady, ""},
		"no model":  {func(a *tritonAnswer) { a.models = nil }, (*tritonAnswer).modelsReady, "Triton ns/svc has no model"},
		"failed model": {func(a *tritonAnswer) {
			a.models[0] = triton.ModelIndex{Name: "m", Version: "1", State: "UNAVAILABLE", Reason: "no such file"}
		}, (*tritonAnswer).modelsReady, "model m version 1 in pod p is UNAVAILABLE"},
		"loading model":         {func(a *tritonAnswer) { a.models[0].State = "LOADING" }, (*tritonAnswer).modelsReady, "model m version 1 in pod p is LOADING"},
		"unloaded beside ready": {func(a *tritonAnswer) { a.models = append(a.models, triton.ModelIndex{Name: "n"}) }, (*tritonAnswer).modelsReady, ""},
		"none loaded":           {func(a *tritonAnswer) { a.models = []triton.ModelIndex{{Name: "n"}} }, (*tritonAnswer).modelsReady, "no model of Triton ns/svc is loaded"},
		"metrics":               {nil, (*tritonAnswer).metricsOn, ""},
		"metrics off":           {func(a *tritonAnswer) { a.target, a.note = nil, "it runs with --allow-metrics=false" }, (*tritonAnswer).metricsOn, "it runs with --allow-metrics=false"},
		"metrics unreadable":    {func(a *tritonAnswer) { a.metricsErr = errors.New("refused") }, (*tritonAnswer).metricsOn, "the metrics of pod p, port 8002, can't be read: refused"},
		"metrics undeclared":    {func(a *tritonAnswer) { a.target.Declared = false }, (*tritonAnswer).metricsOn, "the container of Triton ns/svc does not declare its metrics port 8002"},
		"summaries":             {nil, (*tritonAnswer).percentiles, ""},
		"histogram":             {func(a *tritonAnswer) { a.families = []string{"nv_inference_first_response_histogram_ms"} }, (*tritonAnswer).percentiles, ""},
		"averages only":         {func(a *tritonAnswer) { a.families = a.families[1:] }, (*tritonAnswer).percentiles, "Triton ns/svc publishes averages of its latencies only"},
		"no cache wanted":       {nil, (*tritonAnswer).responseCache, ""},
		"cache without server's": {func(a *tritonAnswer) { a.configs[0].ResponseCache.Enable = true }, (*tritonAnswer).responseCache,
			"1 model (m) of Triton ns/svc asks for the response cache, and the server has none"},
		"cache with it": {func(a *tritonAnswer) {
			a.configs[0].ResponseCache.Enable = true
			a.container.Args = append(a.container.Args, "--cache-config=local,size=1048576")
		}, (*tritonAnswer).responseCache, ""},
		"both GPUs used": {nil, (*tritonAnswer).gpusUsed, ""},
		"one GPU idle":   {func(a *tritonAnswer) { a.configs[0].InstanceGroup[0].GPUs = []int{0} }, (*tritonAnswer).gpusUsed, "a pod of Triton ns/svc holds 2 GPUs, and its models use 1"},
		"all on the CPU": {func(a *tritonAnswer) { a.configs[0].InstanceGroup[0] = triton.InstanceGroup{Kind: "KIND_CPU"} }, (*tritonAnswer).gpusUsed, "a pod of Triton ns/svc holds 2 GPUs, and its models use 0"},
		"one not read":   {func(a *tritonAnswer) { a.configs[0].InstanceGroup[0].GPUs, a.unread = []int{0}, 1 }, (*tritonAnswer).gpusUsed, ""},
		"holds no GPU": {func(a *tritonAnswer) {
			a.pod.Spec.Containers[0].Resources.Limits = nil
			a.configs[0].InstanceGroup = nil
		}, (*tritonAnswer).gpusUsed, ""},
		"dynamic batching": {nil, (*tritonAnswer).batching, ""},
		"no batching":      {func(a *tritonAnswer) { a.configs[0].DynamicBatching = nil }, (*tritonAnswer).batching, "1 model takes batches in Triton ns/svc, but requests are not joined: m"},
		"can't be batched": {func(a *tritonAnswer) { a.configs[0].DynamicBatching = nil; a.configs[0].MaxBatchSize = 0 }, (*tritonAnswer).batching, ""},
		"sequences, joined": {func(a *tritonAnswer) {
			a.configs[0].DynamicBatching = nil
			a.configs[0].SequenceBatching = &triton.SequenceBatching{}
		}, (*tritonAnswer).batching, ""},
	} {
		found := c.judge(answer(c.change))
		switch {
		case c.want == "" && len(found) > 0:
			t.Errorf("%s: %+v", name, found)
		case c.want != "" && (len(found) == 0 || found[0].What != c.want):
			t.Errorf("%s: %+v, want %q", name, found, c.want)
		case c.want != "" && found[0].Command == "":
			t.Errorf("%s: no command", name)
		}
	}
}
