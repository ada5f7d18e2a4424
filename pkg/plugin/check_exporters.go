package plugin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	// askedExporters is how many pods of an exporter are asked themselves; they
	// are all alike, and a cluster may have thousands.
	askedExporters = 4
	// slowestInterval lets a load test of 30 s, bench's default, hold the three
	// samples that a figure needs.
	slowestInterval = 10 * time.Second
)

func (l *lookup) exporterCheckers() []check.Checker {
	pages := &exporterPages{}
	return append(l.gpuCheckers(exporterQuestions(), "exporter-runs"),
		check.Checker{ID: "exporter-publishes", Description: "exporters publish their GPUs", Needs: []string{"exporter-runs"},
			Check: func(ctx context.Context) check.Outcome { return l.exportersPublish(ctx, pages) }},
		check.Checker{ID: "exporter-names", Description: "exporters use one generation of metric names", Severity: check.Warning, Needs: []string{"exporter-publishes"},
			Check: func(context.Context) check.Outcome { return pages.judgeNames() }},
		check.Checker{ID: "exporter-interval", Description: "exporters read the GPUs often enough for load tests", Severity: check.Warning, Needs: []string{"exporter-runs"},
			Check: l.exporterInterval},
	)
}

// exporterPages are the names of the metrics that the asked pods publish.
type exporterPages struct{ pages []exporterPage }

type exporterPage struct {
	pod              corev1.Pod
	err              error
	any, old, recent bool
}

// askable are the ready pods of exporters on GPU nodes, a few of each.
func (l *lookup) askable() []corev1.Pod {
	var found []corev1.Pod
	for i := range l.gpus.Exporters {
		asked := 0
		for _, p := range l.gpus.Exporters[i].Pods {
			if asked == askedExporters {
				break
			}
			if !p.Ready || !slices.ContainsFunc(l.gpus.Nodes, func(n gpu.Node) bool { return n.Name == p.Node }) {
				continue
			}
			k := slices.IndexFunc(l.podList, func(pod corev1.Pod) bool { return pod.Namespace == p.Namespace && pod.Name == p.Name })
			if k >= 0 {
				found = append(found, l.podList[k])
				asked++
			}
		}
	}
	return found
}

// exportersPublish asks pods for their metrics: one that is Ready and empty has
// found no driver and says so nowhere but in its log.
func (l *lookup) exportersPublish(ctx context.Context, into *exporterPages) check.Outcome {
	pods := l.askable()
	if len(pods) == 0 {
		return check.Skip("no exporter has a ready pod on a GPU node that may be asked")
	}
	pages := make([]exporterPage, len(pods))
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() { pages[i] = l.exporterPage(ctx, &pods[i]) })
	}
	wg.Wait()
	into.pages = pages
	var findings []check.Finding
	for _, p := range pages {
		logs := fmt.Sprintf("kubectl logs --namespace %s %s --tail 20", p.pod.Namespace, p.pod.Name)
		switch {
		case p.err != nil:
			findings = append(findings, check.Finding{What: fmt.Sprintf("exporter pod %s on %s does not answer: %v", p.pod.Name, p.pod.Spec.NodeName, p.err), Command: logs})
		case !p.any:
			findings = append(findings, check.Finding{
				What: fmt.Sprintf("exporter pod %s on %s is ready and publishes no GPU metric", p.pod.Name, p.pod.Spec.NodeName),
				Why:  "it found no driver to ask, which it says in its log only: the driver is not loaded, or the pod does not run with the NVIDIA runtime", Command: logs,
			})
		}
	}
	o := check.Wrong(findings...)
	o.Detail, o.Transient = fmt.Sprintf("asked %s", counted(len(pods), "pod", "pods")), len(findings) > 0
	return o
}

func (l *lookup) exporterPage(ctx context.Context, pod *corev1.Pod) exporterPage {
	page := exporterPage{pod: *pod}
	port, ok := containerPort(pod, []string{"metrics", "gpu-metrics"}, 9400)
	if !ok {
		port = 9400
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	body, err := metricsSource(l.dialer, pod, port).Fetch(ctx)
	if err != nil {
		page.err = err
		return page
	}
	defer body.Close()
	names, err := metrics.FamilyNames(body)
	page.err = err
	page.any, page.old, page.recent = metrics.DCGMNames(names)
	return page
}

func (e *exporterPages) judgeNames() check.Outcome {
	var old, recent []string
	for _, p := range e.pages {
		if p.old {
			old = append(old, p.pod.Name)
		}
		if p.recent {
			recent = append(recent, p.pod.Name)
		}
	}
	switch {
	case len(old) > 0 && len(recent) > 0:
		return check.Wrong(check.Finding{
			What:    fmt.Sprintf("some exporters use the names of 4.8 (%s) and some those of 4.9 (%s)", some(old), some(recent)),
			Why:     "dcgm-exporter 4.9 renamed 23 fields and changed the unit of 11; dashboards of other makers show one kind only. This plugin's own read both",
			Command: "kubectl get daemonsets --all-namespaces -o wide | grep dcgm-exporter",
		})
	case len(recent) > 0:
		return check.OK("those of dcgm-exporter 4.9 and newer, such as DCGM_FI_DEV_FB_USED_BYTES")
	case len(old) > 0:
		return check.OK("those of dcgm-exporter up to 4.8, such as DCGM_FI_DEV_FB_USED")
	}
	return check.OK("only names that both generations have")
}

// exporterInterval reads how often the exporters look at the GPUs.
func (l *lookup) exporterInterval(context.Context) check.Outcome {
	var findings []check.Finding
	var slow, seen []string
	elsewhere := false
	for _, pod := range l.askable() {
		every := collectInterval(&pod)
		if every == 0 {
			elsewhere = true
			continue
		}
		text := report.Seconds(every.Seconds())
		if !slices.Contains(seen, text) {
			seen = append(seen, text)
		}
		if every > slowestInterval && !slices.Contains(slow, text) {
			slow = append(slow, text)
			findings = append(findings, check.Finding{
				What:    fmt.Sprintf("exporter pod %s/%s reads the GPUs every %s", pod.Namespace, pod.Name, text),
				Why:     fmt.Sprintf("a load test of 30 s then has fewer than 3 values of each GPU; an interval of at most %s is needed", report.Seconds(slowestInterval.Seconds())),
				Command: "kubectl triton observe up --collect-interval 1s",
			})
		}
	}
	switch {
	case len(seen) == 0 && elsewhere:
		return check.Skip("the exporters take their interval from another object")
	case len(seen) == 0:
		return check.Skip("no exporter has a ready pod on a GPU node that may be asked")
	}
	o := check.Wrong(findings...)
	o.Detail = "every " + strings.Join(seen, ", ")
	return o
}

// collectInterval is dcgm-exporter's: its flag -c or --collect-interval, else its
// variable DCGM_EXPORTER_INTERVAL, in milliseconds; 30 s by default, and 0 where
// the variable comes from another object.
func collectInterval(pod *corev1.Pod) time.Duration {
	every := 30 * time.Second
	set := func(text string) {
		if ms, err := strconv.ParseInt(strings.Trim(text, `"'`), 10, 64); err == nil && ms > 0 && ms < int64(24*time.Hour/time.Millisecond) {
			every = time.Duration(ms) * time.Millisecond
		}
	}
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			switch {
			case e.Name != "DCGM_EXPORTER_INTERVAL":
			case e.ValueFrom != nil:
				every = 0
			default:
				set(e.Value)
			}
		}
	}
	for _, c := range pod.Spec.Containers {
		words := shellWords(&c)
		for i, word := range words {
			name, value, joined := strings.Cut(word, "=")
			if name != "--collect-interval" && name != "-c" {
				continue
			}
			if !joined && i+1 < len(words) {
				value = words[i+1]
			}
			set(value)
		}
	}
	return every
}

// shellWords are a container's command and arguments, a shell's script taken
// apart.
func shellWords(c *corev1.Container) []string {
	return strings.Fields(strings.Join(slices.Concat(c.Command, c.Args), " "))
}
