package gpu

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (c *Cluster) nodeProblems() []Problem {
	if len(c.Nodes) == 0 {
		return []Problem{{
			Kind: ProblemNoGPUNodes, Severity: SeverityWarning,
			What:  noGPUIn(c.TotalNodes),
			Cause: "a GPU node pool may be scaled to zero; else drivers, device plugin and feature discovery are all missing",
			Next:  "kubectl get nodes --label-columns node.kubernetes.io/instance-type",
		}}
	}
	var found []Problem
	add := func(p Problem, holds func(*Node) bool, what string) {
		if p.Nodes = c.named(holds); len(p.Nodes) > 0 {
			p.What = strings.NewReplacer("{nodes}", on(p.Nodes), "{has}", verb(p.Nodes, "has", "have"), "{offers}", verb(p.Nodes, "offers", "offer"), "{is}", verb(p.Nodes, "is", "are")).Replace(what)
			p.Next = strings.ReplaceAll(p.Next, "{node}", p.Nodes[0])
			found = append(found, p)
		}
	}
	offers := func(n *Node) bool { return n.Has(EvidenceAllocatable, EvidenceDRA) }
	severity := SeverityError
	if !c.Knows(KindResourceSlice) {
		severity = SeverityWarning // the DRA driver may offer them
	}
	add(Problem{
		Kind: ProblemNotOffered, Severity: severity,
		Cause: c.notOfferedCause(),
		Next:  "kubectl get pods --all-namespaces --output wide --field-selector spec.nodeName={node}",
	}, func(n *Node) bool { return !offers(n) && !n.Has(EvidenceCapacity) }, "{nodes} {has} NVIDIA hardware by label, but {offers} no GPU to pods")
	add(Problem{
		Kind: ProblemUnhealthy, Severity: SeverityError,
		Cause: "the device plugin has stopped, or no GPU passes its health check any more",
		Next:  "kubectl describe node {node}",
	}, func(n *Node) bool { return n.Has(EvidenceCapacity) }, "{nodes} once offered GPUs, but {offers} none now")
	add(Problem{
		Kind: ProblemUnhealthy, Severity: SeverityError,
		Cause: "the device plugin found a GPU unhealthy: look for an XID error in the node's kernel log or in DCGM_FI_DEV_XID_ERRORS",
		Next:  "kubectl describe node {node}",
	}, func(n *Node) bool { return n.Has(EvidenceAllocatable) && n.Allocatable.lacks(n.Capacity) }, "{nodes} {offers} fewer GPUs than there are (allocatable below capacity)")
	migState := func(state string) func(*Node) bool {
		return func(n *Node) bool { return n.labels["nvidia.com/mig.config.state"] == state }
	}
	add(Problem{
		Kind: ProblemMIGConfig, Severity: SeverityError,
		Cause: "the MIG manager could not apply the layout that label nvidia.com/mig.config asks for, for instance because a pod holds the GPU",
		Next:  "kubectl logs --namespace gpu-operator --selector app=nvidia-mig-manager --tail 50",
	}, migState("failed"), "{nodes} {has} a failed MIG configuration")
	add(Problem{
		Kind: ProblemNotReady, Severity: SeverityWarning,
		Cause: c.notReadyCause(),
		Next:  "kubectl describe node {node}",
	}, func(n *Node) bool { return !n.Ready }, "{nodes} {is} not ready")
	add(Problem{
		Kind: ProblemNoLabel, Severity: SeverityNote,
		Cause: "GPU Feature Discovery is absent, so no selector can choose GPU nodes",
		Next:  "kubectl triton nodes label",
	}, func(n *Node) bool { return offers(n) && !n.selectable() }, "{nodes} {offers} GPUs, but {has} no label that says so")
	return append(found, c.driverProblems()...)
}

func noGPUIn(nodes int) string {
	switch nodes {
	case 0:
		return "the cluster has no node"
	case 1:
		return "the only node shows no GPU, by resource or label"
	}
	return fmt.Sprintf("none of the %d nodes shows a GPU, by resource or label", nodes)
}

// notReadyCause is what the kubelets say, if they do.
func (c *Cluster) notReadyCause() string {
	var said []string
	for i := range c.Nodes {
		if why := c.Nodes[i].NotReadyWhy; why != "" && !slices.Contains(said, why) {
			said = append(said, why)
		}
	}
	if len(said) == 0 {
		return "the kubelet doesn't report, or reports trouble"
	}
	return "the kubelet says: " + strings.Join(said[:min(len(said), exampleNodes)], "; ")
}

func (c *Cluster) notOfferedCause() string {
	if !c.Knows(KindResourceSlice) {
		return "the device plugin is missing or not running, or the driver is not ready; or the DRA driver offers them, whose ResourceSlices you may not list"
	}
	if c.Platform() == PlatformGKE {
		return "the device plugin is not running, or the driver is not installed: GKE installs it only on node pools made with a gpu-driver-version"
	}
	return "the device plugin is missing or not running, or the driver is not ready"
}

// selectable tells whether a label can choose the node.
func (n *Node) selectable() bool {
	return slices.ContainsFunc(signs(), func(s sign) bool {
		v, ok := n.labels[s.key]
		return ok && s.use != never && s.shows(v)
	})
}

// driverProblems compares the nodes' drivers.
func (c *Cluster) driverProblems() []Problem {
	byVersion := map[string][]string{}
	for _, n := range c.Nodes {
		if n.DriverVersion != "" {
			byVersion[n.DriverVersion] = append(byVersion[n.DriverVersion], n.Name)
		}
	}
	if len(byVersion) < 2 {
		return nil
	}
	// The version of most nodes is taken for the one that is meant.
	usual := slices.MaxFunc(slices.Sorted(maps.Keys(byVersion)), func(a, b string) int { return len(byVersion[a]) - len(byVersion[b]) })
	var parts, odd []string
	for _, v := range slices.Sorted(maps.Keys(byVersion)) {
		parts = append(parts, fmt.Sprintf("%s on %s", v, on(byVersion[v])))
		if v != usual {
			odd = append(odd, byVersion[v]...)
		}
	}
	slices.Sort(odd)
	return []Problem{{
		Kind: ProblemDriverVersions, Severity: SeverityWarning, Nodes: odd,
		What:  "the GPU driver's version differs between nodes: " + strings.Join(parts, ", "),
		Cause: "an upgrade is under way or stopped half-way; a model may then perform, or fail, differently from node to node",
		Next:  "kubectl get nodes --label-columns nvidia.com/cuda.driver-version.full,nvidia.com/gpu.product",
	}}
}
