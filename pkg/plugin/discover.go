package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
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

	object *corev1.Service
	pods   []corev1.Pod // behind it, where the search read them; podsOf takes them
}

// endpoint is the way to a port of the Service, first to one of the pods that
// were read.
func (t *tritonService) endpoint(dialer *portforward.Dialer, pods []corev1.Pod, port string) *portforward.Endpoint {
	return dialer.ServiceOf(t.object, pods, port)
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
	scan, err := c.scanTriton(ctx, namespace)
	if err != nil {
		return nil, err
	}
	switch len(scan.services) {
	case 0:
		return nil, scan.nothing(ns, name)
	case 1:
		how := "the only Service in " + scan.scope + " that leads to Triton"
		if len(scan.byAnswer) > 0 {
			how += ", by the answer of its pods"
		}
		found, err := newTritonService(&scan.services[0], port, how)
		if err == nil {
			found.pods = podsBehind(found.object, scan.pods)
		}
		return found, err
	}
	var list []string
	for _, s := range scan.services {
		list = append(list, fmt.Sprintf("--namespace %s --service %s", s.Namespace, s.Name))
	}
	slices.Sort(list)
	return nil, usageErrorf("several Services lead to Triton; choose one of: %s", strings.Join(list, ", "))
}

// nothing says that no Triton was found, and which Services might have been one.
func (s *tritonScan) nothing(namespace, name string) error {
	text := fmt.Sprintf("no Triton was found: Service %s is not in namespace %s and no Service in %s leads to a pod with a tritonserver image", name, namespace, s.scope)
	if maybe := s.maybe(); len(maybe) > 0 {
		text += "; these have ports like Triton's but don't answer as Triton: " + strings.Join(maybe, ", ")
	}
	return errors.New(text + "; name it with --service and --namespace")
}

// maybe are the Services that could not be made sure of, each with the reason.
func (s *tritonScan) maybe() []string {
	var maybe []string
	for _, service := range slices.Sorted(maps.Keys(s.silent)) {
		maybe = append(maybe, fmt.Sprintf("%s (%s)", service, s.silent[service]))
	}
	return maybe
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

func newTritonService(svc *corev1.Service, port, how string) (*tritonService, error) {
	if len(svc.Spec.Selector) == 0 {
		return nil, fmt.Errorf("Service %s in namespace %s has no selector, so no pod can be chosen behind it; name a Service that selects pods with --service", svc.Name, svc.Namespace) //nolint:staticcheck // Service is a kind's name
	}
	t := &tritonService{
		Namespace:   svc.Namespace,
		Name:        svc.Name,
		HTTPPort:    tritonHTTP().in(svc),
		GRPCPort:    tritonGRPC().in(svc),
		MetricsPort: tritonMetrics().in(svc),
		Selector:    labels.SelectorFromSet(svc.Spec.Selector),
		How:         how,
		object:      svc,
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

// podsOf lists the pods behind the Service; the first time those that the search
// for it has read, if it did.
func (c *cluster) podsOf(ctx context.Context, t *tritonService) ([]corev1.Pod, error) {
	pods := t.pods
	if t.pods = nil; len(pods) > 0 {
		return pods, nil
	}
	if err := c.eachPod(ctx, t.Namespace, t.Selector, func(p *corev1.Pod) { pods = append(pods, *p) }); err != nil {
		return nil, c.explain(err, "list the pods behind Service "+t.Name+" in namespace "+t.Namespace)
	}
	return pods, nil
}

func podReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
		return false
	}
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
