package plugin

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const (
	// probeTimeout bounds the question whether Services with Triton's ports and
	// another image are Triton.
	probeTimeout = 2 * time.Second
	// maxProbed bounds how many Services are asked.
	maxProbed = 16
)

// tritonScan is what a search for Triton found.
type tritonScan struct {
	scope    string // where it looked
	services []corev1.Service
	byAnswer []string // namespace/name of those found by their answer, not by image
	pods     []corev1.Pod
	// silent are Services with Triton's ports that could not be made sure of, as
	// namespace/name, with the reason.
	silent map[string]string
}

// scanTriton looks for the Services that lead to Triton, in namespace or, when
// that is empty, in all of them: by a pod with a tritonserver image behind them,
// or else by ports like Triton's and an answer of GET /v2. It keeps the pods that
// belong to a Service with an HTTP port.
func (c *cluster) scanTriton(ctx context.Context, namespace string) (*tritonScan, error) {
	s := &tritonScan{scope: "the cluster", silent: map[string]string{}}
	if namespace != "" {
		s.scope = "namespace " + namespace
	}
	type selected struct {
		service  corev1.Service
		selector labels.Selector
	}
	var all []corev1.Service
	byNamespace := map[string][]selected{}
	err := c.eachService(ctx, namespace, func(svc *corev1.Service) {
		if len(svc.Spec.Selector) > 0 && tritonHTTP().in(svc) != "" {
			all = append(all, *svc)
			byNamespace[svc.Namespace] = append(byNamespace[svc.Namespace], selected{*svc, labels.SelectorFromSet(svc.Spec.Selector)})
		}
	})
	const orName = " to find Triton (or name it with --namespace and --service)"
	if err != nil {
		return nil, c.explain(err, "list the Services of "+s.scope+orName)
	}
	err = c.eachPod(ctx, namespace, labels.Everything(), func(p *corev1.Pod) {
		if slices.ContainsFunc(byNamespace[p.Namespace], func(s selected) bool { return s.selector.Matches(labels.Set(p.Labels)) }) {
			s.pods = append(s.pods, *p)
		}
	})
	if err != nil {
		return nil, c.explain(err, "list the pods of "+s.scope+orName)
	}
	var unsure []corev1.Service
	for _, svc := range all {
		behind := podsBehind(&svc, s.pods)
		switch {
		case slices.ContainsFunc(behind, func(p corev1.Pod) bool { return runsTriton(&p) }):
			s.services = append(s.services, svc)
		case portsLikeTriton(&svc, behind) && slices.ContainsFunc(behind, func(p corev1.Pod) bool { return podReady(&p) }):
			unsure = append(unsure, svc)
		}
	}
	s.ask(ctx, c, unsure)
	return s, nil
}

func runsTriton(p *corev1.Pod) bool { return tritonContainer(p) != nil }

// ask makes sure of Services by an answer of GET /v2, all side by side.
func (s *tritonScan) ask(ctx context.Context, c *cluster, unsure []corev1.Service) {
	if len(unsure) == 0 {
		return
	}
	for _, svc := range unsure[min(len(unsure), maxProbed):] {
		s.silent[svc.Namespace+"/"+svc.Name] = "not asked, there are too many such Services"
	}
	unsure = unsure[:min(len(unsure), maxProbed)]
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	probe := c.probe
	if probe == nil {
		dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client})
		if err != nil {
			return
		}
		defer dialer.Close()
		probe = func(ctx context.Context, svc *corev1.Service) error {
			endpoint := dialer.ServiceOf(svc, podsBehind(svc, s.pods), tritonHTTP().in(svc))
			_, err := triton.NewClient(httpClient(endpoint.DialContext), tritonURL).ServerMetadata(ctx)
			return err
		}
	}
	errs := make([]error, len(unsure))
	var wg sync.WaitGroup
	for i := range unsure {
		wg.Go(func() { errs[i] = probe(ctx, &unsure[i]) })
	}
	wg.Wait()
	for i, svc := range unsure {
		name := svc.Namespace + "/" + svc.Name
		if errs[i] != nil {
			s.silent[name] = errs[i].Error()
			continue
		}
		s.services = append(s.services, svc)
		s.byAnswer = append(s.byAnswer, name)
	}
}

// tritonServices lists the Services that lead to Triton and the pods behind
// Services, in namespace or, when that is empty, in all of them. scope names
// where it looked.
func (c *cluster) tritonServices(ctx context.Context, namespace string) (found []corev1.Service, pods []corev1.Pod, scope string, err error) {
	s, err := c.scanTriton(ctx, namespace)
	if err != nil {
		return nil, nil, "", err
	}
	return s.services, s.pods, s.scope, nil
}

// eachPod reads the pods page by page.
func (c *cluster) eachPod(ctx context.Context, namespace string, selector labels.Selector, do func(*corev1.Pod)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.client.CoreV1().Pods(namespace).List(ctx, o)
	})
	return pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: selector.String()}, func(o runtime.Object) error {
		if p, ok := o.(*corev1.Pod); ok {
			do(p)
		}
		return nil
	})
}

// eachService reads the Services page by page.
func (c *cluster) eachService(ctx context.Context, namespace string, do func(*corev1.Service)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.client.CoreV1().Services(namespace).List(ctx, o)
	})
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if s, ok := o.(*corev1.Service); ok {
			do(s)
		}
		return nil
	})
}
