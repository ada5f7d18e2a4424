package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// lookup is one look at the cluster: what the checkers of its first category
// read, each kind once, and the others judge.
type lookup struct {
	options *CheckOptions
	cluster *cluster // whose client speaks protobuf
	dialer  *portforward.Dialer
	stack   *stack.Client

	// Each is written by one checker and read by those that need it.
	gpus     *gpu.Cluster
	podList  []corev1.Pod
	podsOf   []string // the namespaces whose pods could be listed, where not all could
	services []corev1.Service
	operated []*stack.Prometheus
	scrapes  *stack.Monitors

	// Found once all of that is read, by whoever asks first.
	mu     sync.Mutex
	sought bool
	found  []tritonFound
	silent []string // have Triton's ports, and why they are not taken for one
	watch  *monitoring
}

func newLookup(o *CheckOptions, c *cluster) (*lookup, error) {
	client, err := c.compactClient()
	if err != nil {
		return nil, explainConfig(err)
	}
	compact := *c
	compact.client = client
	l := &lookup{options: o, cluster: &compact}
	if l.stack, err = stack.NewClient(c.rest, o.Config.ToRawKubeConfigLoader()); err != nil {
		return nil, err
	}
	if l.dialer, err = portforward.New(portforward.Config{REST: c.rest, Client: client, Transport: portforward.TransportSPDY}); err != nil {
		return nil, err
	}
	compact.probe = l.probe
	return l, nil
}

func (l *lookup) close() { l.dialer.Close() }

func (l *lookup) tritonNamespace() string {
	if ns := *l.options.Config.Namespace; ns != "" {
		return ns
	}
	return DefaultNamespace
}

// categories are all questions in the order in which they are told.
func (l *lookup) categories() []check.Category {
	return []check.Category{
		{Name: "Kubernetes", Checkers: append(l.kubernetesCheckers(), l.permissionCheckers()...)},
		{Name: "GPU nodes", Checkers: l.nodeCheckers()},
		{Name: "GPU exporters", Checkers: l.exporterCheckers()},
		{Name: "Monitoring", Checkers: l.monitoringCheckers()},
		{Name: "Triton", Checkers: l.tritonCheckers()},
	}
}

func (l *lookup) kubernetesCheckers() []check.Checker {
	server := ""
	return []check.Checker{
		{ID: "api-server", Description: "the API server answers", Hint: "kubectl cluster-info", Check: func(ctx context.Context) check.Outcome {
			v, err := l.cluster.serverVersion(ctx)
			if err != nil {
				o := check.Unknown(err)
				o.Transient = true
				return o
			}
			server = v
			return check.OK(v)
		}},
		{ID: "kubernetes-version", Description: "Kubernetes is " + oldestKubernetes + " or newer", Needs: []string{"api-server"}, Check: func(context.Context) check.Outcome {
			if err := newEnough(server); err != nil {
				return check.Wrong(check.Finding{What: err.Error()})
			}
			return check.OK("")
		}},
		{ID: "nodes-read", Description: "nodes and pods can be read", Needs: []string{"api-server"}, Hint: "kubectl auth can-i --list", Check: l.readNodes},
		{ID: "services-read", Description: "Services can be read", Needs: []string{"api-server"}, Hint: "kubectl auth can-i --list", Check: l.readServices},
		{ID: "monitors-read", Description: "Prometheuses and their monitors can be read", Severity: check.Warning, Needs: []string{"api-server"}, Hint: "kubectl auth can-i --list", Check: l.readMonitors},
	}
}

// readNodes surveys the nodes and keeps of the pods those that later questions
// are about.
func (l *lookup) readNodes(ctx context.Context) check.Outcome {
	var pods []corev1.Pod
	var listed []string
	keep := func(p *corev1.Pod) {
		if concerns(p) {
			pods = append(pods, slim(p))
		}
	}
	found, err := gpu.Survey(ctx, l.cluster.client, keep)
	if err != nil {
		return check.Unknown(l.cluster.explain(err, "read the cluster's nodes and pods"))
	}
	var denied []check.Finding
	for _, d := range found.Denied {
		denied = append(denied, check.Finding{What: "you may not read everything of kind " + d.Kind + ", so what depends on them is not checked: " + d.Reason, Level: check.Warning})
	}
	if !found.Knows(gpu.KindPod) {
		for _, ns := range l.namespaces() {
			err := l.cluster.eachPod(ctx, ns, labels.Everything(), keep)
			switch {
			case err == nil:
				listed = append(listed, ns)
			case !apierrors.IsForbidden(err):
				return check.Unknown(l.cluster.explain(err, "list the pods of namespace "+ns))
			}
		}
	}
	l.gpus, l.podList, l.podsOf = found, pods, listed
	o := check.Wrong(denied...)
	if found.Knows(gpu.KindNode) {
		o.Detail = fmt.Sprintf("%d nodes", found.TotalNodes)
	}
	return o
}

// podsDenied says that the pods of a namespace could not be listed; "" when they
// could.
func (l *lookup) podsDenied(namespace string) string {
	if l.gpus.Knows(gpu.KindPod) || slices.Contains(l.podsOf, namespace) {
		return ""
	}
	return "you may not list the pods of namespace " + namespace
}

// namespaces are those of Triton and of the stack, for users who may not read
// the whole cluster.
func (l *lookup) namespaces() []string {
	return slices.Compact([]string{l.tritonNamespace(), l.options.StackNamespace})
}

func (l *lookup) readServices(ctx context.Context) check.Outcome {
	var services []corev1.Service
	read := func(ns string) error {
		return l.cluster.eachService(ctx, ns, func(s *corev1.Service) {
			services = append(services, corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels}, Spec: s.Spec})
		})
	}
	err := read("")
	var findings []check.Finding
	if apierrors.IsForbidden(err) {
		findings = append(findings, check.Finding{What: "you may not list the Services of the whole cluster, so only those of " + strings.Join(l.namespaces(), " and ") + " are looked at", Level: check.Warning})
		denied := err
		for _, ns := range l.namespaces() {
			if err = read(ns); err == nil {
				denied = nil
			} else if !apierrors.IsForbidden(err) {
				break
			}
		}
		if err == nil || apierrors.IsForbidden(err) {
			err = denied // in no namespace may they be listed
		}
	}
	if err != nil {
		return check.Unknown(l.cluster.explain(err, "list the Services"))
	}
	l.services = services
	return check.Wrong(findings...)
}

func (l *lookup) readMonitors(ctx context.Context) check.Outcome {
	operated, err := l.stack.Prometheuses(ctx)
	if err != nil {
		return check.Unknown(l.cluster.advise(err))
	}
	monitors, err := l.stack.Monitors(ctx)
	if err != nil {
		return check.Unknown(l.cluster.advise(err))
	}
	l.operated, l.scrapes = operated, monitors
	return check.OK("")
}

// concerns tells the pods that a question is about: Tritons, exporters and the
// stack's own, by image, by the charts' labels or by Triton's usual ports.
func concerns(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		for _, name := range []string{"tritonserver", "dcgm-exporter", "prometheus", "grafana"} {
			if strings.Contains(c.Image, name) {
				return true
			}
		}
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
			return slices.Contains([]int32{8001, 8002, 9000, 9400}, p.ContainerPort) || tritonGRPC().named(p.Name)
		})
	}) || p.Labels["app"] == "nvidia-dcgm-exporter" || slices.Contains([]string{"dcgm-exporter", "prometheus", "grafana"}, p.Labels["app.kubernetes.io/name"])
}

// slim keeps what the questions read.
func slim(p *corev1.Pod) corev1.Pod {
	out := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion, Labels: p.Labels, DeletionTimestamp: p.DeletionTimestamp},
		Spec:       corev1.PodSpec{NodeName: p.Spec.NodeName, Volumes: p.Spec.Volumes},
		Status:     corev1.PodStatus{Phase: p.Status.Phase, Conditions: p.Status.Conditions, ContainerStatuses: p.Status.ContainerStatuses},
	}
	for _, c := range p.Spec.Containers {
		out.Spec.Containers = append(out.Spec.Containers, corev1.Container{
			Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, Env: c.Env, Ports: c.Ports, Resources: c.Resources,
		})
	}
	return out
}

// The lookup is where the questions of monitoring get objects from.

func (l *lookup) pods(_ context.Context, namespace string, of labels.Set) ([]corev1.Pod, error) {
	if denied := l.podsDenied(namespace); denied != "" {
		return nil, errors.New(denied)
	}
	selector := labels.SelectorFromSet(of)
	var found []corev1.Pod
	for _, p := range l.podList {
		if p.Namespace == namespace && selector.Matches(labels.Set(p.Labels)) {
			found = append(found, p)
		}
	}
	return found, nil
}

func (l *lookup) prometheuses(context.Context) ([]*stack.Prometheus, error) { return l.operated, nil }

func (l *lookup) monitors() *stack.Monitors { return l.scrapes }

func (l *lookup) grafana(ctx context.Context) (stackService, *portforward.Endpoint, error) {
	svc := l.serviceOf(grafanaService())
	if svc == nil {
		return stackService{}, nil, errNoGrafana
	}
	found := newStackService(svc, grafanaService())
	pods, err := l.pods(ctx, svc.Namespace, svc.Spec.Selector)
	if err != nil {
		return found, nil, err
	}
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return podReady(&p) })
	if i < 0 {
		return found, nil, errors.New("Grafana " + found.String() + " has no ready pod")
	}
	port, ok := containerPort(&pods[i], []string{"grafana"}, 3000)
	if !ok {
		return found, l.dialer.ServiceOf(svc, pods, found.port), nil
	}
	return found, l.dialer.PodOf(&pods[i], fmt.Sprint(port)), nil
}

// serviceOf finds a Service of the stack by its labels, then by its names; in
// the stack's namespace, then in any.
func (l *lookup) serviceOf(w wanted) *corev1.Service {
	var tests []func(*corev1.Service) bool
	for _, text := range w.selectors {
		if selector, err := labels.Parse(text); err == nil {
			tests = append(tests, func(s *corev1.Service) bool { return selector.Matches(labels.Set(s.Labels)) })
		}
	}
	for _, name := range w.names {
		tests = append(tests, func(s *corev1.Service) bool { return s.Name == name })
	}
	for _, here := range []bool{true, false} {
		for _, test := range tests {
			for i := range l.services {
				s := &l.services[i]
				if (s.Namespace == l.options.StackNamespace) == here && len(s.Spec.Selector) > 0 && test(s) {
					return s
				}
			}
		}
	}
	return nil
}
