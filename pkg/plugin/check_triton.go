package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kubectl/pkg/util"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const (
	// askedTritons is how many pods of a Service are asked themselves.
	askedTritons = 8
	// askedModels is how many models of a pod are read.
	askedModels = 64
)

// tritonFound is a Service that leads to Triton.
type tritonFound struct {
	service *corev1.Service
	pods    []corev1.Pod
	target  *stack.Target // nil when it serves no metrics
	note    string        // why it doesn't
}

func (t *tritonFound) String() string { return t.service.Namespace + "/" + t.service.Name }

// tritons are the Services that lead to Triton: the named one, else those with a
// tritonserver image behind them, or with Triton's ports and its answer.
func (l *lookup) tritons(ctx context.Context) []tritonFound {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sought {
		l.found = l.findTritons(ctx)
		l.sought = ctx.Err() == nil
	}
	return l.found
}

func (l *lookup) findTritons(ctx context.Context) []tritonFound {
	named, namespace := l.options.Service, *l.options.Config.Namespace
	if named != "" {
		namespace = l.tritonNamespace()
	}
	scan := &tritonScan{silent: map[string]string{}}
	var unsure []corev1.Service
	for _, svc := range l.services {
		if len(svc.Spec.Selector) == 0 || namespace != "" && svc.Namespace != namespace || named != "" && svc.Name != named {
			continue
		}
		pods := podsBehind(&svc, l.podList)
		switch {
		case named != "", svc.Name == DefaultService && svc.Namespace == l.tritonNamespace(), tritonHTTP().in(&svc) != "" && slices.ContainsFunc(pods, func(p corev1.Pod) bool { return runsTriton(&p) }):
			scan.services = append(scan.services, svc)
		case portsLikeTriton(&svc, pods) && slices.ContainsFunc(pods, func(p corev1.Pod) bool { return podReady(&p) }):
			unsure = append(unsure, svc)
		}
	}
	scan.ask(ctx, l.cluster, unsure)
	l.silent = scan.maybe()
	var found []tritonFound
	for i := range scan.services {
		svc := &scan.services[i]
		t := tritonFound{service: svc, pods: podsBehind(svc, l.podList)}
		t.target, t.note = tritonTarget(svc, t.pods)
		again := t.target != nil && slices.ContainsFunc(found, func(other tritonFound) bool { return other.target != nil && samePods(*other.target, *t.target) })
		if !again {
			found = append(found, t)
		}
	}
	return found
}

// probe asks a pod behind a Service whether it is Triton.
func (l *lookup) probe(ctx context.Context, svc *corev1.Service) error {
	pods := podsBehind(svc, l.podList)
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return podReady(&p) })
	if i < 0 {
		return errors.New("it has no ready pod")
	}
	server, done := l.server(svc, &pods[i])
	defer done()
	_, err := server.ServerMetadata(ctx)
	return err
}

// server is a client of the Triton in one pod behind a Service.
func (l *lookup) server(svc *corev1.Service, pod *corev1.Pod) (server *triton.Client, done func()) {
	port := int32(8000)
	if number, err := strconv.ParseInt(tritonHTTP().in(svc), 10, 32); err == nil {
		if n, err := util.LookupContainerPortNumberByServicePort(*svc, *pod, int32(number)); err == nil {
			port = n
		}
	}
	hc := httpClient(l.dialer.PodOf(pod, fmt.Sprint(port)).DialContext)
	return triton.NewClient(hc, tritonURL), hc.CloseIdleConnections
}

func (l *lookup) tritonCheckers() []check.Checker {
	answers := &tritonAnswers{}
	known := []string{"nodes-read", "services-read"}
	each := func(id string, judge func(*tritonAnswer) []check.Finding, detail func([]tritonAnswer) string) func(context.Context) check.Outcome {
		return func(context.Context) check.Outcome {
			if len(answers.all) == 0 {
				return check.Skip("no pod of Triton answers")
			}
			var o check.Outcome
			for i := range answers.all {
				for _, f := range judge(&answers.all[i]) {
					// Pods of one Service are alike; what holds for all is said once.
					if !slices.ContainsFunc(o.Findings, func(other check.Finding) bool { return other.What == f.What }) {
						o.Findings = append(o.Findings, f)
					}
				}
			}
			if len(o.Findings) == 0 && detail != nil {
				o.Detail = detail(answers.all)
			}
			o.Transient = id == "triton-models-ready" && len(o.Findings) > 0
			return o
		}
	}
	return []check.Checker{
		{ID: "triton-found", Description: "there is a Triton", Needs: known, Check: l.tritonFound},
		{ID: "triton-ports", Description: "its Service names Triton's ports", Severity: check.Warning, Needs: []string{"triton-found"}, Check: l.tritonPorts},
		{ID: "triton-pods-ready", Description: "its pods are ready", Needs: []string{"triton-found"}, Check: l.tritonPodsReady},
		{ID: "triton-answers", Description: "its server answers", Needs: []string{"triton-found"}, Check: func(ctx context.Context) check.Outcome { return l.askTritons(ctx, answers) }},
		{ID: "triton-server-ready", Description: "its server is ready", Needs: []string{"triton-answers"}, Check: each("triton-server-ready", (*tritonAnswer).serverReady, nil)},
		{ID: "triton-models-ready", Description: "its models are ready", Needs: []string{"triton-answers"}, Check: each("triton-models-ready", (*tritonAnswer).modelsReady, modelsDetail)},
		{ID: "triton-metrics", Description: "its metrics are on and exposed", Needs: []string{"triton-answers"}, Check: each("triton-metrics", (*tritonAnswer).metricsOn, nil)},
		{ID: "triton-percentiles", Description: "it publishes latency percentiles", Severity: check.Warning, Needs: []string{"triton-metrics"}, Check: each("triton-percentiles", (*tritonAnswer).percentiles, nil)},
		{ID: "triton-cache", Description: "its response cache fits its models", Severity: check.Warning, Needs: []string{"triton-answers"}, Check: each("triton-cache", (*tritonAnswer).responseCache, nil)},
		{ID: "triton-gpus", Description: "its models use the GPUs that its pods hold", Severity: check.Warning, Needs: []string{"triton-answers"}, Check: each("triton-gpus", (*tritonAnswer).gpusUsed, nil)},
		{ID: "triton-batching", Description: "models that can batch are batched", Severity: check.Warning, Needs: []string{"triton-answers"}, Check: each("triton-batching", (*tritonAnswer).batching, nil)},
	}
}

func (l *lookup) tritonFound(ctx context.Context) check.Outcome {
	found := l.tritons(ctx)
	if len(found) == 0 {
		if l.options.Service != "" {
			return check.Pending(fmt.Sprintf("there is no Service %s with a selector in namespace %s", l.options.Service, l.tritonNamespace()), "", "kubectl get services --all-namespaces")
		}
		where := "the cluster"
		if ns := *l.options.Config.Namespace; ns != "" {
			where = "namespace " + ns
		}
		why := "no pod behind one has a tritonserver image, or Triton's ports and its answer; name a Service with --namespace and --service"
		if len(l.silent) > 0 {
			why += "; these have ports like Triton's but don't answer as Triton: " + some(l.silent)
		}
		return check.Pending("no Service in "+where+" leads to Triton", why, "kubectl get services --all-namespaces")
	}
	var names []string
	for i := range found {
		names = append(names, found[i].String())
	}
	return check.OK(some(names))
}

func (l *lookup) tritonPorts(ctx context.Context) check.Outcome {
	var findings []check.Finding
	for _, t := range l.tritons(ctx) {
		findings = append(findings, t.missingPorts()...)
	}
	return check.Wrong(findings...)
}

// missingPorts are Triton's that its Service does not name.
func (t *tritonFound) missingPorts() []check.Finding {
	var findings []check.Finding
	for _, p := range []struct {
		tritonPort
		lost string
	}{
		{tritonHTTP(), "no command can reach it without --port"},
		{tritonGRPC(), "'bench --protocol grpc' can't reach it"},
		{tritonMetrics(), "a ServiceMonitor can't name it"},
	} {
		if p.name == "metrics" && t.target == nil || p.in(t.service) != "" {
			continue
		}
		findings = append(findings, check.Finding{
			What: fmt.Sprintf("Service %s has no port named %s or numbered %d", t, p.name, p.numbers[0]), Why: p.lost,
			Command: fmt.Sprintf(`kubectl patch service --namespace %s %s --type json --patch '[{"op":"add","path":"/spec/ports/-","value":{"name":"%s","port":%d}}]'`, t.service.Namespace, t.service.Name, p.name, p.numbers[0]),
		})
	}
	return findings
}

func (l *lookup) tritonPodsReady(ctx context.Context) check.Outcome {
	var o check.Outcome
	ready, all := 0, 0
	for _, t := range l.tritons(ctx) {
		if denied := l.podsDenied(t.service.Namespace); denied != "" {
			return check.Skip(denied)
		}
		readyHere, allHere, findings := t.podsReady()
		ready, all = ready+readyHere, all+allHere
		o.Findings = append(o.Findings, findings...)
	}
	o.Detail, o.Transient = fmt.Sprintf("%d of %d", ready, all), len(o.Findings) > 0
	return o
}

// podsReady counts the pods that don't end, and says what is wrong with them.
func (t *tritonFound) podsReady() (ready, all int, findings []check.Finding) {
	var reasons []string
	first := ""
	for i := range t.pods {
		p := &t.pods[i]
		if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue // an evicted pod stays as a record
		}
		all++
		if podReady(p) {
			ready++
			continue
		}
		first = cmp.Or(first, p.Name)
		reasons = append(reasons, p.Name+" "+whyNotReady(p))
	}
	switch {
	case all == 0:
		findings = append(findings, check.Finding{
			What: fmt.Sprintf("Service %s has no pod", t), Why: fmt.Sprintf("what it selects, %s, is scaled to zero, or nothing has these labels", labels.Set(t.service.Spec.Selector)),
			Command: fmt.Sprintf("kubectl get deployments,statefulsets --namespace %s", t.service.Namespace),
		})
	case first != "":
		f := check.Finding{
			What:    fmt.Sprintf("%d of %d pods of Service %s are ready: %s", ready, all, t, some(reasons)),
			Command: fmt.Sprintf("kubectl describe pod --namespace %s %s", t.service.Namespace, first),
		}
		if ready > 0 {
			f.Level = check.Warning
		}
		findings = append(findings, f)
	}
	return ready, all, findings
}

func whyNotReady(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return "waits: " + s.State.Waiting.Reason
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "has no node: " + c.Message
		}
	}
	return "is " + strings.ToLower(string(p.Status.Phase)) + " and not ready"
}

// tritonAnswers are what the asked pods say of themselves.
type tritonAnswers struct{ all []tritonAnswer }

type tritonAnswer struct {
	service   *corev1.Service
	pod       corev1.Pod
	container *corev1.Container // nil when the image isn't Triton's
	target    *stack.Target
	note      string

	err      error // it does not answer
	notReady error
	models   []triton.ModelIndex
	configs  []triton.ModelConfig
	unread   int // ready models without one here

	metricsErr error
	families   []string
}

// askTritons asks running pods, also those that aren't ready: they say why.
func (l *lookup) askTritons(ctx context.Context, into *tritonAnswers) check.Outcome {
	var all []tritonAnswer
	for _, t := range l.tritons(ctx) {
		if denied := l.podsDenied(t.service.Namespace); denied != "" {
			return check.Skip(denied)
		}
		asked := 0
		for _, p := range t.pods {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil && asked < askedTritons {
				all = append(all, tritonAnswer{service: t.service, pod: p, container: tritonContainer(&p), target: t.target, note: t.note})
				asked++
			}
		}
	}
	if len(all) == 0 {
		return check.Pending("no pod of Triton is running, so none can be asked", "", "kubectl get pods --all-namespaces --field-selector status.phase!=Running")
	}
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { l.askTriton(ctx, &all[i]) })
	}
	wg.Wait()
	var o check.Outcome
	var answered []tritonAnswer
	for _, a := range all {
		if a.err == nil {
			answered = append(answered, a)
			continue
		}
		o.Findings = append(o.Findings, check.Finding{
			What: fmt.Sprintf("pod %s of Service %s/%s does not answer: %v", a.pod.Name, a.service.Namespace, a.service.Name, a.err),
			Why:  "it still starts, hangs, or serves HTTP on another port", Command: fmt.Sprintf("kubectl logs --namespace %s %s --tail 20", a.pod.Namespace, a.pod.Name),
		})
	}
	if len(answered) > 0 {
		for i := range o.Findings {
			o.Findings[i].Level = check.Warning
		}
	}
	into.all = answered
	o.Detail, o.Transient = fmt.Sprintf("%d of %s", len(answered), counted(len(all), "pod", "pods asked")), len(o.Findings) > 0
	return o
}

func (l *lookup) askTriton(ctx context.Context, a *tritonAnswer) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	server, done := l.server(a.service, &a.pod)
	defer done()
	if _, a.err = server.ServerMetadata(ctx); a.err != nil {
		return
	}
	a.notReady = server.ServerReady(ctx)
	if a.models, a.err = server.RepositoryIndex(ctx); a.err != nil {
		return
	}
	for _, m := range a.models {
		if !m.Ready() || slices.ContainsFunc(a.configs, func(c triton.ModelConfig) bool { return c.Name == m.Name }) {
			continue
		}
		if len(a.configs) == askedModels {
			a.unread++
			continue
		}
		config, err := server.ModelConfig(ctx, m.Name, m.Version)
		if err != nil {
			a.unread++
			continue
		}
		a.configs = append(a.configs, config)
	}
	a.readMetrics(ctx, l.dialer)
}

// readMetrics asks the pod which metrics it serves.
func (a *tritonAnswer) readMetrics(ctx context.Context, dialer *portforward.Dialer) {
	if a.target == nil {
		return
	}
	var names []string
	body, err := metricsSource(dialer, &a.pod, a.target.Port).Fetch(ctx)
	if err == nil {
		names, err = metrics.FamilyNames(body)
		body.Close()
	}
	a.families, a.metricsErr = names, err
}
