package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// prover finds out whether the stack does what it is for, by asking its parts
// and not only the API server.
type prover struct {
	cluster    *cluster
	stack      *stack.Client
	plan       *stack.Plan
	monitoring *monitoring
}

func newProver(c *cluster, client *stack.Client, dialer *portforward.Dialer, plan *stack.Plan) *prover {
	p := &prover{cluster: c, stack: client, plan: plan}
	w := watched{
		namespace:  plan.Namespace,
		prometheus: stackService{namespace: plan.Prometheus.Namespace, name: plan.Prometheus.Name}, prometheusPods: operatedPods(plan.Prometheus.Name), operated: true,
		tritons: plan.Tritons, rules: len(plan.Rules.Changes) > 0,
	}
	if plan.Sidecar != nil {
		w.dashboards = plan.Sidecar.Namespace
	}
	// The exporters are the pods that publish GPU metrics, whoever runs them.
	for _, e := range plan.Exporters {
		w.exporters = append(w.exporters, e.Target)
	}
	if plan.Exporter.Release != nil && len(w.exporters) == 0 {
		w.exporters = append(w.exporters, stack.OwnExporter(plan.Namespace))
	}
	p.monitoring = &monitoring{cluster: c, dialer: dialer, watched: w, reads: &liveReads{cluster: c, stack: client, dialer: dialer, plan: plan}}
	return p
}

// liveReads asks the API server each time.
type liveReads struct {
	cluster *cluster
	stack   *stack.Client
	dialer  *portforward.Dialer
	plan    *stack.Plan
}

func (r *liveReads) pods(ctx context.Context, namespace string, of labels.Set) ([]corev1.Pod, error) {
	list, err := r.cluster.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(of).String()})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (r *liveReads) prometheuses(ctx context.Context) ([]*stack.Prometheus, error) {
	return r.stack.Prometheuses(ctx)
}

func (r *liveReads) monitors() *stack.Monitors { return nil }

func (r *liveReads) grafana(ctx context.Context) (svc stackService, way *portforward.Endpoint, err error) {
	for _, ns := range []string{r.plan.Namespace, r.plan.Prometheus.Namespace} {
		if svc, err = r.cluster.findStackService(ctx, ns, grafanaService()); err == nil {
			return svc, svc.endpoint(r.dialer), nil
		}
	}
	return svc, nil, err
}

func (p *prover) questions() []question {
	return append([]question{{"workloads", check.Checker{ID: "workloads", Check: p.workloads}}}, p.monitoring.questions()...)
}

// once asks everything one time, side by side.
func (p *prover) once(ctx context.Context) []report.StackCheck {
	return p.ask(ctx, check.Options{}, check.Observer{})
}

// await asks each question until it is answered well or ctx ends.
func (p *prover) await(ctx context.Context, progress *stackProgress) []report.StackCheck {
	until, bounded := ctx.Deadline()
	if !bounded {
		until = time.Now().Add(24 * time.Hour)
	}
	names := map[string]string{}
	for _, q := range p.questions() {
		names[q.ID] = q.name
	}
	return p.ask(ctx, check.Options{RetryUntil: until, Insist: true}, check.Observer{Attempt: func(_ string, r check.Result) {
		c := stackCheck(names[r.ID], r)
		progress.report(c.Name, c.Detail, c.State == report.CheckOK || c.State == report.CheckSkipped, nil)
	}})
}

func (p *prover) ask(ctx context.Context, options check.Options, observer check.Observer) []report.StackCheck {
	questions := p.questions()
	var category check.Category
	for _, q := range questions {
		category.Checkers = append(category.Checkers, q.Checker)
	}
	ran := check.Run(ctx, []check.Category{category}, options, observer)
	results := make([]report.StackCheck, len(questions))
	for i, r := range ran.Categories[0].Checks {
		results[i] = stackCheck(questions[i].name, r)
	}
	return results
}

// stackCheck is a result in the words of "observe".
func stackCheck(name string, r check.Result) report.StackCheck {
	c := report.StackCheck{Name: name, State: report.CheckOK, Detail: r.Detail}
	switch {
	case r.State == check.StateSkipped:
		c.State, c.Detail = report.CheckSkipped, r.SkipReason
	case len(r.Findings) == 0:
	default:
		first := r.Findings[0]
		c.State, c.Detail, c.Fix = report.CheckFailed, first.What, first.Command
		switch {
		case r.Unknown:
			c.State = report.CheckUnknown
		case r.Transient:
			c.State = report.CheckPending
		}
	}
	return c
}

// workloads asks for the pods of everything that the plan's releases and the
// operator made.
func (p *prover) workloads(ctx context.Context) check.Outcome {
	all, err := p.ownWorkloads(ctx)
	if err != nil {
		return check.Unknown(p.cluster.explain(err, "read the stack's workloads"))
	}
	if len(all) == 0 {
		if p.plan.Stack.Release == nil && p.plan.Exporter.Release == nil {
			return check.Skip("nothing of the stack is managed from here")
		}
		return check.Pending("none are there yet", "", "")
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
		return check.OK(fmt.Sprintf("%d of %d ready", ready, len(all)))
	}
	// What has a reason comes first: it may never become ready by itself.
	slices.SortStableFunc(waits, func(a, b string) int { return strings.Count(b, ": ") - strings.Count(a, ": ") })
	return check.Pending(fmt.Sprintf("%d of %d ready; %s", ready, len(all), strings.Join(waits, "; ")), "", fmt.Sprintf("kubectl -n %s get pods; kubectl -n %s describe pod …", p.plan.Namespace, p.plan.Namespace))
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
