package gpu

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

// driverDRA is the name of NVIDIA's DRA driver for GPUs and MIG instances; its
// attributes are those of the driver's published devices.
const driverDRA = "gpu.nvidia.com"

// nodeSlices is what the driver publishes of one node.
type nodeSlices struct {
	resources                           Resources
	product, driverVersion, cudaVersion string
	memoryBytes                         int64
}

// pool is one driver's pool of devices; only slices of its newest generation count.
type pool struct {
	generation int64
	node       string
	devices    map[string]resourcev1.Device
}

// pools collects slices by the name of their pool.
type pools map[string]*pool

func (p pools) add(s *resourcev1.ResourceSlice) {
	if s.Spec.Driver != driverDRA || s.Spec.NodeName == nil {
		return
	}
	old := p[s.Spec.Pool.Name]
	switch {
	case old == nil || s.Spec.Pool.Generation > old.generation:
		old = &pool{generation: s.Spec.Pool.Generation, node: *s.Spec.NodeName, devices: map[string]resourcev1.Device{}}
		p[s.Spec.Pool.Name] = old
	case s.Spec.Pool.Generation < old.generation:
		return
	}
	for _, d := range s.Spec.Devices {
		old.devices[d.Name] = d
	}
}

// byNode sums the pools up. Where whole GPUs are published beside the MIG
// instances that they could be cut into, only the GPUs count.
func (p pools) byNode() map[string]*nodeSlices {
	nodes := map[string]*nodeSlices{}
	for _, pool := range p {
		n := nodes[pool.node]
		if n == nil {
			n = &nodeSlices{}
			nodes[pool.node] = n
		}
		var whole, parts Resources
		for _, d := range pool.devices {
			n.describe(&d)
			if profile := migProfile(&d); profile != "" {
				parts.addMIG(profile, 1)
			} else {
				whole.GPUs++
			}
		}
		if whole.GPUs > 0 {
			parts = Resources{}
		}
		n.resources.add(whole)
		n.resources.add(parts)
	}
	return nodes
}

func (n *nodeSlices) describe(d *resourcev1.Device) {
	n.product = firstOf(n.product, text(d, "productName"))
	n.driverVersion = firstOf(n.driverVersion, text(d, "driverVersion"))
	n.cudaVersion = firstOf(n.cudaVersion, text(d, "cudaDriverVersion"))
	if memory, ok := d.Capacity["memory"]; ok && migProfile(d) == "" {
		n.memoryBytes = max(n.memoryBytes, memory.Value.Value())
	}
}

func migProfile(d *resourcev1.Device) string {
	if text(d, "type") != "mig" {
		return ""
	}
	return firstOf(text(d, "profile"), "unknown")
}

func text(d *resourcev1.Device, name resourcev1.QualifiedName) string {
	a := d.Attributes[name]
	switch {
	case a.StringValue != nil:
		return *a.StringValue
	case a.VersionValue != nil:
		return *a.VersionValue
	}
	return ""
}

// claimed is what a claim takes from the nodes, by node.
func (p pools) claimed(c *resourcev1.ResourceClaim) map[string]Resources {
	if c.Status.Allocation == nil {
		return nil
	}
	taken := map[string]Resources{}
	for _, result := range c.Status.Allocation.Devices.Results {
		pool := p[result.Pool]
		if result.Driver != driverDRA || pool == nil || result.AdminAccess != nil && *result.AdminAccess {
			continue
		}
		r := taken[pool.node]
		if d := pool.devices[result.Device]; migProfile(&d) != "" {
			r.addMIG(migProfile(&d), 1)
		} else {
			r.GPUs++
		}
		taken[pool.node] = r
	}
	return taken
}

// holdersOf are the pods that a claim is reserved for.
func holdersOf(c *resourcev1.ResourceClaim) []string {
	var pods []string
	for _, r := range c.Status.ReservedFor {
		if r.APIGroup == corev1.GroupName && r.Resource == "pods" {
			pods = append(pods, r.Name)
		}
	}
	return pods
}
