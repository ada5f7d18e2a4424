package gpu

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Names of NVIDIA's device plugin.
const (
	resourceGPU       = "nvidia.com/gpu"
	resourceGPUShared = "nvidia.com/gpu.shared"
	resourceMIGPrefix = "nvidia.com/mig-"
)

// Resources are amounts of what containers can ask for.
type Resources struct {
	// GPUs counts nvidia.com/gpu: GPUs, or their replicas when they are shared,
	// or their instances under MIG strategy single.
	GPUs int64
	// Shared counts nvidia.com/gpu.shared, replicas under a name of their own.
	Shared int64
	// MIG counts instances by profile, such as 1g.5gb; nil without any.
	MIG map[string]int64
}

// Total counts all of them.
func (r Resources) Total() int64 {
	total := r.GPUs + r.Shared
	for _, n := range r.MIG {
		total += n
	}
	return total
}

// Profiles lists the MIG profiles in order.
func (r Resources) Profiles() []string { return slices.Sorted(maps.Keys(r.MIG)) }

func (r *Resources) add(other Resources) {
	r.GPUs += other.GPUs
	r.Shared += other.Shared
	for profile, n := range other.MIG {
		r.addMIG(profile, n)
	}
}

func (r *Resources) addMIG(profile string, n int64) {
	if n == 0 {
		return
	}
	if r.MIG == nil {
		r.MIG = map[string]int64{}
	}
	r.MIG[profile] += n
}

// lacks tells whether r holds less of anything than other.
func (r Resources) lacks(other Resources) bool {
	if r.GPUs < other.GPUs || r.Shared < other.Shared {
		return true
	}
	for profile, n := range other.MIG {
		if r.MIG[profile] < n {
			return true
		}
	}
	return false
}

func resourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		r.count(name, quantity.Value())
	}
	return r
}

func (r *Resources) count(name corev1.ResourceName, n int64) {
	switch {
	case name == resourceGPU:
		r.GPUs += n
	case name == resourceGPUShared:
		r.Shared += n
	case strings.HasPrefix(string(name), resourceMIGPrefix):
		r.addMIG(strings.TrimPrefix(string(name), resourceMIGPrefix), n)
	}
}

// requestsOf is what a pod takes of its node: its containers and sidecars
// together, or its largest init container.
func requestsOf(spec *corev1.PodSpec) Resources {
	running, starting := map[corev1.ResourceName]int64{}, map[corev1.ResourceName]int64{}
	for _, c := range spec.Containers {
		for name, quantity := range asked(&c) {
			running[name] += quantity.Value()
		}
	}
	for _, c := range spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		for name, quantity := range asked(&c) {
			if sidecar {
				running[name] += quantity.Value()
			} else {
				starting[name] = max(starting[name], quantity.Value())
			}
		}
	}
	for name, n := range starting {
		running[name] = max(running[name], n)
	}
	var r Resources
	for name, n := range running {
		r.count(name, n)
	}
	return r
}

// asked is what the container asks for; of extended resources, requests and
// limits are the same, and one of them may be left out in what users write.
func asked(c *corev1.Container) corev1.ResourceList {
	if len(c.Resources.Limits) > 0 {
		return c.Resources.Limits
	}
	return c.Resources.Requests
}
