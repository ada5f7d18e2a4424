package plugin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

func TestMetricsFlags(t *testing.T) {
	for name, test := range map[string]struct {
		command, args []string
		port          int32
		off           bool
	}{
		"none":                     {nil, []string{"tritonserver", "--model-repository=/models"}, 0, false},
		"joined":                   {[]string{"tritonserver"}, []string{"--metrics-port=9002"}, 9002, false},
		"apart":                    {nil, []string{"tritonserver", "--metrics-port", "9002"}, 9002, false},
		"in a shell":               {[]string{"sh", "-c"}, []string{`exec tritonserver --metrics-port="9002" --allow-metrics=true`}, 9002, false},
		"in a shell, then another": {[]string{"sh", "-c"}, []string{"tritonserver --metrics-port=9002; sleep 1"}, 9002, false},
		"off":                      {nil, []string{"--allow-metrics=false"}, 0, true},
		"off, apart":               {nil, []string{"--allow-metrics", "False"}, 0, true},
		"off, as a number":         {nil, []string{"--allow-metrics=0"}, 0, true},
		"the last one counts":      {nil, []string{"--allow-metrics=false", "--allow-metrics=true", "--metrics-port=1", "--metrics-port=2"}, 2, false},
		"no number":                {nil, []string{"--metrics-port=$PORT"}, 0, false},
		"no port":                  {nil, []string{"--metrics-port=99999"}, 0, false},
		"at the end":               {nil, []string{"--metrics-port"}, 0, false},
		"GPU metrics only":         {nil, []string{"--allow-gpu-metrics=false"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			port, off := metricsFlags(&corev1.Container{Command: test.command, Args: test.args})
			if port != test.port || off != test.off {
				t.Errorf("got %d, %v; want %d, %v", port, off, test.port, test.off)
			}
		})
	}
}

func FuzzMetricsFlags(f *testing.F) {
	for _, s := range []string{"--metrics-port=9002", "--metrics-port", "--allow-metrics false", `"--metrics-port" '1'`, "--metrics-port=-1", "--metrics-port=99999999999999999999", "\x00 ="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		port, _ := metricsFlags(&corev1.Container{Args: []string{line}})
		if port < 0 || port > 65535 {
			t.Errorf("%q gives port %d", line, port)
		}
		if port != 0 && !strings.Contains(line, "--metrics-port") {
			t.Errorf("%q gives port %d", line, port)
		}
	})
}

func TestTritonTarget(t *testing.T) {
	selector := map[string]string{"app": "triton"}
	service := func(ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "infer", Namespace: "triton", Labels: map[string]string{"team": "ml"}}, Spec: corev1.ServiceSpec{Selector: selector, Ports: ports}}
	}
	pod := func(args []string, ports ...corev1.ContainerPort) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "triton", Labels: selector}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "proxy", Image: "envoy", Ports: []corev1.ContainerPort{{Name: "other", ContainerPort: 8002}}},
			{Name: "server", Image: "nvcr.io/nvidia/tritonserver:26.08-py3", Args: args, Ports: ports},
		}}}
	}
	want := func(change func(*stack.Target)) *stack.Target {
		target := &stack.Target{Name: "infer", Namespace: "triton", PodLabels: selector, Port: 8002, Container: "server", Service: "infer", ServiceLabels: map[string]string{"team": "ml"}}
		change(target)
		return target
	}
	for name, test := range map[string]struct {
		service *corev1.Service
		pods    []corev1.Pod
		want    *stack.Target
		note    string
	}{
		"named port":        {service(corev1.ServicePort{Name: "metrics", Port: 8002, TargetPort: intstr.FromString("metrics")}), []corev1.Pod{pod(nil, corev1.ContainerPort{Name: "metrics", ContainerPort: 8002})}, want(func(t *stack.Target) { t.PortName, t.Declared, t.ServicePort = "metrics", true, "metrics" }), ""},
		"declared number":   {service(corev1.ServicePort{Name: "m", Port: 80, TargetPort: intstr.FromInt32(8002)}), []corev1.Pod{pod(nil, corev1.ContainerPort{ContainerPort: 8002})}, want(func(t *stack.Target) { t.Declared, t.ServicePort = true, "m" }), ""},
		"undeclared":        {service(corev1.ServicePort{Name: "http", Port: 8000, TargetPort: intstr.FromInt32(8000)}), []corev1.Pod{pod(nil)}, want(func(*stack.Target) {}), ""},
		"its own port":      {service(corev1.ServicePort{Name: "metrics", Port: 8002, TargetPort: intstr.FromInt32(9002)}), []corev1.Pod{pod([]string{"--metrics-port=9002"})}, want(func(t *stack.Target) { t.Port, t.ServicePort = 9002, "metrics" }), ""},
		"no target port":    {service(corev1.ServicePort{Name: "metrics", Port: 8002}), []corev1.Pod{pod(nil)}, want(func(t *stack.Target) { t.ServicePort = "metrics" }), ""},
		"nameless port":     {service(corev1.ServicePort{Port: 8002}), []corev1.Pod{pod(nil)}, want(func(*stack.Target) {}), ""},
		"metrics off":       {service(), []corev1.Pod{pod([]string{"--allow-metrics=false"})}, nil, "serves no metrics: it runs with --allow-metrics=false"},
		"no pod yet":        {service(), nil, want(func(t *stack.Target) { t.Container = "" }), ""},
		"another pod first": {service(), []corev1.Pod{{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "busybox"}}}}, pod(nil)}, want(func(*stack.Target) {}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, note := tritonTarget(test.service, test.pods)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(note, test.note) || (note == "") != (test.note == "") {
				t.Errorf("note %q, want %q", note, test.note)
			}
		})
	}
}

func TestPodsBehind(t *testing.T) {
	pods := []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "triton", Labels: map[string]string{"app": "triton", "x": "y"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "triton", Labels: map[string]string{"app": "web"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "other", Labels: map[string]string{"app": "triton"}}},
	}
	got := podsBehind(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "triton"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "triton"}}}, pods)
	if len(got) != 1 || got[0].Name != "a" {
		t.Errorf("got %v", got)
	}
}
