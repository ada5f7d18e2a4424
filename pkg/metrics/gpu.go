package metrics

// NamespacedName names one object of a namespace.
type NamespacedName struct{ Namespace, Name string }

func (n NamespacedName) String() string { return n.Namespace + "/" + n.Name }

// GPU identifies a GPU, or one MIG instance of it.
type GPU struct {
	UUID  string
	Index string // the driver's number on its node; "" when unknown
	Model string // e.g. NVIDIA A100-SXM4-40GB
	Node  string

	// The pod that holds the GPU; "" when none does or the source can't tell.
	Namespace, Pod, Container string

	// Both "" unless the GPU is partitioned.
	MIGProfile, MIGInstance string
}

// String names the GPU for a person.
func (g GPU) String() string {
	name := g.UUID
	if g.Index != "" {
		name = "GPU " + g.Index
	}
	if g.MIGInstance != "" {
		name += " MIG " + g.MIGInstance
	}
	if g.Node != "" {
		name += " on " + g.Node
	}
	return name
}

// device is what distinguishes GPUs: MIG instances share their GPU's UUID.
type device struct{ uuid, migInstance string }

func (g GPU) device() device { return device{g.UUID, g.MIGInstance} }

// fill adds what other knows and g does not.
func (g *GPU) fill(other GPU) {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&g.Index, other.Index}, {&g.Model, other.Model}, {&g.Node, other.Node},
		{&g.MIGProfile, other.MIGProfile},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	if g.Pod == "" {
		g.Namespace, g.Pod, g.Container = other.Namespace, other.Pod, other.Container
	}
}

// uuidLabels are the labels that hold a GPU's UUID: dcgm-exporter's, its old
// namespace's, Triton's.
func uuidLabels() []string { return []string{"UUID", "uuid", "gpu_uuid"} }

// gpuFromLabels reads the identity that dcgm-exporter and Triton put on a
// series. Prometheus renames a scraped label that collides with one of the
// target's to exported_*; with honor_labels it doesn't, so both are read, and
// the exported one, which can only be the exporter's own, wins.
func gpuFromLabels(label func(string) string) GPU {
	first := func(names ...string) string {
		for _, n := range names {
			if v := label(n); v != "" {
				return v
			}
		}
		return ""
	}
	g := GPU{
		UUID:        first(uuidLabels()...),
		Index:       label("gpu"),
		Model:       label("modelName"),
		Node:        first("Hostname", "hostname", "node"),
		MIGProfile:  label("GPU_I_PROFILE"),
		MIGInstance: label("GPU_I_ID"),
	}
	for _, form := range [][3]string{
		{"exported_namespace", "exported_pod", "exported_container"},
		{"pod_namespace", "pod_name", "container_name"},
		{"namespace", "pod", "container"},
	} {
		if pod := label(form[1]); pod != "" {
			g.Namespace, g.Pod, g.Container = label(form[0]), pod, label(form[2])
			break
		}
	}
	return g
}
