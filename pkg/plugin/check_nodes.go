package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
)

// gpuQuestion is a checker that passes when pkg/gpu has no problem of its kind.
type gpuQuestion struct {
	id, description string
	problem         gpu.ProblemKind
	// detail tells what was found when all is well; may be nil.
	detail func(*gpu.Cluster) string
	// needs are the kinds without which no problem would not mean that all is well.
	needs []string
}

// nodeQuestions are about the nodes themselves.
func nodeQuestions() []gpuQuestion {
	return []gpuQuestion{
		{"gpu-nodes", "the cluster has GPU nodes", gpu.ProblemNoGPUNodes, gpuNodesDetail, nil},
		{"gpus-offered", "GPU nodes offer their GPUs to pods", gpu.ProblemNotOffered, offeredDetail, nil},
		{"gpus-healthy", "nodes offer all GPUs that they have", gpu.ProblemUnhealthy, nil, nil},
		{"mig-layout", "MIG layouts are applied", gpu.ProblemMIGConfig, sharingDetail, nil},
		{"gpu-nodes-ready", "GPU nodes are ready", gpu.ProblemNotReady, nil, nil},
		{"gpu-label", "a label tells GPU nodes from others", gpu.ProblemNoLabel, func(c *gpu.Cluster) string { return c.Placement().Why }, nil},
		{"gpu-drivers", "GPU nodes run one version of the driver", gpu.ProblemDriverVersions, driverDetail, nil},
		{"runtime-class", "RuntimeClass nvidia is there, or not needed", gpu.ProblemRuntimeClass, nil, []string{gpu.KindRuntimeClass}},
	}
}

// exporterQuestions are about who reads the GPUs.
func exporterQuestions() []gpuQuestion {
	return []gpuQuestion{
		{"exporter-runs", "a GPU exporter is installed", gpu.ProblemNoExporter, exporterDetail, nil},
		{"exporter-tolerates", "the exporter tolerates the taints of GPU nodes", gpu.ProblemExporterTaint, nil, []string{gpu.KindPod}},
		{"exporter-selects", "the exporter's node selector takes all GPU nodes", gpu.ProblemExporterSelector, nil, []string{gpu.KindPod}},
		{"exporter-everywhere", "the exporter has a pod on each GPU node", gpu.ProblemExporterMissing, coverageDetail, []string{gpu.KindPod}},
		{"exporter-ready", "the exporter's pods are ready", gpu.ProblemExporterNotReady, nil, []string{gpu.KindPod}},
		{"exporter-once", "no GPU node has two exporters", gpu.ProblemExporterTwice, nil, []string{gpu.KindPod}},
		{"exporter-only-there", "the exporter runs on GPU nodes only", gpu.ProblemExporterOnCPUNodes, nil, []string{gpu.KindPod}},
		{"exporter-runtime-class", "the exporter's RuntimeClass exists", gpu.ProblemExporterNoRuntime, nil, []string{gpu.KindRuntimeClass}},
	}
}

func (l *lookup) nodeCheckers() []check.Checker {
	checkers := l.gpuCheckers(nodeQuestions(), "gpu-nodes")
	return append(checkers, check.Checker{
		ID: "gpu-pods-scheduled", Description: "no pod waits for a GPU", Severity: check.Warning, Needs: []string{"gpu-nodes"},
		Check: func(context.Context) check.Outcome {
			if !l.gpus.Knows(gpu.KindPod) {
				return check.Skip("you may not list pods")
			}
			waiting := l.gpus.Waiting
			if len(waiting) == 0 {
				return check.OK("")
			}
			names := make([]string, 0, len(waiting))
			for _, h := range waiting {
				names = append(names, h.Namespace+"/"+h.Pod)
			}
			return check.Wrong(check.Finding{
				What:    fmt.Sprintf("%s without a node: %s", counted(len(waiting), "pod asks for GPUs and is", "pods ask for GPUs and are"), some(names)),
				Why:     "every GPU is held, or the pods don't tolerate the taints of the GPU nodes or select none of them",
				Command: fmt.Sprintf("kubectl describe pod --namespace %s %s", waiting[0].Namespace, waiting[0].Pod),
			})
		},
	})
}

// gpuCheckers turn questions into checkers. All but the first need the first.
func (l *lookup) gpuCheckers(questions []gpuQuestion, first string) []check.Checker {
	checkers := make([]check.Checker, 0, len(questions))
	for _, q := range questions {
		k := check.Checker{ID: q.id, Description: q.description, Needs: []string{"nodes-read"}}
		k.Check = func(context.Context) check.Outcome {
			switch {
			case !l.gpus.Knows(gpu.KindNode):
				return check.Skip("you may not list nodes")
			case len(l.gpus.Nodes) == 0 && q.id != "gpu-nodes":
				return check.Skip("the cluster has no GPU node now")
			case len(l.gpus.Exporters) == 0 && first == "exporter-runs":
				// Without both kinds nobody can say that there is none.
				if denied := l.denied(gpu.KindPod, gpu.KindDaemonSet); denied != "" {
					return check.Skip(denied)
				}
				if q.id != first {
					return check.Skip("there is no exporter")
				}
			}
			if denied := l.denied(q.needs...); denied != "" {
				return check.Skip(denied)
			}
			return judgeGPUs(l.gpus, q)
		}
		if q.id != first {
			k.Needs = append(k.Needs, first)
		}
		checkers = append(checkers, k)
	}
	return checkers
}

// denied says which of the kinds the user may not read; "" for none.
func (l *lookup) denied(kinds ...string) string {
	for _, kind := range kinds {
		if !l.gpus.Knows(kind) {
			return "you may not list " + map[string]string{gpu.KindPod: "pods", gpu.KindDaemonSet: "DaemonSets", gpu.KindRuntimeClass: "RuntimeClasses"}[kind]
		}
	}
	return ""
}

func judgeGPUs(c *gpu.Cluster, q gpuQuestion) check.Outcome {
	var o check.Outcome
	for _, p := range c.Problems() {
		if p.Kind != q.problem {
			continue
		}
		switch p.Severity {
		case gpu.SeverityNote: // fine in many clusters
			o.Detail = p.What + "; " + p.Cause
		case gpu.SeverityWarning:
			o.Findings = append(o.Findings, check.Finding{What: p.What, Why: p.Cause, Command: p.Next, Level: check.Warning})
		default:
			o.Findings = append(o.Findings, check.Finding{What: p.What, Why: p.Cause, Command: p.Next, Level: check.Fatal})
		}
	}
	if len(o.Findings) == 0 && o.Detail == "" && q.detail != nil {
		o.Detail = q.detail(c)
	}
	return o
}

func gpuNodesDetail(c *gpu.Cluster) string {
	var kinds []string
	for i := range c.Nodes {
		for _, e := range c.Nodes[i].Evidence {
			if !slices.Contains(kinds, string(e.Kind)) {
				kinds = append(kinds, string(e.Kind))
			}
		}
	}
	return fmt.Sprintf("%d of %d, known by %s", len(c.Nodes), c.TotalNodes, strings.Join(kinds, ", "))
}

func offeredDetail(c *gpu.Cluster) string {
	var now, all int64
	for i := range c.Nodes {
		allocatable, capacity := c.Nodes[i].Offered()
		now, all = now+allocatable.Total(), all+capacity.Total()
	}
	return fmt.Sprintf("%d of %d", now, all)
}

func sharingDetail(c *gpu.Cluster) string {
	var kinds []string
	for i := range c.Nodes {
		n := &c.Nodes[i]
		for _, kind := range []string{n.Sharing, n.MIGStrategy} {
			if kind != "" && kind == n.MIGStrategy {
				kind = "MIG " + kind
			}
			if kind != "" && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	if len(kinds) == 0 {
		return "no GPU is shared or partitioned"
	}
	return strings.Join(kinds, ", ")
}

func driverDetail(c *gpu.Cluster) string {
	for i := range c.Nodes {
		if v := c.Nodes[i].DriverVersion; v != "" {
			return v
		}
	}
	return "no label tells it"
}

func exporterDetail(c *gpu.Cluster) string {
	names := make([]string, 0, len(c.Exporters))
	for i := range c.Exporters {
		names = append(names, fmt.Sprintf("%s (%s)", &c.Exporters[i], c.Exporters[i].Owner()))
	}
	return strings.Join(names, ", ")
}

func coverageDetail(c *gpu.Cluster) string {
	covered := 0
	for i := range c.Nodes {
		if slices.ContainsFunc(c.Nodes[i].Exporters, func(p gpu.ExporterPod) bool { return p.Ready }) {
			covered++
		}
	}
	return fmt.Sprintf("%d of %d covered", covered, len(c.Nodes))
}

// counted writes a number with the phrase that suits it.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// some names the first few.
func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
