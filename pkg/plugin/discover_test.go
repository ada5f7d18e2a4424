package plugin

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
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
		{"no port like it", []runtime.Object{service("ml", "mine", "t", corev1.ServicePort{Name: "web", Port: 80})}, "ml", "mine", "", "--port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := &cluster{client: fake.NewClientset(c.objects...), rest: &rest.Config{Host: "https://api"}}
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
