package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// GPUSelector says whose GPUs are wanted. UUIDs and Pods name them; Nodes is
// used only where neither finds any, since a node's GPUs may be someone
// else's. An empty selector means all GPUs.
type GPUSelector struct {
	UUIDs []string
	Pods  []NamespacedName
	Nodes []string
}

func (s GPUSelector) empty() bool {
	return len(s.UUIDs) == 0 && len(s.Pods) == 0 && len(s.Nodes) == 0
}

func (s GPUSelector) String() string {
	var parts []string
	if len(s.UUIDs) > 0 {
		parts = append(parts, "UUIDs "+strings.Join(s.UUIDs, ", "))
	}
	if len(s.Pods) > 0 {
		names := make([]string, len(s.Pods))
		for i, p := range s.Pods {
			names[i] = p.String()
		}
		parts = append(parts, "pods "+strings.Join(names, ", "))
	}
	const shown = 3
	switch more := len(s.Nodes) - shown; {
	case more > 0:
		parts = append(parts, fmt.Sprintf("nodes %s and %d more", strings.Join(s.Nodes[:shown], ", "), more))
	case len(s.Nodes) > 0:
		parts = append(parts, "nodes "+strings.Join(s.Nodes, ", "))
	}
	return strings.Join(parts, "; ")
}

// sighting is one labelled appearance of a GPU in a source.
type sighting struct {
	gpu       GPU
	family    Family
	uuidLabel string   // the label that named it
	endpoint  endpoint // the scrape target that it came from
	pods      []NamespacedName
	nodes     []string
}

const (
	byUUID      = "UUID"
	byPod       = "pod"
	byTritonPod = "pod, through Triton's own GPU metrics"
	byNode      = "node"
	byAll       = "all"
)

// choose finds the selector's GPUs among the sightings, by the strongest
// evidence that there is.
func (s GPUSelector) choose(seen []sighting) (chosen map[device]bool, by string) {
	pick := func(match func(sighting) bool) map[device]bool {
		found := map[device]bool{}
		for _, g := range seen {
			if match(g) {
				found[g.gpu.device()] = true
			}
		}
		return found
	}
	if s.empty() {
		return pick(func(sighting) bool { return true }), byAll
	}
	holds := func(g sighting) bool {
		return slices.ContainsFunc(g.pods, func(p NamespacedName) bool { return slices.Contains(s.Pods, p) })
	}
	if chosen = pick(func(g sighting) bool {
		// MIG instances share their GPU's UUID, and only their pod tells them apart.
		named := slices.Contains(s.UUIDs, g.gpu.UUID) && (g.gpu.MIGInstance == "" || len(s.Pods) == 0)
		return named || g.family == FamilyDCGM && holds(g)
	}); len(chosen) > 0 {
		if len(s.UUIDs) > 0 {
			return chosen, byUUID
		}
		return chosen, byPod
	}
	// Without pod labels on DCGM's series, Triton still tells the UUIDs it sees.
	uuids := map[string]bool{}
	for _, g := range seen {
		if g.family == FamilyTriton && holds(g) {
			uuids[g.gpu.UUID] = true
		}
	}
	if chosen = pick(func(g sighting) bool { return uuids[g.gpu.UUID] }); len(chosen) > 0 {
		return chosen, byTritonPod
	}
	chosen = pick(func(g sighting) bool {
		return slices.ContainsFunc(g.nodes, func(n string) bool { return slices.Contains(s.Nodes, n) })
	})
	return chosen, byNode
}

// noGPUs explains an empty window.
func (s GPUSelector) noGPUs(where string, seen []sighting) string {
	if len(seen) == 0 {
		return fmt.Sprintf("there are no GPU metrics in %s for this window: neither DCGM_FI_* nor nv_gpu_*", where)
	}
	uuids := map[string]bool{}
	for _, g := range seen {
		uuids[g.gpu.UUID] = true
	}
	return fmt.Sprintf("there are metrics of %s in %s for this window, but of none that belongs to %s", count(len(uuids), "GPU"), where, s)
}
