package gpu

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// commandUp places the exporter anew, by the labels and taints that there are.
const commandUp = "kubectl triton observe up"

func (c *Cluster) exporterProblems() []Problem {
	var found []Problem
	if len(c.Exporters) == 0 {
		// Without a look at either kind nothing is known.
		if len(c.Nodes) > 0 && c.Knows(KindDaemonSet) && c.Knows(KindPod) {
			cause := "neither the chart nor the GPU Operator nor the cloud's own exporter is installed, so there are no GPU metrics"
			if c.Platform() == PlatformAKS {
				cause += "; the exporter of AKS-managed GPU nodes is part of the node (port 19400) and not to be seen from here"
			}
			found = append(found, Problem{
				Kind: ProblemNoExporter, Severity: SeverityWarning,
				What:  "no dcgm-exporter runs in the cluster",
				Cause: cause,
				Next:  commandUp,
			})
		}
		return append(found, c.runtimeProblems()...)
	}
	if c.Knows(KindPod) && c.Knows(KindNode) {
		found = append(found, c.uncovered()...)
		found = append(found, c.unready()...)
		found = append(found, c.twice()...)
		found = append(found, c.strays()...)
	}
	return append(found, c.runtimeProblems()...)
}

// uncovered explains, by cause, the GPU nodes without any exporter's pod.
func (c *Cluster) uncovered() []Problem {
	// The exporter that is meant for the nodes is the one that is on most.
	e := slices.MaxFunc(slices.Collect(c.each()), func(a, b *Exporter) int { return a.Covered - b.Covered })
	byCause := map[string]*Problem{}
	note := func(node string, key string, p Problem) {
		if byCause[key] == nil {
			byCause[key] = &p
		}
		byCause[key].Nodes = append(byCause[key].Nodes, node)
	}
	show := "kubectl describe daemonset --namespace " + e.Namespace + " " + e.Name
	mend := show
	if e.ManagedBy == "Helm" {
		mend = commandUp
	}
	for _, n := range c.Nodes {
		if len(n.Exporters) > 0 {
			continue
		}
		taints := e.untolerated(n.Taints)
		switch {
		case len(taints) > 0:
			text := taintList(taints)
			note(n.Name, "1 "+text, Problem{Kind: ProblemExporterTaint, Severity: SeverityError,
				What: "{nodes} can't run the exporter %s", Cause: "the exporter does not tolerate " + text, Next: mend})
		case !e.allows(n.labels):
			text := selectorText(e.NodeSelector)
			note(n.Name, "2", Problem{Kind: ProblemExporterSelector, Severity: SeverityError,
				What: "{nodes} {is} left out by the exporter %s", Cause: "its node selector asks for " + text})
		default:
			note(n.Name, "3", Problem{Kind: ProblemExporterMissing, Severity: SeverityError,
				What: "{nodes} {has} no pod of the exporter %s", Cause: "its affinity excludes the node, or its pod could not be created", Next: show})
		}
	}
	var found []Problem
	for _, key := range slices.Sorted(maps.Keys(byCause)) {
		p := byCause[key]
		if p.Kind == ProblemExporterSelector {
			p.Next = firstOf(c.labelCommand(p.Nodes, e.NodeSelector), show)
		}
		p.What = strings.NewReplacer("{nodes}", on(p.Nodes), "{is}", verb(p.Nodes, "is", "are"), "{has}", verb(p.Nodes, "has", "have")).Replace(fmt.Sprintf(p.What, e))
		found = append(found, *p)
	}
	return found
}

// labelCommand is the command that gives the nodes what the selector asks for;
// "" when it isn't a label to be set by hand.
func (c *Cluster) labelCommand(nodes []string, selector map[string]string) string {
	if len(selector) != 1 || selector[LabelPresent] != "true" {
		return ""
	}
	missing := map[string]Label{}
	for _, l := range c.MissingLabels() {
		missing[l.Node] = l
	}
	var decided []string
	for _, n := range nodes {
		l, ok := missing[n]
		switch {
		case !ok:
			return ""
		case l.Present != "":
			decided = append(decided, n)
		}
	}
	if len(decided) > 0 {
		return "kubectl label node " + strings.Join(decided, " ") + " " + LabelPresent + "=true --overwrite"
	}
	return "kubectl triton nodes label"
}

func (c *Cluster) each() func(yield func(*Exporter) bool) {
	return func(yield func(*Exporter) bool) {
		for i := range c.Exporters {
			if !yield(&c.Exporters[i]) {
				return
			}
		}
	}
}

// unready lists, by reason, the exporter pods on GPU nodes that aren't ready
// where no other exporter's pod is.
func (c *Cluster) unready() []Problem {
	type key struct{ exporter, reason string }
	pods := map[key][]ExporterPod{}
	for _, n := range c.Nodes {
		if slices.ContainsFunc(n.Exporters, func(p ExporterPod) bool { return p.Ready }) {
			continue
		}
		for _, p := range n.Exporters {
			k := key{p.Exporter, p.Reason}
			pods[k] = append(pods[k], p)
		}
	}
	var found []Problem
	for _, e := range c.Exporters {
		for _, k := range slices.SortedStableFunc(maps.Keys(pods), func(a, b key) int { return strings.Compare(a.reason, b.reason) }) {
			if k.exporter != e.String() {
				continue
			}
			var names []string
			for _, p := range pods[k] {
				names = append(names, p.Node)
			}
			first := pods[k][0]
			cause := "its pod says: " + k.reason
			if k.reason == "" {
				cause = "its pod is still starting, or its readiness check fails"
			}
			next := fmt.Sprintf("kubectl describe pod --namespace %s %s", first.Namespace, first.Name)
			if k.reason == "CrashLoopBackOff" || k.reason == "Error" {
				cause += ": without the NVIDIA runtime or driver the exporter exits; with little memory it is killed"
				next = fmt.Sprintf("kubectl logs --namespace %s %s --previous", first.Namespace, first.Name)
			}
			found = append(found, Problem{Kind: ProblemExporterNotReady, Severity: SeverityError, Nodes: names,
				What: fmt.Sprintf("the exporter %s is not ready on %s", k.exporter, on(names)), Cause: cause, Next: next})
		}
	}
	return found
}

// twice finds nodes with pods of two exporters.
func (c *Cluster) twice() []Problem {
	owners := func(n *Node) []string {
		var names []string
		for _, p := range n.Exporters {
			if !slices.Contains(names, p.Exporter) {
				names = append(names, p.Exporter)
			}
		}
		slices.Sort(names)
		return names
	}
	byOwners := map[string][]string{}
	for i := range c.Nodes {
		if o := owners(&c.Nodes[i]); len(o) > 1 {
			key := strings.Join(o, " and ")
			byOwners[key] = append(byOwners[key], c.Nodes[i].Name)
		}
	}
	var found []Problem
	for _, key := range slices.Sorted(maps.Keys(byOwners)) {
		all := strings.Split(key, " and ")
		namespace, name, _ := strings.Cut(all[len(all)-1], "/")
		many, times, them := "two", "twice", "both"
		if len(all) > 2 {
			many, times, them = fmt.Sprint(len(all)), fmt.Sprintf("%d times", len(all)), "they"
		}
		found = append(found, Problem{Kind: ProblemExporterTwice, Severity: SeverityError, Nodes: byOwners[key],
			What:  fmt.Sprintf("%s exporters run on %s: %s", many, on(byOwners[key]), key),
			Cause: fmt.Sprintf("a second one was installed beside the first: every GPU is counted %s, and %s compete for the profiling counters", times, them),
			Next:  fmt.Sprintf("kubectl get daemonset --namespace %s %s --show-labels", namespace, name)})
	}
	return found
}

// strays finds exporters on nodes without GPUs.
func (c *Cluster) strays() []Problem {
	hasGPU := map[string]bool{}
	for _, n := range c.Nodes {
		hasGPU[n.Name] = true
	}
	var found []Problem
	for _, e := range c.Exporters {
		count := 0
		for _, p := range e.Pods {
			if p.Node != "" && !hasGPU[p.Node] {
				count++
			}
		}
		if count == 0 {
			continue
		}
		next := commandUp
		if e.ManagedBy != "Helm" {
			next = "kubectl get pods --all-namespaces --output wide --selector " + selectorText(e.Selector)
		}
		found = append(found, Problem{Kind: ProblemExporterOnCPUNodes, Severity: SeverityWarning,
			What:  fmt.Sprintf("the exporter %s also runs on %s without a GPU", &e, plural(count, "node")),
			Cause: "it has no node selector that leaves them out; there it crashes or reports nothing",
			Next:  next})
	}
	return found
}

// runtimeProblems are about RuntimeClass nvidia.
func (c *Cluster) runtimeProblems() []Problem {
	if c.RuntimeClassNVIDIA || !c.Knows(KindRuntimeClass) || len(c.Nodes) == 0 {
		return nil
	}
	for _, e := range c.Exporters {
		if e.RuntimeClassName == RuntimeClassNVIDIA {
			return []Problem{{Kind: ProblemExporterNoRuntime, Severity: SeverityError,
				What:  fmt.Sprintf("the exporter %s asks for RuntimeClass nvidia, which does not exist", &e),
				Cause: "the container toolkit that makes it is not installed, so the API server refuses the exporter's pods",
				Next:  "kubectl get runtimeclass"}}
		}
	}
	if c.Platform() != PlatformGeneric {
		return nil
	}
	return []Problem{{Kind: ProblemRuntimeClass, Severity: SeverityNote,
		What:  "there is no RuntimeClass nvidia",
		Cause: "that is fine where nvidia is the default runtime of the GPU nodes; elsewhere the exporter finds no GPU",
		Next:  "kubectl get runtimeclass"}}
}

func taintList(taints []corev1.Taint) string {
	var parts []string
	for _, t := range taints {
		parts = append(parts, TaintString(t))
	}
	return "taint " + strings.Join(parts, " and ")
}

// TaintString is a taint as kubectl writes it: key=value:effect.
func TaintString(t corev1.Taint) string {
	if t.Value == "" {
		return t.Key + ":" + string(t.Effect)
	}
	return t.Key + "=" + t.Value + ":" + string(t.Effect)
}

func selectorText(selector map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		parts = append(parts, key+"="+selector[key])
	}
	return strings.Join(parts, ",")
}
