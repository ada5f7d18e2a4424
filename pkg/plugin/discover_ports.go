package plugin

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// tritonPort is one of Triton's protocols: how Services and containers name its
// port, and its numbers: Triton's own first, then those of KServe's runtime.
type tritonPort struct {
	name    string
	numbers []int32
}

func tritonHTTP() tritonPort    { return tritonPort{"http", []int32{8000, 8080}} }
func tritonGRPC() tritonPort    { return tritonPort{"grpc", []int32{8001, 9000}} }
func tritonMetrics() tritonPort { return tritonPort{"metrics", []int32{8002}} }

// in finds the Service's port for the protocol and returns its number: by its
// name, by its number or target, or by the name of its target. "" for none.
func (t tritonPort) in(svc *corev1.Service) string {
	for _, number := range t.numbers {
		if port := pickPort(svc, t.name, number); port != "" {
			return port
		}
	}
	for _, p := range svc.Spec.Ports {
		if t.named(p.TargetPort.StrVal) {
			return fmt.Sprint(p.Port)
		}
	}
	return ""
}

func (t tritonPort) named(name string) bool {
	return name == t.name || strings.HasPrefix(name, t.name+"-")
}

// numbered tells whether the Service or a container behind it has the port with
// the given one of the protocol's numbers.
func (t tritonPort) numbered(i int, svc *corev1.Service, pods []corev1.Pod) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		if p.Port == t.numbers[i] || p.TargetPort.IntVal == t.numbers[i] {
			return true
		}
		return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			number, ok := containerPort(&pod, []string{p.TargetPort.StrVal}, 0)
			return ok && p.TargetPort.StrVal != "" && number == t.numbers[i]
		})
	})
}

// pickPort finds the Service port for a protocol by its name (http,
// http-inference-server) or its number, and returns its number.
func pickPort(svc *corev1.Service, name string, number int32) string {
	for _, p := range svc.Spec.Ports {
		if p.Name == name || strings.HasPrefix(p.Name, name+"-") {
			return fmt.Sprint(p.Port)
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.Port == number || p.TargetPort.IntVal == number {
			return fmt.Sprint(p.Port)
		}
	}
	return ""
}

// portsLikeTriton tells whether a Service's ports are worth asking whether they
// are Triton's: two of its three by number or by the charts' names, all three by
// the usual names, or both of KServe's runtime. One port alone says too little.
func portsLikeTriton(svc *corev1.Service, pods []corev1.Pod) bool {
	if tritonHTTP().in(svc) == "" {
		return false
	}
	certain, named := 0, 0
	for _, t := range []tritonPort{tritonHTTP(), tritonGRPC(), tritonMetrics()} {
		hasName := func(p corev1.ServicePort) bool { return t.named(p.Name) }
		chartName := func(p corev1.ServicePort) bool { return p.Name == t.name+"-inference-server" }
		if t.numbered(0, svc, pods) || slices.ContainsFunc(svc.Spec.Ports, chartName) {
			certain++
		}
		if slices.ContainsFunc(svc.Spec.Ports, hasName) {
			named++
		}
	}
	return certain >= 2 || named == 3 || tritonHTTP().numbered(1, svc, pods) && tritonGRPC().numbered(1, svc, pods)
}

// containerPort finds a pod's container port by name or number.
func containerPort(p *corev1.Pod, names []string, number int32) (int32, bool) {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.ContainerPort == number || slices.ContainsFunc(names, func(n string) bool { return port.Name == n }) {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}
