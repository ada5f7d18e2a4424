package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// defaultMetricsPort is where Triton serves /metrics unless told otherwise.
const defaultMetricsPort = 8002

// tritonTargets finds the Tritons that Prometheus is to scrape: those behind
// the named Service, else all of the namespace or cluster. notes say what keeps
// one from being scraped.
func (c *cluster) tritonTargets(ctx context.Context, namespace, service string) (targets []stack.Target, notes []string, err error) {
	if service != "" {
		t, err := c.findTriton(ctx, namespace, service, "")
		if err != nil {
			return nil, nil, err
		}
		namespace = t.Namespace
	}
	services, pods, _, err := c.tritonServices(ctx, namespace)
	if err != nil {
		return nil, nil, err
	}
	for i := range services {
		svc := &services[i]
		if service != "" && svc.Name != service {
			continue
		}
		target, note := tritonTarget(svc, podsBehind(svc, pods))
		if note != "" {
			notes = append(notes, note)
		}
		if target == nil || slices.ContainsFunc(targets, func(t stack.Target) bool { return samePods(t, *target) }) {
			continue
		}
		targets = append(targets, *target)
	}
	return targets, notes, nil
}

// samePods says whether two Services lead to the same pods, as a headless one
// beside a normal one does.
func samePods(a, b stack.Target) bool {
	return a.Namespace == b.Namespace && labels.Equals(a.PodLabels, b.PodLabels)
}

func podsBehind(svc *corev1.Service, pods []corev1.Pod) []corev1.Pod {
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	var behind []corev1.Pod
	for _, p := range pods {
		if p.Namespace == svc.Namespace && selector.Matches(labels.Set(p.Labels)) {
			behind = append(behind, p)
		}
	}
	return behind
}

// tritonTarget reads from a Service and its pods where the metrics are.
func tritonTarget(svc *corev1.Service, pods []corev1.Pod) (*stack.Target, string) {
	t := &stack.Target{Name: svc.Name, Namespace: svc.Namespace, PodLabels: svc.Spec.Selector, Port: defaultMetricsPort,
		Service: svc.Name, ServiceLabels: svc.Labels}
	for i := range pods {
		container := tritonContainer(&pods[i])
		if container == nil {
			continue
		}
		t.Container = container.Name
		port, off := metricsFlags(container)
		if off {
			return nil, fmt.Sprintf("Triton %s/%s serves no metrics: it runs with --allow-metrics=false; remove that flag to observe it", svc.Namespace, svc.Name)
		}
		t.Port = cmp.Or(port, t.Port)
		for _, p := range container.Ports {
			if p.ContainerPort == t.Port {
				t.PortName, t.Declared = p.Name, true
			}
		}
		break
	}
	for _, p := range svc.Spec.Ports {
		if p.Name != "" && (p.TargetPort.IntVal == t.Port || p.TargetPort.StrVal != "" && p.TargetPort.StrVal == t.PortName || p.TargetPort.IntVal == 0 && p.Port == t.Port) {
			t.ServicePort = p.Name
		}
	}
	return t, ""
}

func tritonContainer(p *corev1.Pod) *corev1.Container {
	i := slices.IndexFunc(p.Spec.Containers, func(c corev1.Container) bool { return strings.Contains(c.Image, "tritonserver") })
	if i < 0 {
		return nil
	}
	return &p.Spec.Containers[i]
}

// metricsFlags reads tritonserver's own flags from a container's command line;
// a shell's script counts too.
func metricsFlags(c *corev1.Container) (port int32, off bool) {
	words := strings.Fields(strings.Join(slices.Concat(c.Command, c.Args), " "))
	for i, word := range words {
		name, value, joined := strings.Cut(word, "=")
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		value = strings.ToLower(strings.Trim(value, `"';`))
		switch name {
		case "--metrics-port":
			if n, err := strconv.ParseUint(value, 10, 16); err == nil && n > 0 {
				port = int32(n)
			}
		case "--allow-metrics":
			off = value == "false" || value == "0"
		}
	}
	return port, off
}
