package portforward

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kubectl/pkg/util"
)

// reading is what the API server says about an endpoint's pods.
type reading struct {
	target   string // `Service "x"` or `pod "x"`
	selector string
	pods     []podPort // in order of names
	given    bool      // by the caller: a watch may know better by now
}

// podPort is a pod and what the endpoint's port means on it.
type podPort struct {
	object  *corev1.Pod
	port    int32
	portErr error
	takes   bool   // can take a connection
	reason  string // why not
}

func (r *reading) candidates() []Candidate {
	list := make([]Candidate, 0, len(r.pods))
	for _, p := range r.pods {
		ref := refOf(p.object)
		ref.Port = p.port
		list = append(list, Candidate{Pod: ref, Ready: p.takes, Reason: p.reason})
	}
	return list
}

func (r *reading) ready() []podPort {
	var list []podPort
	for _, p := range r.pods {
		if p.takes {
			list = append(list, p)
		}
	}
	return list
}

// portError is set when pods would be ready but none has the port.
func (r *reading) portError() error {
	for _, p := range r.pods {
		if p.portErr != nil {
			return p.portErr
		}
	}
	return nil
}

func (e *Endpoint) read(ctx context.Context) (*reading, error) {
	if given := e.takeGiven(); given != nil {
		return given(ctx)
	}
	if e.kind == kindPod {
		return e.readPod(ctx)
	}
	return e.readService(ctx)
}

func (e *Endpoint) readPod(ctx context.Context) (*reading, error) {
	object, err := e.dialer.client.CoreV1().Pods(e.namespace).Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return nil, e.dialer.apiError(err, request{verb: "get", resource: "pods", kind: "pod", namespace: e.namespace, name: e.name})
	}
	return e.podReading(object)
}

func (e *Endpoint) podReading(object *corev1.Pod) (*reading, error) {
	port, portErr := containerPort(object, e.port)
	if portErr != nil {
		return nil, portErr
	}
	p := podPort{object: object, port: port, takes: object.Status.Phase == corev1.PodRunning && object.DeletionTimestamp == nil}
	if !p.takes {
		_, p.reason = readiness(object)
	}
	return &reading{target: fmt.Sprintf("pod %q", e.name), pods: []podPort{p}}, nil
}

func (e *Endpoint) readService(ctx context.Context) (*reading, error) {
	service, err := e.dialer.client.CoreV1().Services(e.namespace).Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return nil, e.dialer.apiError(err, request{verb: "get", resource: "services", kind: "Service", namespace: e.namespace, name: e.name})
	}
	return e.readPods(ctx, service)
}

func (e *Endpoint) readPods(ctx context.Context, service *corev1.Service) (*reading, error) {
	port, err := e.portOf(service)
	if err != nil {
		return nil, err
	}
	list, err := e.dialer.client.CoreV1().Pods(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: selectorOf(service)})
	if err != nil {
		return nil, e.dialer.apiError(err, request{verb: "list", resource: "pods", namespace: e.namespace})
	}
	return e.serviceReading(service, port, list.Items), nil
}

// portOf is the number of the Service's port that the endpoint means.
func (e *Endpoint) portOf(service *corev1.Service) (int32, error) {
	if err := forwardable(service); err != nil {
		return 0, err
	}
	return servicePort(service, e.port)
}

func selectorOf(service *corev1.Service) string {
	return labels.SelectorFromSet(service.Spec.Selector).String()
}

func (e *Endpoint) serviceReading(service *corev1.Service, port int32, pods []corev1.Pod) *reading {
	r := &reading{target: fmt.Sprintf("Service %q", e.name), selector: selectorOf(service)}
	for i := range pods {
		p := podPort{object: &pods[i]}
		p.takes, p.reason = readiness(p.object)
		number, err := util.LookupContainerPortNumberByServicePort(*service, *p.object, port)
		if err != nil {
			if p.takes {
				p.portErr = &PortError{Target: describe("pod", p.object), Port: targetPortName(service, port), Available: containerPorts(p.object)}
				p.reason = p.portErr.Error()
			}
			p.takes = false
		} else {
			p.port = number
		}
		r.pods = append(r.pods, p)
	}
	slices.SortStableFunc(r.pods, func(a, b podPort) int { return strings.Compare(a.object.Name, b.object.Name) })
	return r
}

// forwardable refuses Services that have no pods of their own.
func forwardable(s *corev1.Service) error {
	refuse := func(reason string) error {
		return &ServiceError{Namespace: s.Namespace, Name: s.Name, Reason: reason}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return refuse(fmt.Sprintf("it is of type ExternalName and stands for the host %q, not for pods; connect to that host directly", s.Spec.ExternalName))
	}
	if len(s.Spec.Selector) == 0 {
		return refuse("it has no selector, so no pods belong to it; name a pod or another Service")
	}
	return nil
}

// servicePort is the Service's port number that a name or number means.
func servicePort(s *corev1.Service, port string) (int32, error) {
	var tcp []corev1.ServicePort
	var available []string
	for _, p := range s.Spec.Ports {
		if p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
			available = append(available, fmt.Sprintf("%s (%d, %s: cannot be forwarded)", p.Name, p.Port, p.Protocol))
			continue
		}
		tcp = append(tcp, p)
		available = append(available, strings.TrimSpace(fmt.Sprintf("%s (%d)", p.Name, p.Port)))
	}
	if port == "" && len(tcp) == 1 {
		return tcp[0].Port, nil
	}
	for _, p := range tcp {
		if port != "" && (p.Name == port || strconv.Itoa(int(p.Port)) == port) {
			return p.Port, nil
		}
	}
	return 0, &PortError{Target: fmt.Sprintf("Service %q in namespace %q", s.Name, s.Namespace), Port: port, Available: available}
}

func targetPortName(s *corev1.Service, port int32) string {
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			return p.TargetPort.String()
		}
	}
	return strconv.Itoa(int(port))
}

// containerPort is the port of a pod that a name or number means. A number
// need not be declared.
func containerPort(object *corev1.Pod, port string) (int32, error) {
	fail := func() (int32, error) {
		return 0, &PortError{Target: describe("pod", object), Port: port, Available: containerPorts(object)}
	}
	if port == "" {
		var declared []int32
		for _, c := range object.Spec.Containers {
			for _, p := range c.Ports {
				declared = append(declared, p.ContainerPort)
			}
		}
		if len(declared) != 1 {
			return fail()
		}
		return declared[0], nil
	}
	if number, err := strconv.Atoi(port); err == nil {
		if number < 1 || number > 65535 {
			return fail()
		}
		return int32(number), nil
	}
	number, err := util.LookupContainerPortNumberByName(*object, port)
	if err != nil {
		return fail()
	}
	return number, nil
}

func containerPorts(object *corev1.Pod) []string {
	var list []string
	for _, c := range object.Spec.Containers {
		for _, p := range c.Ports {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s (%d)", p.Name, p.ContainerPort)))
		}
	}
	return list
}

func describe(kind string, object *corev1.Pod) string {
	return fmt.Sprintf("%s %q in namespace %q", kind, object.Name, object.Namespace)
}
