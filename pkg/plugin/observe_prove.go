package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

const (
	// proofPause is between two rounds of checks.
	proofPause = 500 * time.Millisecond
	// proofTimeout bounds one question to Prometheus or Grafana.
	proofTimeout = 5 * time.Second
)

// prover finds out whether the stack does what it is for, by asking its parts
// and not only the API server.
type prover struct {
	cluster *cluster
	stack   *stack.Client
	dialer  *portforward.Dialer
	plan    *stack.Plan
	options *StackOptions

	mu         sync.Mutex // guards the clients, made when first needed
	prometheus *metrics.Prometheus
	grafana    *grafana.Client
}

// check is one question of the prover.
type check struct {
	name string
	ask  func(ctx context.Context) (state, detail, fix string)
}

func (p *prover) checks() []check {
	return []check{
		{"workloads", p.workloads},
		{"Prometheus", p.available},
		{"Triton targets", p.tritonTargets},
		{"Triton metrics", p.tritonSeries},
		{"GPU targets", p.gpuTargets},
		{"GPU metrics", p.gpuSeries},
		{"rules and alerts", p.rules},
		{"Grafana", p.grafanaHealth},
		{"dashboards", p.dashboards},
	}
}

// once asks everything one time, side by side.
func (p *prover) once(ctx context.Context) []report.StackCheck {
	checks := p.checks()
	results := make([]report.StackCheck, len(checks))
	done := make(chan int, len(checks))
	for i, c := range checks {
		go func() {
			results[i] = p.ask(ctx, c)
			done <- i
		}()
	}
	for range checks {
		<-done
	}
	return results
}

func (p *prover) ask(ctx context.Context, c check) report.StackCheck {
	ctx, cancel := context.WithTimeout(ctx, 2*proofTimeout)
	defer cancel()
	r := report.StackCheck{Name: c.name}
	r.State, r.Detail, r.Fix = c.ask(ctx)
	return r
}

// await asks each question until it is answered well or ctx ends. A question
// that hangs holds up no other.
func (p *prover) await(ctx context.Context, progress *stackProgress) []report.StackCheck {
	checks := p.checks()
	results := make([]report.StackCheck, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = p.insist(ctx, c, progress) })
	}
	wg.Wait()
	return results
}

func (p *prover) insist(ctx context.Context, c check, progress *stackProgress) (last report.StackCheck) {
	for {
		r := p.ask(ctx, c)
		settled := r.State == report.CheckOK || r.State == report.CheckSkipped
		if ctx.Err() != nil && !settled && last.Name != "" {
			return last // what it found, not that it was cut short
		}
		last = r
		progress.report(r.Name, r.Detail, settled, nil)
		if settled {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(proofPause):
		}
	}
}

// workloads asks for the pods of everything that the plan's releases and the
// operator made.
func (p *prover) workloads(ctx context.Context) (state, detail, fix string) {
	all, err := p.ownWorkloads(ctx)
	if err != nil {
		return report.CheckUnknown, p.cluster.explain(err, "read the stack's workloads").Error(), ""
	}
	if len(all) == 0 {
		if p.plan.Stack.Release == nil && p.plan.Exporter.Release == nil {
			return report.CheckSkipped, "nothing of the stack is managed from here", ""
		}
		return report.CheckPending, "none are there yet", ""
	}
	ready := 0
	var waits []string
	for _, w := range all {
		if w.Done {
			ready++
			continue
		}
		text := fmt.Sprintf("%s %s %d of %d ready", w.Kind, w.Name, w.Ready, w.Desired)
		if w.Reason != "" {
			text += ": " + w.Reason
		}
		waits = append(waits, text)
	}
	if len(waits) == 0 {
		return report.CheckOK, fmt.Sprintf("%d of %d ready", ready, len(all)), ""
	}
	// What has a reason comes first: it may never become ready by itself.
	slices.SortStableFunc(waits, func(a, b string) int { return strings.Count(b, ": ") - strings.Count(a, ": ") })
	return report.CheckPending, fmt.Sprintf("%d of %d ready; %s", ready, len(all), strings.Join(waits, "; ")), fmt.Sprintf("kubectl -n %s get pods; kubectl -n %s describe pod …", p.plan.Namespace, p.plan.Namespace)
}

func (p *prover) ownWorkloads(ctx context.Context) ([]stack.Workload, error) {
	var names []string
	for _, c := range []*stack.Component{&p.plan.Stack, &p.plan.Exporter} {
		if c.Release != nil {
			names = append(names, c.Release.Name)
		}
	}
	return p.stack.Workloads(ctx, p.plan.Namespace, func(o metav1.Object) bool {
		if slices.Contains(names, o.GetAnnotations()["meta.helm.sh/release-name"]) {
			return true
		}
		return p.plan.Stack.Release != nil && slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
			return strings.HasPrefix(r.APIVersion, "monitoring.coreos.com/")
		})
	})
}

func (p *prover) available(ctx context.Context) (state, detail, fix string) {
	all, err := p.stack.Prometheuses(ctx)
	if err != nil {
		return report.CheckUnknown, err.Error(), ""
	}
	name := p.plan.Prometheus
	i := slices.IndexFunc(all, func(f *stack.Prometheus) bool { return f.Namespace == name.Namespace && f.Name == name.Name })
	if i < 0 {
		return report.CheckPending, "there is no Prometheus " + name.String() + " yet", "kubectl get prometheuses --all-namespaces"
	}
	fix = fmt.Sprintf("kubectl -n %s describe prometheus %s", name.Namespace, name.Name)
	if ok, why := all[i].Available(); !ok {
		return report.CheckPending, why, fix
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	prometheus, err := p.prometheusAPI(ctx)
	if err == nil {
		err = prometheus.Ready(ctx)
	}
	if err != nil {
		return report.CheckPending, err.Error(), fix
	}
	return report.CheckOK, fmt.Sprintf("%s is available and answers", name), ""
}

var errPrometheusNotReady = errors.New("waits for Prometheus, which has no ready pod")

// prometheusAPI reaches one pod of the Prometheus itself: the operator's common
// Service leads to all Prometheuses of the namespace.
func (p *prover) prometheusAPI(ctx context.Context) (*metrics.Prometheus, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prometheus != nil {
		return p.prometheus, nil
	}
	where := p.plan.Prometheus
	list, err := p.cluster.client.CoreV1().Pods(where.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=prometheus,operator.prometheus.io/name=" + where.Name,
	})
	if err != nil {
		return nil, p.cluster.explain(err, "find the pods of Prometheus "+where.String())
	}
	i := slices.IndexFunc(list.Items, func(pod corev1.Pod) bool { return podReady(&pod) })
	if i < 0 {
		return nil, errPrometheusNotReady
	}
	pod := &list.Items[i]
	port, ok := containerPort(pod, []string{"http-web", "web"}, 9090)
	if !ok {
		return nil, fmt.Errorf("pod %s of Prometheus %s has no web port", pod.Name, where)
	}
	endpoint := p.dialer.Pod(pod.Namespace, pod.Name, fmt.Sprint(port))
	p.prometheus, err = metrics.NewPrometheus("http://prometheus", transport(endpoint.DialContext))
	return p.prometheus, err
}

// targets are those of Prometheus that belong to pods with some labels, beside
// the ready pods themselves.
func (p *prover) targets(ctx context.Context, t stack.Target) (up, pods int, problem string, err error) {
	list, err := p.cluster.client.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(t.PodLabels).String()})
	if err != nil {
		return 0, 0, "", p.cluster.explain(err, "list the pods of "+t.Namespace+"/"+t.Name)
	}
	prometheus, err := p.prometheusAPI(ctx)
	if err != nil {
		return 0, 0, "", err
	}
	states, err := prometheus.TargetStates(ctx)
	if err != nil {
		return 0, 0, "", err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if !podReady(pod) {
			continue
		}
		pods++
		i := slices.IndexFunc(states, func(s metrics.TargetState) bool { return s.Namespace == pod.Namespace && s.Pod == pod.Name })
		switch {
		case i < 0:
			problem = fmt.Sprintf("Prometheus has no target for pod %s yet", pod.Name)
		case states[i].Up:
			up++
		case states[i].LastError != "":
			problem = fmt.Sprintf("scraping pod %s fails: %s", pod.Name, states[i].LastError)
		default:
			problem = fmt.Sprintf("pod %s has not been scraped yet", pod.Name)
		}
	}
	return up, pods, problem, nil
}

func (p *prover) targetCheck(ctx context.Context, targets []stack.Target, none string) (state, detail, fix string) {
	if len(targets) == 0 {
		return report.CheckSkipped, none, ""
	}
	up, pods := 0, 0
	var problems []string
	for _, t := range targets {
		u, n, problem, err := p.targets(ctx, t)
		if err != nil {
			return report.CheckPending, err.Error(), ""
		}
		up, pods = up+u, pods+n
		switch {
		case problem != "":
			problems = append(problems, problem)
		case n == 0:
			problems = append(problems, fmt.Sprintf("%s/%s has no ready pod", t.Namespace, t.Name))
		}
	}
	if len(problems) > 0 {
		return report.CheckPending, fmt.Sprintf("%d of %d up; %s", up, pods, strings.Join(problems, "; ")),
			"kubectl triton observe open prometheus, then Status → Targets"
	}
	return report.CheckOK, fmt.Sprintf("%d of %d up", up, pods), ""
}

func (p *prover) tritonTargets(ctx context.Context) (state, detail, fix string) {
	return p.targetCheck(ctx, p.plan.Tritons, "no Triton was found in the cluster; run this again when there is one")
}

func (p *prover) tritonSeries(ctx context.Context) (state, detail, fix string) {
	if len(p.plan.Tritons) == 0 {
		return report.CheckSkipped, "no Triton was found in the cluster", ""
	}
	prometheus, err := p.prometheusAPI(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	total := 0
	for _, t := range p.plan.Tritons {
		n, err := prometheus.Count(ctx, "Triton's series", fmt.Sprintf(`{__name__=~"nv_inference_.+", namespace=%q}`, t.Namespace))
		if err != nil {
			return report.CheckPending, err.Error(), ""
		}
		if n == 0 {
			return report.CheckPending, fmt.Sprintf("no nv_inference_* series of %s/%s yet; a Triton without a loaded model has none", t.Namespace, t.Name), "kubectl triton bench loads a model and shows what Triton itself says"
		}
		total += n
	}
	return report.CheckOK, fmt.Sprintf("%s nv_inference_* series", report.Count(uint64(total))), ""
}

// exporters are the pods that publish GPU metrics, whoever runs them.
func (p *prover) exporters() []stack.Target {
	var targets []stack.Target
	for _, e := range p.plan.Exporters {
		targets = append(targets, e.Target)
	}
	if p.plan.Exporter.Release != nil && len(targets) == 0 {
		targets = append(targets, stack.OwnExporter(p.plan.Namespace))
	}
	return targets
}

func (p *prover) gpuTargets(ctx context.Context) (state, detail, fix string) {
	return p.targetCheck(ctx, p.exporters(), "the cluster has no GPU node now")
}

func (p *prover) gpuSeries(ctx context.Context) (state, detail, fix string) {
	if len(p.exporters()) == 0 {
		return report.CheckSkipped, "the cluster has no GPU node now", ""
	}
	prometheus, err := p.prometheusAPI(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	exporters := 0
	for _, t := range p.exporters() {
		_, pods, _, err := p.targets(ctx, t)
		if err != nil {
			return report.CheckPending, err.Error(), ""
		}
		exporters += pods
	}
	gpus, publishing, err := prometheus.CountGPUs(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	if publishing < exporters || exporters == 0 {
		return report.CheckPending, fmt.Sprintf("GPU series from %d of %d exporters", publishing, exporters),
			fmt.Sprintf("an exporter that is ready and empty has no driver to ask: kubectl -n %s logs ds/%s", p.exporters()[0].Namespace, p.exporters()[0].Name)
	}
	return report.CheckOK, fmt.Sprintf("series of %d GPUs from %d of %d exporters", gpus, publishing, exporters), ""
}

func (p *prover) rules(ctx context.Context) (state, detail, fix string) {
	if len(p.plan.Rules.Changes) == 0 {
		return report.CheckSkipped, "none were installed", ""
	}
	prometheus, err := p.prometheusAPI(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	wanted, err := ruleGroups()
	if err != nil {
		return report.CheckUnknown, err.Error(), ""
	}
	loaded, err := prometheus.RuleGroups(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	var missing []string
	for _, name := range wanted {
		if !slices.Contains(loaded, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return report.CheckPending, "Prometheus has not loaded: " + strings.Join(missing, ", "), ""
	}
	return report.CheckOK, fmt.Sprintf("%d groups loaded", len(wanted)), ""
}

func ruleGroups() ([]string, error) {
	var names []string
	for _, file := range assets.Rules() {
		values, err := stack.ParseValues(file.YAML, file.Name)
		if err != nil {
			return nil, err
		}
		groups, _ := values["groups"].([]any)
		for _, g := range groups {
			if group, ok := g.(map[string]any); ok {
				names = append(names, fmt.Sprint(group["name"]))
			}
		}
	}
	return names, nil
}

var errNoGrafana = errors.New("no Grafana was found")

// grafanaAPI finds Grafana and its login.
func (p *prover) grafanaAPI(ctx context.Context) (*grafana.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.grafana != nil {
		return p.grafana, nil
	}
	var svc stackService
	err := errNoGrafana
	for _, ns := range []string{p.plan.Namespace, p.plan.Prometheus.Namespace} {
		if svc, err = p.cluster.findStackService(ctx, ns, grafanaService()); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	auth, err := p.cluster.grafanaAuth(ctx, svc, "")
	if err != nil {
		return nil, err
	}
	p.grafana, err = grafana.New("http://grafana", transport(p.dialer.Service(svc.namespace, svc.name, svc.port).DialContext), auth)
	return p.grafana, err
}

func (p *prover) grafanaHealth(ctx context.Context) (state, detail, fix string) {
	if p.plan.Sidecar == nil {
		return report.CheckSkipped, "no Grafana that loads dashboards was found", ""
	}
	client, err := p.grafanaAPI(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	health, err := client.Health(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), fmt.Sprintf("kubectl -n %s get pods -l app.kubernetes.io/name=grafana", p.plan.Namespace)
	}
	return report.CheckOK, "version " + health.Version + " answers", ""
}

func (p *prover) dashboards(ctx context.Context) (state, detail, fix string) {
	if p.plan.Sidecar == nil {
		return report.CheckSkipped, "no Grafana that loads dashboards was found", "kubectl triton dashboards import"
	}
	client, err := p.grafanaAPI(ctx)
	if err != nil {
		return report.CheckPending, err.Error(), ""
	}
	loaded := 0
	var problems []string
	for _, d := range assets.Dashboards() {
		_, err := client.DashboardByUID(ctx, d.UID)
		var status *grafana.StatusError
		var unreachable *grafana.UnreachableError
		switch {
		case err == nil:
			loaded++
		case errors.As(err, &status) && status.Status == http.StatusNotFound:
			problems = append(problems, d.UID+" is not loaded yet")
		case errors.As(err, &unreachable):
			return report.CheckPending, "waits for Grafana", ""
		default:
			return report.CheckPending, err.Error(), ""
		}
	}
	detail = fmt.Sprintf("%d of %d loaded", loaded, loaded+len(problems))
	if len(problems) > 0 {
		return report.CheckPending, detail + "; " + strings.Join(problems, ", "), fmt.Sprintf("kubectl -n %s logs -l app.kubernetes.io/name=grafana -c grafana-sc-dashboard", p.plan.Sidecar.Namespace)
	}
	return report.CheckOK, detail, ""
}
