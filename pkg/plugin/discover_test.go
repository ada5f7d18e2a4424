package plugin

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

func service(namespace, name, app string, ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{Ports: ports}}
	if app != "" {
		s.Spec.Selector = map[string]string{"app": app}
	}
	return s
}

func tritonPod(namespace, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app + "-0", Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: "nvcr.io/nvidia/tritonserver:26.06-py3"}}},
	}
}

var usualPorts = []corev1.ServicePort{
	{Name: "metrics-inference-server", Port: 8002, TargetPort: intstr.FromString("metrics")},
	{Name: "grpc-inference-server", Port: 8001, TargetPort: intstr.FromString("grpc")},
	{Name: "http-inference-server", Port: 8000, TargetPort: intstr.FromString("http")},
}

// ports are Service ports with their targets, as name:number:target.
func ports(texts ...string) []corev1.ServicePort {
	var list []corev1.ServicePort
	for _, text := range texts {
		f := strings.Split(text, ":")
		number, _ := strconv.ParseInt(f[1], 10, 32)
		list = append(list, corev1.ServicePort{Name: f[0], Port: int32(number), TargetPort: intstr.Parse(f[2])})
	}
	return list
}

// customPod is a ready pod with another image, and container ports as
// name:number.
func customPod(namespace, app string, texts ...string) *corev1.Pod {
	p := tritonPod(namespace, app)
	p.Spec.Containers[0].Image = "registry.example/team/serving:7"
	for _, text := range texts {
		name, digits, _ := strings.Cut(text, ":")
		number, _ := strconv.ParseInt(digits, 10, 32)
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{Name: name, ContainerPort: int32(number)})
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	return p
}

func TestFindTriton(t *testing.T) {
	for _, c := range []struct {
		name               string
		objects            []runtime.Object
		namespace, service string
		want               string // namespace/name http grpc
		problem            string
	}{
		{"the default name", []runtime.Object{service("triton", "triton-infer", "t", usualPorts...), service("other", "x", "x", usualPorts...), tritonPod("other", "x")}, "", "", "triton/triton-infer 8000 8001", ""},
		{"the only one, elsewhere", []runtime.Object{service("ml", "rel-triton-inference-server", "t", usualPorts...), tritonPod("ml", "t")}, "", "", "ml/rel-triton-inference-server 8000 8001", ""},
		{"asked for", []runtime.Object{service("ml", "mine", "t", corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(8000)})}, "ml", "mine", "ml/mine 80 ", ""},
		{"several", []runtime.Object{service("a", "one", "t", usualPorts...), tritonPod("a", "t"), service("b", "two", "t", usualPorts...), tritonPod("b", "t")}, "", "", "", "--namespace b --service two"},
		{"a Service of other pods is none", []runtime.Object{service("a", "one", "web", usualPorts...), tritonPod("a", "t")}, "", "", "", "no Triton was found"},
		{"not there", []runtime.Object{service("ml", "mine", "t", usualPorts...)}, "ml", "yours", "", "it has: mine"},
		{"no selector", []runtime.Object{service("ml", "mine", "", usualPorts...)}, "ml", "mine", "", "no selector"},
		{"headless, as the charts make it", []runtime.Object{headless(service("ml", "rel-triton-inference-server", "t", usualPorts...)), tritonPod("ml", "t")}, "", "", "ml/rel-triton-inference-server 8000 8001", ""},
		{"KServe's numbers", []runtime.Object{service("ml", "net-predictor", "t", ports("h:80:8080", "g:9000:9000")...), tritonPod("ml", "t")}, "", "", "ml/net-predictor 80 9000", ""},
		{"a named target", []runtime.Object{service("ml", "mine", "t", ports("web:80:http", "rpc:81:grpc")...), tritonPod("ml", "t")}, "", "", "ml/mine 80 81", ""},
		{"a custom image that answers", []runtime.Object{service("ml", "yes", "c", usualPorts...), customPod("ml", "c", "http:8000", "grpc:8001", "metrics:8002")}, "", "", "ml/yes 8000 8001", ""},
		{"a custom image with KServe's numbers that answers", []runtime.Object{service("ml", "yes", "c", ports("web:80:8080", "rpc:9000:9000")...), customPod("ml", "c")}, "", "", "ml/yes 80 9000", ""},
		{"an HTTP port that neither name nor number tells", []runtime.Object{service("ml", "yes", "c", ports("web:80:web", "rpc:81:rpc")...), customPod("ml", "c", "web:8000", "rpc:8001")}, "ml", "", "", "no Triton was found"},
		{"a custom image that answers something else", []runtime.Object{service("ml", "no", "c", usualPorts...), customPod("ml", "c")}, "", "", "", "ml/no (it is a web shop)"},
		{"one port alone is not asked", []runtime.Object{service("ml", "yes", "c", ports("http:8000:8000")...), customPod("ml", "c")}, "", "", "", "tritonserver image; name it"},
		{"no ready pod is not asked", []runtime.Object{service("ml", "yes", "c", usualPorts...), notReady(customPod("ml", "c"))}, "", "", "", "tritonserver image; name it"},
		{"by image and by answer are several", []runtime.Object{service("a", "one", "t", usualPorts...), tritonPod("a", "t"), service("b", "yes", "c", usualPorts...), customPod("b", "c")}, "", "", "", "choose one of: --namespace a --service one, --namespace b --service yes"},
		{"no port like it", []runtime.Object{service("ml", "mine", "t", corev1.ServicePort{Name: "web", Port: 80})}, "ml", "mine", "", "--port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := &cluster{client: fake.NewClientset(c.objects...), rest: &rest.Config{Host: "https://api"}, probe: probeByName}
			got, err := cl.findTriton(t.Context(), c.namespace, c.service, "")
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Fatalf("error %v, want %q", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if found := got.Namespace + "/" + got.Name + " " + got.HTTPPort + " " + got.GRPCPort; found != c.want {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func headless(s *corev1.Service) *corev1.Service {
	s.Spec.ClusterIP = corev1.ClusterIPNone
	return s
}

func notReady(p *corev1.Pod) *corev1.Pod {
	p.Status.Conditions[0].Status = corev1.ConditionFalse
	return p
}

// probeByName takes the Services with the name "yes" for Triton.
func probeByName(_ context.Context, svc *corev1.Service) error {
	if svc.Name == "yes" {
		return nil
	}
	return errors.New("it is a web shop")
}

// TestScanPages: Triton is found on whatever page of the lists it is, and nothing
// is read twice.
func TestScanPages(t *testing.T) {
	client := fake.NewClientset()
	page := func(o metav1.ListOptions) (n int, next string) {
		if o.Limit == 0 {
			t.Errorf("a list without a limit: %+v", o)
		}
		if o.Continue == "" {
			return 0, "second"
		}
		return 1, ""
	}
	lists := map[string]int{}
	client.PrependReactor("list", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
		lists["services"]++
		n, next := page(a.(clienttesting.ListActionImpl).ListOptions)
		svc := []*corev1.Service{service("a", "web", "w", ports("http:80:80")...), service("b", "mine", "t", usualPorts...)}[n]
		return true, &corev1.ServiceList{ListMeta: metav1.ListMeta{Continue: next}, Items: []corev1.Service{*svc}}, nil
	})
	client.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		lists["pods"]++
		n, next := page(a.(clienttesting.ListActionImpl).ListOptions)
		p := []*corev1.Pod{customPod("c", "other"), tritonPod("b", "t")}[n]
		return true, &corev1.PodList{ListMeta: metav1.ListMeta{Continue: next}, Items: []corev1.Pod{*p}}, nil
	})
	cl := &cluster{client: client, rest: &rest.Config{Host: "https://api"}, probe: probeByName}
	scan, err := cl.scanTriton(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(scan.services) != 1 || scan.services[0].Name != "mine" || len(scan.pods) != 1 || lists["services"] != 2 || lists["pods"] != 2 {
		t.Errorf("found %d Services, kept %d pods, lists %v", len(scan.services), len(scan.pods), lists)
	}
}
