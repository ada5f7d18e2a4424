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
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/lipgloss"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	kubetesting "k8s.io/client-go/testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
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
