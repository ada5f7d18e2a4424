package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// DefaultName is the instance's name when none is given.
	DefaultName = "default"

	maxNodes        = 256
	maxGPUsPerNode  = 16
	maxNameLength   = 32
	minScrapePeriod = 100 * time.Millisecond
)

// Options say what an instance consists of.
type Options struct {
	Name           string            `json:"name"`
	CPUNodes       int               `json:"cpuNodes"`
	GPUNodes       int               `json:"gpuNodes"`
	GPUsPerNode    int               `json:"gpusPerNode"`
	GPUNodeLabels  map[string]string `json:"gpuNodeLabels,omitempty"` // beside the usual ones
	GPUNodeTaints  []string          `json:"gpuNodeTaints,omitempty"` // as kubectl writes them, key=value:effect; none: the device plugin's
	TritonReplicas int               `json:"tritonReplicas"`
	Models         string            `json:"models"` // a file or directory of model descriptions; empty for the built-in ones
	Stack          bool              `json:"stack"`  // Prometheus, Grafana and dcgm-exporter
	ScrapeInterval time.Duration     `json:"scrapeInterval"`
	Audit          bool              `json:"audit,omitempty"` // record clients' requests to the API server
	Timeout        time.Duration     `json:"timeout"`         // of the whole bring-up
}

// DefaultOptions are the main job's: two GPU nodes, one CPU node, the whole stack.
func DefaultOptions() Options {
	return Options{
		Name: DefaultName, CPUNodes: 1, GPUNodes: 2, GPUsPerNode: 2,
		TritonReplicas: 1, Stack: true, ScrapeInterval: time.Second, Timeout: 2 * time.Minute,
	}
}

// Validate tells the first thing that can't work.
func (o Options) Validate() error {
	if err := validateName(o.Name); err != nil {
		return err
	}
	switch gpus := o.GPUNodes * o.GPUsPerNode; {
	case o.CPUNodes < 0 || o.GPUNodes < 0:
		return errors.New("the number of nodes can't be negative")
	case o.CPUNodes+o.GPUNodes == 0:
		return errors.New("a cluster needs at least one node")
	case o.CPUNodes+o.GPUNodes > maxNodes:
		return fmt.Errorf("%d nodes are more than the %d that the pod network has addresses for", o.CPUNodes+o.GPUNodes, maxNodes)
	case o.GPUNodes > 0 && (o.GPUsPerNode < 1 || o.GPUsPerNode > maxGPUsPerNode):
		return fmt.Errorf("a GPU node has 1 to %d GPUs, not %d", maxGPUsPerNode, o.GPUsPerNode)
	case len(o.GPUNodeLabels) > 0 && o.GPUNodes == 0, len(o.GPUNodeTaints) > 0 && o.GPUNodes == 0:
		return errors.New("labels and taints of GPU nodes need a GPU node")
	case o.TritonReplicas < 0:
		return errors.New("the number of Triton replicas can't be negative")
	case o.TritonReplicas > gpus:
		return fmt.Errorf("%d Triton replicas need one GPU each, but there are %d; add GPU nodes or start fewer replicas", o.TritonReplicas, gpus)
	case o.Stack && o.CPUNodes == 0:
		return errors.New("the stack (Prometheus, Grafana) needs a CPU node, since the GPU nodes are tainted; add one or leave out the stack")
	case o.ScrapeInterval < minScrapePeriod:
		return fmt.Errorf("a scrape interval of %s is too short; the least is %s", o.ScrapeInterval, minScrapePeriod)
	case o.Timeout <= 0:
		return errors.New("the timeout must be longer than zero")
	}
	_, err := o.gpuTaints()
	return err
}

// gpuTaints parses the taints of GPU nodes; it returns nil without any.
func (o Options) gpuTaints() ([]corev1.Taint, error) {
	var taints []corev1.Taint
	for _, text := range o.GPUNodeTaints {
		key, effect, ok := strings.Cut(text, ":")
		name, value, _ := strings.Cut(key, "=")
		switch corev1.TaintEffect(effect) {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			ok = false
		}
		if !ok || len(validation.IsQualifiedName(name)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return nil, fmt.Errorf("%q is not a taint; write key=value:NoSchedule, or another effect", text)
		}
		taints = append(taints, corev1.Taint{Key: name, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return taints, nil
}

// programs are the executables that the instance's pods run.
func (o Options) programs() []string {
	var names []string
	if o.TritonReplicas > 0 {
		names = append(names, "tritonserver")
	}
	if o.Stack {
		names = append(names, "prometheus", "grafana")
		if o.GPUNodes > 0 {
			names = append(names, "dcgm-exporter")
		}
	}
	return names
}

func validateName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`).MatchString(name) || len(name) > maxNameLength {
		return fmt.Errorf("%q is not a usable instance name: it takes up to %d lower-case letters, digits and dashes, and begins and ends with a letter or digit", name, maxNameLength)
	}
	return nil
}
