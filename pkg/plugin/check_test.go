package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	kubetesting "k8s.io/client-go/testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// fakeLookup is a look at a cluster of these objects; only what reads objects
// can be asked.
func fakeLookup(objects ...runtime.Object) *lookup {
	c := &cluster{client: fake.NewClientset(objects...), rest: &rest.Config{Host: "https://cluster.example"}}
	o := NewCheckOptions(genericiooptions.IOStreams{Out: io.Discard, ErrOut: io.Discard})
	return &lookup{options: o, cluster: c}
}

// told runs the readers and the checkers with these IDs, and gives the text.
func told(t *testing.T, l *lookup, of func(*lookup) []check.Checker, ids ...string) string {
	t.Helper()
	readers := check.Category{Name: "Readers", Checkers: []check.Checker{
		{ID: "nodes-read", Description: "nodes and pods can be read", Check: l.readNodes},
		{ID: "services-read", Description: "Services can be read", Check: l.readServices},
	}}
	asked := check.Category{Name: "Asked"}
	for _, k := range of(l) {
		if len(ids) == 0 || slices.Contains(ids, k.ID) {
			asked.Checkers = append(asked.Checkers, k)
		}
	}
	r := check.Run(t.Context(), []check.Category{readers, asked}, check.Options{}, check.Observer{})
	var b bytes.Buffer
	text := check.NewText(&b, lipgloss.NewRenderer(io.Discard), false, checkDocs)
	for _, c := range r.Categories {
		text.Category(c)
	}
	return b.String()
}

func everyChecker() []check.Checker {
	var all []check.Checker
	for _, c := range fakeLookup().categories() {
		all = append(all, c.Checkers...)
	}
	return all
}

// TestCheckersAreSound: IDs are unique and documented, and what one needs is
// asked before it.
func TestCheckersAreSound(t *testing.T) {
	page, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range everyChecker() {
		switch {
		case k.ID == "" || k.Description == "" || k.Check == nil:
			t.Errorf("%+v is incomplete", k)
		case seen[k.ID]:
			t.Errorf("%s is there twice", k.ID)
		}
		for _, need := range k.Needs {
			if !seen[need] {
				t.Errorf("%s needs %s, which does not stand before it", k.ID, need)
			}
		}
		seen[k.ID] = true
		if !strings.Contains(string(page), "\n### `"+k.ID+"`\n") {
			t.Errorf("docs/check.md has no section %s", k.ID)
		}
	}
	for line := range strings.Lines(string(page)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "### `"); ok && !seen[strings.TrimSuffix(id, "`")] {
			t.Errorf("docs/check.md has a section %s and there is no such check", id)
		}
	}
}

// TestEveryProblemIsAsked: no kind of problem that pkg/gpu finds is left out.
func TestEveryProblemIsAsked(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../gpu/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 && fmt.Sprint(spec.Type) == "ProblemKind" {
			kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, kind)
		}
		return true
	})
	if len(kinds) < 16 {
		t.Fatalf("only %d kinds were found", len(kinds))
	}
	for _, kind := range kinds {
		asked := slices.ContainsFunc(slices.Concat(nodeQuestions(), exporterQuestions()), func(q gpuQuestion) bool { return string(q.problem) == kind })
		if !asked {
			t.Errorf("nothing asks for %s", kind)
		}
	}
}

func gpuNode(name string, change ...func(*corev1.Node)) *corev1.Node {
	gpus := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"nvidia.com/gpu.present": "true", "nvidia.com/cuda.driver-version.full": "580.95.05", "kubernetes.io/hostname": name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "nvidia.com/gpu", Value: "present", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Capacity: gpus.DeepCopy(), Allocatable: gpus.DeepCopy(), Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		}},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		if n.Labels[key] = value; value == "" {
			delete(n.Labels, key)
		}
	}
}

func taint(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule})
	}
}

func offers(allocatable string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		delete(n.Status.Allocatable, "nvidia.com/gpu")
		if allocatable != "" {
			n.Status.Allocatable["nvidia.com/gpu"] = resource.MustParse(allocatable)
		}
	}
}

// exporter is a DaemonSet of dcgm-exporter and its ready pods on some nodes.
func exporter(name string, nodes ...string) []runtime.Object {
	labels := map[string]string{"app.kubernetes.io/name": "dcgm-exporter", "app.kubernetes.io/instance": name}
	runtimeClass := "nvidia"
	spec := corev1.PodSpec{
		NodeSelector: map[string]string{"nvidia.com/gpu.present": "true"}, RuntimeClassName: &runtimeClass,
		Tolerations: []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}},
		Containers:  []corev1.Container{{Name: "exporter", Image: "nvcr.io/nvidia/k8s/dcgm-exporter:4.8.2", Args: []string{"--collect-interval=1000"}, Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9400}}}},
	}
	meta := metav1.ObjectMeta{Namespace: "monitoring", Name: name, Labels: labels, Annotations: map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": "monitoring"}}
	objects := []runtime.Object{&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
	}}}
	controller := true
	for _, node := range nodes {
		s := spec
		s.NodeName = node
		objects = append(objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: name + "-" + node, Labels: labels,
				OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: name, Controller: &controller}}},
			Spec:   s,
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	return objects
}

func nvidiaClass() runtime.Object {
	return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "nvidia"}}
}

// TestCheckMessages holds, for each thing that goes wrong with GPU nodes and
// exporters, the exact text.
func TestCheckMessages(t *testing.T) {
	all := func(objects ...any) []runtime.Object {
		var out []runtime.Object
		for _, o := range objects {
			switch o := o.(type) {
			case []runtime.Object:
				out = append(out, o...)
			case runtime.Object:
				out = append(out, o)
			}
		}
		return out
	}
	waiting := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "triton-2"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}},
	}}}}
	for name, objects := range map[string][]runtime.Object{
		"well":                  all(gpuNode("a"), gpuNode("b"), nvidiaClass(), exporter("dcgm-exporter", "a", "b")),
		"no-gpu-nodes":          all(gpuNode("a", label("nvidia.com/gpu.present", ""), offers(""), func(n *corev1.Node) { n.Status.Capacity = nil })),
		"not-offered":           all(gpuNode("a"), gpuNode("b", offers(""), label("feature.node.kubernetes.io/pci-10de.present", "true"), func(n *corev1.Node) { n.Status.Capacity = nil }), nvidiaClass(), exporter("dcgm-exporter", "a", "b")),
		"unhealthy":             all(gpuNode("a"), gpuNode("b", offers("1")), nvidiaClass(), exporter("dcgm-exporter", "a", "b")),
		"mig-failed":            all(gpuNode("a", label("nvidia.com/mig.config.state", "failed")), nvidiaClass(), exporter("dcgm-exporter", "a")),
		"node-not-ready":        all(gpuNode("a", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }), nvidiaClass(), exporter("dcgm-exporter", "a")),
		"label-missing":         all(gpuNode("a"), gpuNode("b", label("nvidia.com/gpu.present", "")), nvidiaClass(), exporter("dcgm-exporter", "a")),
		"driver-versions":       all(gpuNode("a"), gpuNode("b", label("nvidia.com/cuda.driver-version.full", "570.0.0")), nvidiaClass(), exporter("dcgm-exporter", "a", "b")),
		"taint-untolerated":     all(gpuNode("a"), gpuNode("b", taint("team", "ml")), nvidiaClass(), exporter("dcgm-exporter", "a")),
		"no-exporter":           all(gpuNode("a"), nvidiaClass()),
		"exporter-missing":      all(gpuNode("a"), gpuNode("b"), nvidiaClass(), exporter("dcgm-exporter", "a")),
		"exporter-twice":        all(gpuNode("a"), nvidiaClass(), exporter("dcgm-exporter", "a"), exporter("second", "a")),
		"exporter-on-cpu-nodes": all(gpuNode("a"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "cpu"}}, nvidiaClass(), exporter("dcgm-exporter", "a", "cpu")),
		"no-runtime-class":      all(gpuNode("a"), exporter("dcgm-exporter")),
		"pod-waits":             all(gpuNode("a"), nvidiaClass(), exporter("dcgm-exporter", "a"), waiting),
	} {
		t.Run(name, func(t *testing.T) {
			l := fakeLookup(objects...)
			text := told(t, l, func(l *lookup) []check.Checker {
				var static []check.Checker
				for _, k := range append(l.nodeCheckers(), l.exporterCheckers()...) {
					if k.ID != "exporter-publishes" && k.ID != "exporter-names" { // they ask the pods
						static = append(static, k)
					}
				}
				return static
			})
			golden(t, "check/"+name+".txt", []byte(text))
		})
	}
}

// TestCheckDenied: what may not be read is said once, and what depends on it is
// skipped with the reason.
func TestCheckDenied(t *testing.T) {
	l := fakeLookup(gpuNode("a"))
	l.cluster.client.(*fake.Clientset).PrependReactor("list", "*", func(a kubetesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() == "" {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: a.GetResource().Resource}, "", errors.New("no such right"))
		}
		return false, nil, nil
	})
	golden(t, "check/denied.txt", []byte(told(t, l, (*lookup).nodeCheckers)))
}

// TestCheckDeniedKinds: what nobody could look at is not called well.
func TestCheckDeniedKinds(t *testing.T) {
	for resource, test := range map[string]struct {
		objects []runtime.Object
		ids     []string
		want    string
	}{
		"pods": {exporter("dcgm-exporter", "a"), []string{"exporter-tolerates", "exporter-selects", "exporter-everywhere", "exporter-ready", "exporter-once", "exporter-only-there"},
			"6 checks (skipped: you may not list pods)"},
		"daemonsets":     {nil, []string{"exporter-runs"}, "installed (skipped: you may not list DaemonSets)"},
		"runtimeclasses": {exporter("dcgm-exporter", "a"), []string{"exporter-runtime-class"}, "exists (skipped: you may not list RuntimeClasses)"},
	} {
		l := fakeLookup(append(test.objects, gpuNode("a"))...)
		l.cluster.client.(*fake.Clientset).PrependReactor("*", resource, func(kubetesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no such right"))
		})
		got := told(t, l, func(l *lookup) []check.Checker { return l.exporterCheckers() }, append(test.ids, "exporter-runs")...)
		if !strings.Contains(strings.Join(strings.Fields(got), " "), test.want) {
			t.Errorf("without %s:\n%s", resource, got)
		}
	}
}

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

// onePod is a cluster of one pod, for the questions about monitoring.
type onePod struct {
	monitoringReads
	pod       corev1.Pod
	others    []string // further ones
	explained *int     // how often it was asked why a target is missing
}

func (r onePod) pods(context.Context, string, labels.Set) ([]corev1.Pod, error) {
	pods := []corev1.Pod{r.pod}
	for _, name := range r.others {
		pod := *r.pod.DeepCopy()
		pod.Name = name
		pods = append(pods, pod)
	}
	return pods, nil
}

func (r onePod) monitors() *stack.Monitors { return &stack.Monitors{} }

func (r onePod) prometheuses(context.Context) ([]*stack.Prometheus, error) {
	*r.explained++
	return nil, nil
}

// monitored asks a Prometheus that answers by path.
func monitored(t *testing.T, w watched, answers map[string]string) *monitoring {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":"success","data":%s}`, answers[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	way := &http.Transport{}
	t.Cleanup(way.CloseIdleConnections)
	prometheus, err := metrics.NewPrometheus(server.URL, way)
	if err != nil {
		t.Fatal(err)
	}
	pod := tritonObjects()[1].(*corev1.Pod)
	return &monitoring{cluster: &cluster{}, watched: w, prometheus: prometheus, reads: onePod{pod: *pod}}
}

// TestTritonSeriesCountOnce: several Tritons of a namespace have its series
// together.
func TestTritonSeriesCountOnce(t *testing.T) {
	m := monitored(t, watched{tritons: []stack.Target{{Namespace: "triton", Name: "a"}, {Namespace: "triton", Name: "b"}}},
		map[string]string{"/api/v1/query": `{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}`})
	if o := m.tritonSeries(t.Context()); o.Detail != "7 nv_inference_* series" {
		t.Errorf("%+v", o)
	}
}

// TestRetentionIsCheap: a Prometheus in production has millions of series, and is
// not made to load them all.
func TestRetentionIsCheap(t *testing.T) {
	m := monitored(t, watched{}, map[string]string{
		"/api/v1/status/runtimeinfo": `{"storageRetention":"10d"}`,
		"/api/v1/status/tsdb":        `{"headStats":{"numSeries":5000000}}`,
		"/api/v1/query":              `{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}`,
	})
	if o := m.retention(t.Context()); o.Detail != "kept for 10d; 5,000,000 series" {
		t.Errorf("%+v", o)
	}
}

// TestPrometheusThatMayNotBeRead is not one that isn't there.
func TestPrometheusThatMayNotBeRead(t *testing.T) {
	l := fakeLookup()
	l.options.Prometheus = "monitoring/x"
	if _, err := l.choosePrometheus(); err == nil || !strings.Contains(err.Error(), "is not known, for the Prometheuses could not be read") {
		t.Error(err)
	}
	l.scrapes = &stack.Monitors{}
	if _, err := l.choosePrometheus(); err == nil || !strings.Contains(err.Error(), "there is no Prometheus monitoring/x") {
		t.Error(err)
	}
}

// TestConcerns: the stack's pods are known by the charts' labels too, whatever a
// mirror calls their images.
func TestConcerns(t *testing.T) {
	for name, want := range map[string]bool{"prometheus": true, "grafana": true, "dcgm-exporter": true, "nginx": false} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": name}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "mirror.example/team/4711:1"}}}}
		if concerns(p) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

// TestMoreExportersThanHere: a Prometheus may know those of other clusters.
func TestMoreExportersThanHere(t *testing.T) {
	m := monitored(t, watched{exporters: []stack.Target{{Namespace: "triton", Name: "dcgm-exporter", Port: 9400}}}, map[string]string{
		"/api/v1/targets": `{"activeTargets":[{"scrapeUrl":"http://10.0.0.1:9400/metrics","health":"up","labels":{"namespace":"triton","pod":"triton-0"}}]}`,
		"/api/v1/query":   `{"resultType":"vector","result":[{"metric":{},"value":[1,"5"]}]}`,
	})
	if o := m.gpuSeries(t.Context()); o.Detail != "series of 5 GPUs from 5 exporters, 1 of them ready in this cluster" {
		t.Errorf("%+v", o)
	}
}

// TestOneTargetIsExplained: what is wrong and why are of the same pod, and
// Prometheus is asked for its dropped targets once and not for each pod.
func TestOneTargetIsExplained(t *testing.T) {
	m := monitored(t, watched{prometheus: stackService{namespace: "monitoring", name: "x"}, tritons: []stack.Target{{Namespace: "triton", Name: "triton-infer", Port: 8002}}},
		map[string]string{"/api/v1/targets": `{"activeTargets":[{"scrapeUrl":"http://10.0.0.1:8002/metrics","health":"down","lastError":"it is full","labels":{"namespace":"triton","pod":"triton-9"}}]}`})
	reads := m.reads.(onePod)
	asked := 0
	reads.others, reads.explained = []string{"triton-1", "triton-9"}, &asked
	m.reads = reads
	o := m.tritonTargets(t.Context())
	if f := o.Findings[0]; !strings.Contains(f.What, "0 of 3 up; Prometheus has no target for pod triton-0") || !strings.Contains(f.Why, "is not run by an operator") || asked != 1 {
		t.Errorf("explained %d times: %+v", asked, f)
	}
}

// TestTargetOfThePort: a pod with a sidecar has several targets.
func TestTargetOfThePort(t *testing.T) {
	target := func(port int, health string) string {
		return fmt.Sprintf(`{"scrapeUrl":"http://10.0.0.1:%d/metrics","health":%q,"lastError":"from port %d","labels":{"namespace":"triton","pod":"triton-0"}}`, port, health, port)
	}
	for _, c := range []struct{ targets, want string }{
		{target(15020, "down") + "," + target(8002, "up"), "1 of 1 up"},
		{target(15020, "up") + "," + target(8002, "down"), "0 of 1 up; scraping pod triton-0 fails: from port 8002"},
		{target(8002, "down") + "," + target(8002, "up"), "1 of 1 up"},
		{target(8443, "up"), "1 of 1 up"}, // a proxy in front of it
	} {
		m := monitored(t, watched{tritons: []stack.Target{{Namespace: "triton", Name: "triton-infer", Port: 8002}}},
			map[string]string{"/api/v1/targets": `{"activeTargets":[` + c.targets + `]}`})
		o := m.tritonTargets(t.Context())
		got := o.Detail
		if len(o.Findings) > 0 {
			got = o.Findings[0].What
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.targets, got, c.want)
		}
	}
}

func TestCollectInterval(t *testing.T) {
	for name, c := range map[string]struct {
		args, env string
		want      time.Duration
	}{
		"default":            {"", "", 30 * time.Second},
		"flag":               {"--collect-interval=1000", "", time.Second},
		"flag, two words":    {"-f /etc/x.csv -c 500", "", 500 * time.Millisecond},
		"variable":           {"", "2000", 2 * time.Second},
		"flag over variable": {"--collect-interval=1000", "2000", time.Second},
		"nonsense":           {"--collect-interval=fast", "-5", 30 * time.Second},
		"flag at the end":    {"--collect-interval", "", 30 * time.Second},
		"absurd":             {"-c 99999999999999999999", "", 30 * time.Second},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{c.args}, Env: []corev1.EnvVar{{Name: "DCGM_EXPORTER_INTERVAL", Value: c.env}}}}}}
		if got := collectInterval(pod); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "DCGM_EXPORTER_INTERVAL", ValueFrom: &corev1.EnvVarSource{}}}}}}}
	if got := collectInterval(pod); got != 0 {
		t.Errorf("from another object: %s", got)
	}
	pod.Spec.Containers[0].Args = []string{"-c", "1000"}
	if got := collectInterval(pod); got != time.Second {
		t.Errorf("a flag over another object's: %s", got)
	}
}

func TestExporterNames(t *testing.T) {
	page := func(name string, old, recent bool) exporterPage {
		return exporterPage{pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}, any: true, old: old, recent: recent}
	}
	for name, c := range map[string]struct {
		pages []exporterPage
		want  string
	}{
		"old":    {[]exporterPage{page("a", true, false)}, ""},
		"recent": {[]exporterPage{page("a", false, true)}, ""},
		"mixed":  {[]exporterPage{page("a", true, false), page("b", false, true)}, "some exporters use the names of 4.8 (a) and some those of 4.9 (b)"},
	} {
		o := (&exporterPages{c.pages}).judgeNames()
		if c.want == "" && (len(o.Findings) > 0 || o.Detail == "") || c.want != "" && (len(o.Findings) != 1 || o.Findings[0].What != c.want) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestCheckValidate(t *testing.T) {
	for name, change := range map[string]func(*CheckOptions){
		"output":     func(o *CheckOptions) { o.Output = "xml" },
		"namespace":  func(o *CheckOptions) { o.StackNamespace = "" },
		"wait":       func(o *CheckOptions) { o.Wait = -1 },
		"timeout":    func(o *CheckOptions) { o.Timeout = 0 },
		"prometheus": func(o *CheckOptions) { o.Prometheus = "a" },
	} {
		o := NewCheckOptions(genericiooptions.NewTestIOStreamsDiscard())
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		change(o)
		var exit *ExitError
		if err := o.Validate(); !errors.As(err, &exit) || exit.Code != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAccessAsksOnce: commands share most permissions.
func TestAccessAsksOnce(t *testing.T) {
	l := fakeLookup()
	client := l.cluster.client.(*fake.Clientset)
	asked := map[string]int{}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a kubetesting.Action) (bool, runtime.Object, error) {
		review := a.(kubetesting.CreateAction).GetObject()
		asked[fmt.Sprint(review)]++
		return true, review, nil // not allowed
	})
	var category check.Category
	for _, k := range l.permissionCheckers() {
		k.Needs = nil
		category.Checkers = append(category.Checkers, k)
	}
	r := check.Run(context.Background(), []check.Category{category}, check.Options{}, check.Observer{})
	for text, n := range asked {
		if n != 1 {
			t.Errorf("asked %d times: %s", n, text)
		}
	}
	if r.Counts.Warnings != len(category.Checkers) || r.Counts.Failed != 0 {
		t.Errorf("%+v", r.Counts)
	}
	if what := r.Categories[0].Checks[0].Findings[0].What; !strings.HasPrefix(what, "you may not; it needs: get services in namespace triton (to find Triton); list pods in namespace triton") {
		t.Errorf("it says %q", what)
	}
}

// TestStackCheck: "observe" tells a checker's result in its own states.
func TestStackCheck(t *testing.T) {
	ask := func(o check.Outcome) check.Result {
		r := check.Run(t.Context(), []check.Category{{Checkers: []check.Checker{{ID: "x", Check: func(context.Context) check.Outcome { return o }}}}}, check.Options{}, check.Observer{})
		return r.Categories[0].Checks[0]
	}
	for name, c := range map[string]struct {
		outcome            check.Outcome
		state, detail, fix string
	}{
		"ok":      {check.OK("3 of 3"), "ok", "3 of 3", ""},
		"skipped": {check.Skip("no GPU"), "skipped", "no GPU", ""},
		"pending": {check.Pending("not yet", "because", "run this"), "pending", "not yet", "run this"},
		"failed":  {check.Wrong(check.Finding{What: "broken", Command: "mend"}), "failed", "broken", "mend"},
		"unknown": {check.Unknown(errors.New("no answer")), "unknown", "no answer", ""},
	} {
		if got := stackCheck("n", ask(c.outcome)); got.Name != "n" || got.State != c.state || got.Detail != c.detail || got.Fix != c.fix {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
