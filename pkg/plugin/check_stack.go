package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// shortestRetention lets one look at yesterday's test.
const shortestRetention = 24 * time.Hour

var errNoPrometheus = errors.New("no Prometheus was found")

// monitoring settles on the Prometheus to ask.
func (l *lookup) monitoring(ctx context.Context) (*monitoring, error) {
	tritons := l.tritons(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch != nil {
		return l.watch, nil
	}
	m, err := l.findMonitoring(tritons)
	if err == nil && ctx.Err() == nil {
		l.watch = m
	}
	return m, err
}

func (l *lookup) findMonitoring(tritons []tritonFound) (*monitoring, error) {
	w := watched{namespace: l.options.StackNamespace, rules: true}
	chosen, err := l.choosePrometheus()
	switch {
	case err != nil:
		return nil, err
	case chosen != nil:
		w.prometheus, w.operated, w.prometheusPods = stackService{namespace: chosen.Namespace, name: chosen.Name}, true, operatedPods(chosen.Name)
	default:
		svc := l.serviceOf(prometheusService())
		if svc == nil {
			return nil, errNoPrometheus
		}
		w.prometheus, w.prometheusPods = newStackService(svc, prometheusService()), labels.Set(svc.Spec.Selector)
	}
	if svc := l.serviceOf(grafanaService()); svc != nil {
		pods := podsBehind(svc, l.podList)
		w.dashboards, w.grafana = svc.Namespace, newStackService(svc, grafanaService())
		w.grafanaKeeps = slices.ContainsFunc(pods, keepsData)
		w.imported = !slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return strings.Contains(c.Name, "sc-dashboard") })
		})
	}
	for _, t := range tritons {
		if t.target != nil {
			w.tritons = append(w.tritons, *t.target)
		}
	}
	for i := range l.gpus.Exporters {
		e := &l.gpus.Exporters[i]
		t := stack.Target{Name: e.Name, Namespace: e.Namespace, PodLabels: e.Selector, Port: e.Port, PortName: e.PortName, Declared: e.PortName != ""}
		l.addService(&t)
		w.exporters = append(w.exporters, t)
	}
	return &monitoring{cluster: l.cluster, dialer: l.dialer, reads: l, watched: w}, nil
}

// addService finds the Service in front of an exporter, by which a ServiceMonitor
// would go.
func (l *lookup) addService(t *stack.Target) {
	for _, s := range l.services {
		if s.Namespace != t.Namespace || len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(t.PodLabels)) {
			continue
		}
		for _, p := range s.Spec.Ports {
			if p.TargetPort.IntVal == t.Port || p.TargetPort.StrVal != "" && p.TargetPort.StrVal == t.PortName || p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" && p.Port == t.Port {
				t.Service, t.ServicePort, t.ServiceLabels = s.Name, p.Name, s.Labels
				return
			}
		}
	}
}

// choosePrometheus takes the one that was asked for, the only one, or the only
// one in the stack's namespace; nil when no operator runs any.
func (l *lookup) choosePrometheus() (*stack.Prometheus, error) {
	candidates := l.operated
	var names []string
	for _, p := range candidates {
		names = append(names, p.String())
	}
	if asked := l.options.Prometheus; asked != "" {
		if l.scrapes == nil {
			return nil, fmt.Errorf("whether there is a Prometheus %s is not known, for the Prometheuses could not be read; leave --prometheus out to look for a Service", asked)
		}
		i := slices.Index(names, asked)
		if i < 0 {
			return nil, fmt.Errorf("there is no Prometheus %s; the cluster has: %s", asked, strings.Join(append(names, ""), " "))
		}
		return candidates[i], nil
	}
	if len(candidates) > 1 {
		here := slices.DeleteFunc(slices.Clone(candidates), func(p *stack.Prometheus) bool { return p.Namespace != l.options.StackNamespace })
		if len(here) != 1 {
			return nil, fmt.Errorf("the cluster has several Prometheuses; choose the one that is to scrape Triton by --prometheus: %s", strings.Join(names, ", "))
		}
		candidates = here
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	return candidates[0], nil
}

// monitoringCheckers are the questions that "observe" asks too, and those about
// how well it will serve load tests.
func (l *lookup) monitoringCheckers() []check.Checker {
	checkers := []check.Checker{{
		ID: "prometheus-found", Description: "there is a Prometheus", Severity: check.Warning, Needs: []string{"nodes-read", "services-read"}, Hint: "kubectl triton observe up",
		Check: func(ctx context.Context) check.Outcome {
			m, err := l.monitoring(ctx)
			if err != nil {
				return check.Wrong(check.Finding{What: err.Error(), Why: "without it, load tests have no history and Grafana nothing to show"})
			}
			kind := "by a Service"
			if m.watched.operated {
				kind = "run by prometheus-operator"
			}
			return check.OK(m.watched.prometheus.String() + ", " + kind)
		},
	}}
	ask := func(k check.Checker, needs []string, question func(m *monitoring, ctx context.Context) check.Outcome) check.Checker {
		k.Needs = append([]string{"prometheus-found"}, needs...)
		k.Check = func(ctx context.Context) check.Outcome {
			m, err := l.monitoring(ctx)
			if err != nil {
				return check.Skip(err.Error())
			}
			return question(m, ctx)
		}
		return k
	}
	const available, grafana = "prometheus-available", "grafana-reachable"
	needs := map[string]string{"triton-scraped": available, "triton-series": "triton-scraped", "exporters-scraped": available, "gpu-series": "exporters-scraped", "rules-loaded": available, "dashboards-loaded": grafana}
	mends := map[string]string{"rules-loaded": "kubectl triton observe up"}
	for _, q := range (&monitoring{}).questions() {
		k := q.Checker
		k.Hint = mends[k.ID]
		if k.ID == "rules-loaded" || k.ID == "dashboards-loaded" {
			k.Severity = check.Warning
		}
		var need []string
		if n := needs[k.ID]; n != "" {
			need = []string{n}
		}
		checkers = append(checkers, ask(k, need, func(m *monitoring, ctx context.Context) check.Outcome {
			all := m.questions()
			i := slices.IndexFunc(all, func(other question) bool { return other.ID == k.ID })
			return all[i].Check(ctx)
		}))
	}
	return append(checkers,
		ask(check.Checker{ID: "annotations-writable", Description: "load tests can be marked in Grafana", Severity: check.Warning}, []string{grafana}, func(m *monitoring, ctx context.Context) check.Outcome {
			if m.watched.dashboards == "" {
				return check.Skip(errNoGrafana.Error())
			}
			return m.annotationsWritable(ctx)
		}),
		ask(check.Checker{ID: "scrape-interval", Description: "Prometheus scrapes often enough for load tests", Severity: check.Warning}, []string{available}, (*monitoring).scrapeInterval),
		ask(check.Checker{ID: "retention", Description: "Prometheus keeps data for a day or longer", Severity: check.Warning}, []string{available}, (*monitoring).retention),
		ask(check.Checker{ID: "prometheus-persistence", Description: "Prometheus's data outlives its pod", Severity: check.Warning}, []string{available}, func(m *monitoring, _ context.Context) check.Outcome {
			return l.persistence(m.watched.prometheus.namespace, m.watched.prometheusPods, "Prometheus",
				"every figure of past load tests goes with the pod",
				"kubectl triton observe up --set prometheus.prometheusSpec.storageSpec.volumeClaimTemplate.spec.resources.requests.storage=50Gi")
		}),
		ask(check.Checker{ID: "grafana-persistence", Description: "Grafana's annotations outlive its pod", Severity: check.Warning}, []string{grafana}, func(*monitoring, context.Context) check.Outcome {
			svc := l.serviceOf(grafanaService())
			if svc == nil {
				return check.Skip(errNoGrafana.Error())
			}
			return l.persistence(svc.Namespace, svc.Spec.Selector, "Grafana",
				"the marks of past load tests go with the pod",
				"kubectl triton observe up --set grafana.persistence.enabled=true --set grafana.deploymentStrategy.type=Recreate")
		}),
	)
}

// keepsData tells a pod with a volume that outlives it.
func keepsData(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
}

// persistence looks for a claim among the volumes of some pods.
func (l *lookup) persistence(namespace string, of labels.Set, what, loses, mend string) check.Outcome {
	pods, err := l.pods(context.Background(), namespace, of)
	if err != nil || len(pods) == 0 {
		return check.Skip("no pod of " + what + " may be looked at")
	}
	for _, p := range pods {
		claimed := keepsData(p)
		if !claimed {
			return check.Wrong(check.Finding{What: fmt.Sprintf("pod %s/%s of %s has no volume that lasts", p.Namespace, p.Name, what), Why: loses, Command: mend})
		}
	}
	return check.OK("")
}

// scrapeInterval finds the slowest of the scrapes that a load test is read from.
func (m *monitoring) scrapeInterval(ctx context.Context) check.Outcome {
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	states, err := prometheus.TargetStates(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	slowest := metrics.TargetState{}
	for _, t := range slices.Concat(m.watched.tritons, m.watched.exporters) {
		pods, err := m.reads.pods(ctx, t.Namespace, t.PodLabels)
		if err != nil {
			return check.Unknown(err)
		}
		for _, s := range states {
			ours := slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Namespace == s.Namespace && p.Name == s.Pod })
			if ours && s.Interval > slowest.Interval {
				slowest = s
			}
		}
	}
	switch every := report.Seconds(slowest.Interval.Seconds()); {
	case slowest.Interval == 0:
		return check.Skip("Prometheus scrapes neither Triton nor a GPU exporter")
	case slowest.Interval > slowestInterval:
		return check.Wrong(check.Finding{
			What:    fmt.Sprintf("job %s scrapes %s/%s every %s", slowest.Pool, slowest.Namespace, slowest.Pod, every),
			Why:     fmt.Sprintf("a load test of 30 s then has fewer than 3 samples; an interval of at most %s is needed", report.Seconds(slowestInterval.Seconds())),
			Command: "kubectl triton observe up --scrape-interval 2s",
		})
	default:
		return check.OK("every " + every + " at the slowest")
	}
}

func (m *monitoring) retention(ctx context.Context) check.Outcome {
	prometheus, err := m.prometheusAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	s, err := prometheus.Storage(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	// The server writes "10d", "512MiB" or "10d or 512MiB".
	for text := range strings.SplitSeq(s.Retention, " or ") {
		if d, err := model.ParseDuration(strings.TrimSpace(text)); err == nil && time.Duration(d) < shortestRetention {
			return check.Wrong(check.Finding{
				What: "Prometheus keeps data for " + text + " only", Why: "yesterday's load test can't be compared with today's",
				Command: "kubectl triton observe up --set prometheus.prometheusSpec.retention=10d",
			})
		}
	}
	return check.OK(fmt.Sprintf("kept for %s; %s series", s.Retention, report.Count(uint64(s.Series))))
}
