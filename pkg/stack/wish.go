package stack

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Wish is what the stack in a namespace is to be.
type Wish struct {
	Namespace string
	// Source says where charts come from.
	Source Source
	// Profile is lite, standard or full; Platform generic, gke, eks or aks.
	Profile, Platform string
	// ScrapeInterval is of Triton and the GPUs; CollectInterval is how often
	// dcgm-exporter reads the GPUs.
	ScrapeInterval, CollectInterval time.Duration
	// PrometheusValues and ExporterValues are the user's, over everything else.
	PrometheusValues, ExporterValues Values
	SkipKeyCheck                     bool

	// Prometheus names the one to use ("namespace/name"), where several are.
	Prometheus string
	// Adopt takes over the values of releases with the stack's names that
	// somebody else made; Recover those whose last operation was killed.
	Adopt, Recover bool

	// AsInstalled compares what is there with Helm's own records instead of the
	// charts: nothing is fetched, and whatever values were given hold.
	AsInstalled bool

	// Placement says where dcgm-exporter has to run.
	Placement Placement
	// Exporters are GPU exporters that are there already, own releases' apart.
	Exporters []ExistingExporter
	// Tritons are the servers to watch.
	Tritons []Target
}

// Placement says on which nodes dcgm-exporter runs.
type Placement struct {
	NodeSelector map[string]string
	Affinity     *corev1.Affinity
	Tolerations  []corev1.Toleration
	RuntimeClass string
	// GPUNodes is how many there are; 0 leaves the exporter out.
	GPUNodes int
	Why      string
}

// ExistingExporter is a GPU exporter that is reused.
type ExistingExporter struct {
	Target
	What string // such as "the GPU Operator's exporter"
}
