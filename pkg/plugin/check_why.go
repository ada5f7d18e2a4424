package plugin

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// whyNoTarget says why Prometheus has no target for a pod, and the command that
// mends it: from the monitors and the selectors of the Prometheus, then from what
// Prometheus itself has dropped.
func (m *monitoring) whyNoTarget(ctx context.Context, prometheus *metrics.Prometheus, t stack.Target, pod *corev1.Pod) (why, mend string) {
	monitors := m.reads.monitors()
	if monitors == nil {
		return "", ""
	}
	all, err := m.reads.prometheuses(ctx)
	if err != nil {
		return "", ""
	}
	where := m.watched.prometheus
	i := slices.IndexFunc(all, func(p *stack.Prometheus) bool { return p.Namespace == where.namespace && p.Name == where.name })
	if i < 0 {
		return fmt.Sprintf("Prometheus %s is not run by an operator, so its configuration has to name the pods", where),
			fmt.Sprintf("kubectl -n %s get configmaps", where.namespace)
	}
	t.PodLabels = pod.Labels // a monitor may select by others than the Service does
	covering := monitors.Covering(all[i], t)
	if len(covering) == 0 {
		return fmt.Sprintf("no PodMonitor or ServiceMonitor selects %s/%s", t.Namespace, t.Name), "kubectl triton observe up"
	}
	best := covering[0]
	name := fmt.Sprintf("%s %s/%s", best.Monitor.Kind, best.Monitor.Namespace, best.Monitor.Name)
	if best.Problem != "" {
		if mend = best.Mend; mend == "" {
			mend = "kubectl triton observe up"
		}
		return name + " selects it, but " + best.Problem, mend
	}
	job, rule, err := prometheus.DroppedBy(ctx, best.Pools(), pod.Namespace, pod.Name)
	if err == nil && rule != "" {
		return fmt.Sprintf("job %s finds the pod and drops it: %s", job, rule),
			fmt.Sprintf("kubectl -n %s get %s %s -o yaml", best.Monitor.Namespace, best.Monitor.Kind, best.Monitor.Name)
	}
	return name + " selects it and is taken; the operator may not have written it yet, or refuses it",
		fmt.Sprintf("kubectl -n %s describe prometheus %s", where.namespace, where.name)
}
