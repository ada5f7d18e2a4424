package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// The names that a Triton has when nobody says otherwise.
const (
	DefaultNamespace = "triton"
	DefaultService   = "triton-infer"
)

// tritonService is a Service that leads to Triton. The ports are numbers of
// the Service's ports, empty where it has no such port; How says why this one
// was chosen.
type tritonService struct {
	Namespace, Name string
	HTTPPort        string
	GRPCPort        string
	MetricsPort     string
	Selector        labels.Selector
	How             string
}

// findTriton resolves the flags to one Service. Without an explicit name it
// takes the default one, else the only one that looks like Triton; several
// candidates are an error that lists them.
func (c *cluster) findTriton(ctx context.Context, namespace, service, port string) (*tritonService, error) {
	explicit := service != ""
	ns := namespace
	if ns == "" {
		ns = DefaultNamespace
	}
	name := service
	if name == "" {
		name = DefaultService
	}
	svc, err := c.client.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		how := "the default Service"
		if explicit {
			how = "the Service that was asked for"
		}
		return newTritonService(svc, port, how)
	case !apierrors.IsNotFound(err):
		return nil, c.explain(err, fmt.Sprintf("read Service %s in namespace %s", name, ns))
	case explicit:
		return nil, c.missingService(ctx, ns, name)
	}
	candidates, scope, err := c.tritonCandidates(ctx, namespace)
	if err != nil {
		return nil, err
	}
	switch len(candidates) {
	case 0:
		return nil, fmt.Errorf("no Triton was found: Service %s is not in namespace %s and no Service in %s leads to a pod with a tritonserver image; name it with --service and --namespace", name, ns, scope)
	case 1:
		return newTritonService(&candidates[0], port, "the only Service in "+scope+" that leads to Triton")
	}
	var list []string
	for _, s := range candidates {
		list = append(list, fmt.Sprintf("--namespace %s --service %s", s.Namespace, s.Name))
	}
	return nil, usageErrorf("several Services lead to Triton; choose one of: %s", strings.Join(list, ", "))
}

func (c *cluster) missingService(ctx context.Context, ns, name string) error {
	found, err := c.client.CoreV1().Services(ns).List(ctx, metav1.ListOptions{Limit: 20})
	if err != nil || len(found.Items) == 0 {
		return fmt.Errorf("there is no Service %s in namespace %s; list what there is with 'kubectl get services --all-namespaces'", name, ns)
	}
	var names []string
	for _, s := range found.Items {
		names = append(names, s.Name)
	}
	return fmt.Errorf("there is no Service %s in namespace %s; it has: %s", name, ns, strings.Join(names, ", "))
}

// tritonCandidates lists the Services that lead to Triton, in namespace or,
// when that is empty, in all of them.
func (c *cluster) tritonCandidates(ctx context.Context, namespace string) ([]corev1.Service, string, error) {
	services, _, scope, err := c.tritonServices(ctx, namespace)
	return services, scope, err
}

// tritonServices lists the Services whose selector matches a pod with a
// tritonserver image, and all pods, in namespace or, when that is empty, in all
// of them. scope names where it looked.
func (c *cluster) tritonServices(ctx context.Context, namespace string) (found []corev1.Service, pods []corev1.Pod, scope string, err error) {
	scope = "the cluster"
	if namespace != "" {
		scope = "namespace " + namespace
	}
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, scope, c.explain(err, "list the pods of "+scope+" to find Triton (or name it with --namespace and --service)")
	}
	services, err := c.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, scope, c.explain(err, "list the Services of "+scope+" to find Triton (or name it with --namespace and --service)")
	}
	for _, svc := range services.Items {
		if len(svc.Spec.Selector) == 0 || pickPort(&svc, "http", 8000) == "" {
			continue
		}
		if slices.ContainsFunc(podsBehind(&svc, list.Items), func(p corev1.Pod) bool { return runsTriton(&p) }) {
			found = append(found, svc)
		}
	}
	return found, list.Items, scope, nil
}

func runsTriton(p *corev1.Pod) bool { return tritonContainer(p) != nil }

func newTritonService(svc *corev1.Service, port, how string) (*tritonService, error) {
	if len(svc.Spec.Selector) == 0 {
		return nil, fmt.Errorf("Service %s in namespace %s has no selector, so no pod can be chosen behind it; name a Service that selects pods with --service", svc.Name, svc.Namespace) //nolint:staticcheck // Service is a kind's name
	}
	t := &tritonService{
		Namespace:   svc.Namespace,
		Name:        svc.Name,
		HTTPPort:    pickPort(svc, "http", 8000),
		GRPCPort:    pickPort(svc, "grpc", 8001),
		MetricsPort: pickPort(svc, "metrics", 8002),
		Selector:    labels.SelectorFromSet(svc.Spec.Selector),
		How:         how,
	}
	if port != "" {
		t.HTTPPort = port
	}
	if t.HTTPPort == "" {
		var ports []string
		for _, p := range svc.Spec.Ports {
			ports = append(ports, fmt.Sprintf("%s %d", p.Name, p.Port))
		}
		return nil, &noHTTPPortError{namespace: svc.Namespace, name: svc.Name, ports: ports}
	}
	return t, nil
}

// noHTTPPortError says that a Service has no port for Triton's HTTP.
type noHTTPPortError struct {
	namespace, name string
	ports           []string
}

func (e *noHTTPPortError) Error() string {
	return e.what() + fmt.Sprintf("; choose one of its ports (%s) with --port", strings.Join(e.ports, ", "))
}

func (e *noHTTPPortError) what() string {
	return fmt.Sprintf("Service %s in namespace %s has no port that looks like Triton's HTTP (named http or numbered 8000)", e.name, e.namespace)
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

// pods lists the pods behind the Service.
func (c *cluster) podsOf(ctx context.Context, t *tritonService) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: t.Selector.String()})
	if err != nil {
		return nil, c.explain(err, "list the pods behind Service "+t.Name+" in namespace "+t.Namespace)
	}
	return list.Items, nil
}

func podReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
		return false
	}
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
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
