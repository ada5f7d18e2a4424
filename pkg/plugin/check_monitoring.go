package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// proofTimeout bounds one question to Prometheus or Grafana.
const proofTimeout = 5 * time.Second

// monitoring asks Prometheus and Grafana whether they do what they are for.
// "check" and "observe" share its questions.
type monitoring struct {
	cluster *cluster
	dialer  *portforward.Dialer
	reads   monitoringReads
	watched watched

	mu         sync.Mutex // guards the clients, made when first needed
	prometheus *metrics.Prometheus
	grafana    *grafana.Client
}

// monitoringReads is where the questions get objects from: the API server each
// time, or what was read of the cluster once.
type monitoringReads interface {
	pods(ctx context.Context, namespace string, of labels.Set) ([]corev1.Pod, error)
	prometheuses(ctx context.Context) ([]*stack.Prometheus, error)
	// monitors are those of the whole cluster; nil when nobody wants to know why
	// a target is missing.
	monitors() *stack.Monitors
	// grafana finds Grafana and a way to it.
	grafana(ctx context.Context) (stackService, *portforward.Endpoint, error)
}

// watched is what the questions are about.
type watched struct {
	namespace string // the stack's
	// prometheus is namespace and name; operated that an operator's object has
	// that name, and not a Service.
	prometheus     stackService
	prometheusPods labels.Set
	operated       bool

	tritons, exporters []stack.Target
	rules              bool   // the project's own are meant to be there
	dashboards         string // namespace of the ConfigMaps that Grafana loads; "" when it loads none
	imported           bool   // Grafana has no sidecar that would load them

	grafana      stackService
	grafanaKeeps bool // on a volume that outlives its pod
}

// operatedPods are the labels that the operator gives the pods of one Prometheus.
// Its common Service leads to all Prometheuses of the namespace.
func operatedPods(name string) labels.Set {
	return labels.Set{"app.kubernetes.io/name": "prometheus", "operator.prometheus.io/name": name}
}

// question is a checker with the name that "observe" shows.
type question struct {
	name string
	check.Checker
}

func (m *monitoring) questions() []question {
	return []question{
		{"Prometheus", check.Checker{ID: "prometheus-available", Description: "Prometheus is available", Check: m.available}},
		{"Triton targets", check.Checker{ID: "triton-scraped", Description: "Prometheus scrapes Triton's pods", Check: m.tritonTargets}},
		{"Triton metrics", check.Checker{ID: "triton-series", Description: "Prometheus has Triton's series", Check: m.tritonSeries}},
		{"GPU targets", check.Checker{ID: "exporters-scraped", Description: "Prometheus scrapes the GPU exporters", Check: m.gpuTargets}},
		{"GPU metrics", check.Checker{ID: "gpu-series", Description: "Prometheus has series of each exporter's GPUs", Check: m.gpuSeries}},
		{"rules and alerts", check.Checker{ID: "rules-loaded", Description: "Prometheus has loaded the rules and alerts", Check: m.rules}},
		{"Grafana", check.Checker{ID: "grafana-reachable", Description: "Grafana answers", Check: m.grafanaHealth}},
		{"dashboards", check.Checker{ID: "dashboards-loaded", Description: "Grafana has loaded the dashboards", Check: m.dashboards}},
	}
}

func (m *monitoring) available(ctx context.Context) check.Outcome {
	name := m.watched.prometheus
	show := fmt.Sprintf("kubectl -n %s describe prometheus %s", name.namespace, name.name)
	if !m.watched.operated {
		show = fmt.Sprintf("kubectl -n %s get pods -l %s", name.namespace, m.watched.prometheusPods)
	} else {
		all, err := m.reads.prometheuses(ctx)
		if err != nil {
			return check.Unknown(err)
		}
		i := slices.IndexFunc(all, func(f *stack.Prometheus) bool { return f.Namespace == name.namespace && f.Name == name.name })
		if i < 0 {
			return check.Pending("its resource "+name.String()+" is not there yet, by which the operator would run it", "", "kubectl get prometheuses --all-namespaces")
		}
		if ok, why := all[i].Available(); !ok {
			return check.Pending(why, "", show)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	prometheus, err := m.prometheusAPI(ctx)
	if err == nil {
		err = prometheus.Ready(ctx)
	}
	if err != nil {
		return check.Pending(err.Error(), "", show)
	}
	return check.OK(fmt.Sprintf("%s is available and answers", name))
}

var errPrometheusNotReady = errors.New("waits for Prometheus, which has no ready pod")

// prometheusAPI reaches one pod of the Prometheus.
func (m *monitoring) prometheusAPI(ctx context.Context) (*metrics.Prometheus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prometheus != nil {
		return m.prometheus, nil
	}
	where := m.watched.prometheus
	pods, err := m.reads.pods(ctx, where.namespace, m.watched.prometheusPods)
	if err != nil {
		return nil, m.cluster.explain(err, "find the pods of Prometheus "+where.String())
	}
	i := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return podReady(&pod) })
	if i < 0 {
		return nil, errPrometheusNotReady
	}
	pod := &pods[i]
	port, ok := containerPort(pod, []string{"http-web", "web"}, 9090)
	if !ok {
		return nil, fmt.Errorf("pod %s of Prometheus %s has no web port", pod.Name, where)
	}
	endpoint := m.dialer.PodOf(pod, fmt.Sprint(port))
	m.prometheus, err = metrics.NewPrometheus("http://prometheus", transport(endpoint.DialContext))
	return m.prometheus, err
}

// scraped is how Prometheus sees the ready pods of a target.
type scraped struct {
	up, pods int
	// problem is about one of the pods that isn't up, why and mend what is behind
	// it; empty when all are.
	problem, why, mend string
}

// targets looks for the pods of a target among Prometheus's own.
func (m *monitoring) targets(ctx context.Context, t stack.Target) (scraped, error) {
	var s scraped
	pods, err := m.reads.pods(ctx, t.Namespace, t.PodLabels)
	if err != nil {
		return s, m.cluster.explain(err, "list the pods of "+t.Namespace+"/"+t.Name)
	}
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return s, err
	}
	states, err := prometheus.TargetStates(ctx)
	if err != nil {
		return s, err
	}
	for i := range pods {
		pod := &pods[i]
		if !podReady(pod) {
			continue
		}
		s.pods++
		state := stateOf(states, pod, t.Port)
		switch {
		case state != nil && state.Up:
			s.up++
		case s.problem != "": // one is told, with its own reason
		case state == nil:
			s.problem = fmt.Sprintf("Prometheus has no target for pod %s yet", pod.Name)
			s.why, s.mend = m.whyNoTarget(ctx, prometheus, t, pod)
		case state.LastError != "":
			s.problem = fmt.Sprintf("scraping pod %s fails: %s", pod.Name, state.LastError)
		default:
			s.problem = fmt.Sprintf("pod %s has not been scraped yet", pod.Name)
		}
	}
	return s, nil
}

// stateOf is the pod's target: of several, as those of a sidecar, one at the port
// that is meant, and of these one that is up.
func stateOf(states []metrics.TargetState, pod *corev1.Pod, port int32) *metrics.TargetState {
	worth := func(s *metrics.TargetState) (n int) {
		if u, err := url.Parse(s.URL); err == nil && u.Port() == fmt.Sprint(port) {
			n += 2
		}
		if s.Up {
			n++
		}
		return n
	}
	var best *metrics.TargetState
	for i := range states {
		s := &states[i]
		if s.Namespace == pod.Namespace && s.Pod == pod.Name && (best == nil || worth(s) > worth(best)) {
			best = s
		}
	}
	return best
}

func (m *monitoring) targetCheck(ctx context.Context, targets []stack.Target, none string) check.Outcome {
	if len(targets) == 0 {
		return check.Skip(none)
	}
	up, pods := 0, 0
	var problems, whys []string
	mend := ""
	for _, t := range targets {
		s, err := m.targets(ctx, t)
		if err != nil {
			return check.Pending(err.Error(), "", "")
		}
		up, pods = up+s.up, pods+s.pods
		switch {
		case s.problem != "":
			problems = append(problems, s.problem)
			if s.why != "" && !slices.Contains(whys, s.why) {
				whys = append(whys, s.why)
			}
			if mend == "" {
				mend = s.mend
			}
		case s.pods == 0:
			problems = append(problems, fmt.Sprintf("%s/%s has no ready pod", t.Namespace, t.Name))
		}
	}
	if len(problems) > 0 {
		if mend == "" {
			mend = "kubectl triton observe open prometheus, then Status → Targets"
		}
		return check.Pending(fmt.Sprintf("%d of %d up; %s", up, pods, strings.Join(problems, "; ")), strings.Join(whys, "; "), mend)
	}
	return check.OK(fmt.Sprintf("%d of %d up", up, pods))
}

func (m *monitoring) tritonTargets(ctx context.Context) check.Outcome {
	return m.targetCheck(ctx, m.watched.tritons, "no Triton was found in the cluster; run this again when there is one")
}

func (m *monitoring) tritonSeries(ctx context.Context) check.Outcome {
	if len(m.watched.tritons) == 0 {
		return check.Skip("no Triton was found in the cluster")
	}
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	total := 0
	counted := map[string]bool{}
	for _, t := range m.watched.tritons {
		if counted[t.Namespace] {
			continue // the series of a namespace are those of all its Tritons
		}
		counted[t.Namespace] = true
		n, err := prometheus.Count(ctx, "Triton's series", fmt.Sprintf(`{__name__=~"nv_inference_.+", namespace=%q}`, t.Namespace))
		if err != nil {
			return check.Pending(err.Error(), "", "")
		}
		if n == 0 {
			return check.Pending(fmt.Sprintf("no nv_inference_* series of %s/%s yet; a Triton without a loaded model has none", t.Namespace, t.Name), "", "kubectl triton bench loads a model and shows what Triton itself says")
		}
		total += n
	}
	return check.OK(fmt.Sprintf("%s nv_inference_* series", report.Count(uint64(total))))
}

const noExporter = "there is no GPU exporter now; a cluster with no GPU node needs none"

func (m *monitoring) gpuTargets(ctx context.Context) check.Outcome {
	return m.targetCheck(ctx, m.watched.exporters, noExporter)
}

func (m *monitoring) gpuSeries(ctx context.Context) check.Outcome {
	if len(m.watched.exporters) == 0 {
		return check.Skip(noExporter)
	}
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	exporters := 0
	for _, t := range m.watched.exporters {
		s, err := m.targets(ctx, t)
		if err != nil {
			return check.Pending(err.Error(), "", "")
		}
		exporters += s.pods
	}
	gpus, publishing, err := prometheus.CountGPUs(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	if publishing < exporters || exporters == 0 {
		first := m.watched.exporters[0]
		return check.Pending(fmt.Sprintf("GPU series from %d of %d exporters", publishing, exporters), "",
			fmt.Sprintf("an exporter that is ready and empty has no driver to ask: kubectl -n %s logs ds/%s", first.Namespace, first.Name))
	}
	if publishing > exporters { // it scrapes further ones, as those of another cluster
		return check.OK(fmt.Sprintf("series of %d GPUs from %d exporters, %d of them ready in this cluster", gpus, publishing, exporters))
	}
	return check.OK(fmt.Sprintf("series of %d GPUs from %d of %d exporters", gpus, publishing, exporters))
}

func (m *monitoring) rules(ctx context.Context) check.Outcome {
	if !m.watched.rules {
		return check.Skip("none were installed")
	}
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	wanted, err := ruleGroups()
	if err != nil {
		return check.Unknown(err)
	}
	loaded, err := prometheus.RuleGroups(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	var missing []string
	for _, name := range wanted {
		if !slices.Contains(loaded, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return check.Pending("Prometheus has not loaded: "+strings.Join(missing, ", "), "their PrometheusRules are not there, or its ruleSelector leaves them out", "")
	}
	return check.OK(fmt.Sprintf("%d groups loaded", len(wanted)))
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
