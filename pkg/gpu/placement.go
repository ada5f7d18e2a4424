package gpu

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostnames bounds a placement that must name its nodes one by one.
const maxHostnames = 64

// Placement says where dcgm-exporter has to run and what lets it run there.
// NodeSelector and Affinity are alternatives; at most one of them is set.
type Placement struct {
	NodeSelector map[string]string
	// Affinity chooses the nodes when no single label marks them all.
	Affinity     *corev1.Affinity
	Tolerations  []corev1.Toleration
	RuntimeClass string // "" leaves the nodes' default
	Covered      int    // GPU nodes that are chosen
	Total        int    // GPU nodes
	Why          string // one sentence
}

// Placement finds the smallest selector, by the strongest label, that chooses
// the GPU nodes and no others, and the tolerations for exactly their taints.
func (c *Cluster) Placement() Placement {
	p := Placement{Total: len(c.Nodes), Tolerations: c.tolerations()}
	if c.RuntimeClassNVIDIA {
		p.RuntimeClass = RuntimeClassNVIDIA
	}
	if len(c.Nodes) == 0 {
		c.placeAhead(&p)
		return p
	}
	for _, s := range signs() {
		value, all := c.everywhere(s)
		if all && s.use == byFlag {
			p.NodeSelector = map[string]string{s.key: value}
			p.Covered = p.Total
			p.Why = fmt.Sprintf("label %s=%s is on %s and on no other", s.key, value, allGPUNodes(p.Total))
			return p
		}
	}
	c.placeByAffinity(&p)
	return p
}

// placeAhead serves clusters whose GPU nodes are yet to come.
func (c *Cluster) placeAhead(p *Placement) {
	key, value := LabelPresent, "true"
	switch c.Platform() {
	case PlatformGKE:
		key = "cloud.google.com/gke-gpu"
	case PlatformAKS:
		key, value = "kubernetes.azure.com/accelerator", "nvidia"
	}
	p.NodeSelector = map[string]string{key: value}
	p.Tolerations = []corev1.Toleration{{Key: resourceGPU, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	p.Why = fmt.Sprintf("there is no GPU node now; label %s=%s is the one that GPU nodes usually get here", key, value)
}

// everywhere tells whether all GPU nodes show the sign with one value.
func (c *Cluster) everywhere(s sign) (value string, all bool) {
	for i, n := range c.Nodes {
		v, ok := n.labels[s.key]
		if !ok || !s.shows(v) || i > 0 && v != value {
			return "", false
		}
		value = v
	}
	return value, true
}

// choice is one way to choose nodes by a label.
type choice struct {
	requirement corev1.NodeSelectorRequirement
	matches     func(*Node) bool
}

// choices are the labels that choose GPU nodes and no others: signs, strongest
// first, then instance types, then the nodes' own names.
func (c *Cluster) choices() []choice {
	var found []choice
	for _, s := range signs() {
		if s.use == never {
			continue
		}
		shown := func(n *Node) bool { v, ok := n.labels[s.key]; return ok && s.shows(v) }
		if s.use == byName && !c.otherKeys[s.key] {
			found = append(found, choice{corev1.NodeSelectorRequirement{Key: s.key, Operator: corev1.NodeSelectorOpExists}, shown})
			continue
		}
		found = append(found, choice{corev1.NodeSelectorRequirement{Key: s.key, Operator: corev1.NodeSelectorOpIn, Values: c.values(s.key, shown)}, shown})
	}
	for _, key := range []string{labelInstanceType, corev1.LabelHostname} {
		own := func(n *Node) bool {
			v := n.labels[key]
			return v != "" && (key != labelInstanceType || !c.otherTypes[v])
		}
		found = append(found, choice{corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn}, own})
	}
	return found
}

func (c *Cluster) values(key string, of func(*Node) bool) []string {
	values := map[string]bool{}
	for i := range c.Nodes {
		if of(&c.Nodes[i]) {
			values[c.Nodes[i].labels[key]] = true
		}
	}
	return slices.Sorted(maps.Keys(values))
}

// placeByAffinity joins several labels: the first that covers all nodes by
// itself, else as few as are needed.
func (c *Cluster) placeByAffinity(p *Placement) {
	uncovered := map[string]bool{}
	for _, n := range c.Nodes {
		uncovered[n.Name] = true
	}
	count := func(o choice) (n int) {
		for i := range c.Nodes {
			if uncovered[c.Nodes[i].Name] && o.matches(&c.Nodes[i]) {
				n++
			}
		}
		return n
	}
	options := c.choices()
	hostname := options[len(options)-1]
	options = options[:len(options)-1]
	var terms []corev1.NodeSelectorTerm
	var keys []string
	take := func(o choice) {
		r := o.requirement
		fresh := func(n *Node) bool { return uncovered[n.Name] && o.matches(n) }
		if r.Key == labelInstanceType || r.Key == corev1.LabelHostname {
			r.Values = c.values(r.Key, fresh)
		}
		for i := range c.Nodes {
			if fresh(&c.Nodes[i]) {
				p.Covered++
				delete(uncovered, c.Nodes[i].Name)
			}
		}
		terms = append(terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}})
		keys = append(keys, r.Key)
	}
	for len(uncovered) > 0 {
		best := slices.MaxFunc(options, func(a, b choice) int { return cmp.Compare(count(a), count(b)) })
		if count(best) == 0 {
			break
		}
		take(best)
	}
	byHostname := len(uncovered)
	if byHostname > maxHostnames {
		byHostname = 0
	}
	if byHostname > 0 {
		take(hostname)
	}
	if len(terms) > 0 {
		p.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
	switch {
	case byHostname > 0:
		p.Why = fmt.Sprintf("%s can only be named one by one, for no label tells GPU nodes from others; nodes that join later are left out until 'kubectl triton nodes label' has marked them and the placement is made anew", gpuNodes(byHostname))
	case p.Covered < p.Total:
		p.Why = fmt.Sprintf("only %d of %s have a label that tells them from others; mark the rest with 'kubectl triton nodes label'", p.Covered, gpuNodes(p.Total))
	case slices.Contains(keys, labelInstanceType):
		p.Why = fmt.Sprintf("no label marks %s, so they are chosen by %s; nodes of another type that join later are left out until 'kubectl triton nodes label' has marked them", allGPUNodes(p.Total), strings.Join(keys, " or "))
	default:
		p.Why = fmt.Sprintf("no single label marks %s, so they are chosen by %s", allGPUNodes(p.Total), strings.Join(keys, " or "))
	}
}

// tolerations tolerate the GPU nodes' taints and nothing else. The value of
// NVIDIA's own taint differs between the tools that set it, so any will do.
func (c *Cluster) tolerations() []corev1.Toleration {
	seen := map[corev1.Toleration]bool{}
	var found []corev1.Toleration
	for _, n := range c.Nodes {
		for _, t := range n.Taints {
			o := corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpEqual, Value: t.Value, Effect: t.Effect}
			if t.Value == "" || t.Key == resourceGPU {
				o.Operator, o.Value = corev1.TolerationOpExists, ""
			}
			if !seen[o] {
				seen[o] = true
				found = append(found, o)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b corev1.Toleration) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	return found
}
