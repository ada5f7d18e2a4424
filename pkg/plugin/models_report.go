package plugin

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// modelsSchema names the layout of modelsReport. The number rises when a field
// changes its meaning or disappears; new fields do not change it.
const modelsSchema = "kubectl-triton/models/v1"

// stateNotLoaded is the state of a model that was never loaded; Triton's index
// has none for it.
const stateNotLoaded = "NOT_LOADED"

// modelsReport is all that "models" found out; every form of output is made of
// it. What is absent is not known.
type modelsReport struct {
	Schema      string        `json:"schema"`
	ToolVersion string        `json:"tool_version"`
	Time        time.Time     `json:"time"` // of the reading
	Context     string        `json:"context,omitempty"`
	Namespace   string        `json:"namespace"`
	Service     string        `json:"service"`
	Pods        []modelsPod   `json:"pods"`
	Models      []modelReport `json:"models"`
}

// modelsPod is one pod behind the Service. Problem says why its models are not
// known.
type modelsPod struct {
	Name           string `json:"name"`
	Node           string `json:"node,omitempty"`
	Ready          bool   `json:"ready"`
	NotReadyReason string `json:"not_ready_reason,omitempty"`
	TritonVersion  string `json:"triton_version,omitempty"`
	Problem        string `json:"problem,omitempty"`
}

// modelReport is a version of a model on the pods that have it in the same state
// and with the same configuration. Served adds their counters up.
type modelReport struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	State   string `json:"state"` // Triton's, or NOT_LOADED
	Reason  string `json:"reason,omitempty"`
	modelFacts
	Pods   []string     `json:"pods"`
	Served *modelServed `json:"served,omitempty"`
	// LoadSeconds is how long loading took, on the slowest of the pods.
	LoadSeconds *float64 `json:"load_seconds,omitempty"`
}

// modelFacts are what a model's configuration says; all zero unless Configured.
type modelFacts struct {
	Configured    bool              `json:"configured"`
	ConfigProblem string            `json:"config_problem,omitempty"`
	Platform      string            `json:"platform,omitempty"`
	Backend       string            `json:"backend,omitempty"`
	Instances     []modelInstances  `json:"instances,omitempty"`
	MaxBatchSize  int               `json:"max_batch_size"` // 0: requests have no batch dimension
	Batching      *modelBatching    `json:"dynamic_batching,omitempty"`
	Sequence      bool              `json:"sequence_batching"`
	Decoupled     bool              `json:"decoupled"`
	ResponseCache bool              `json:"response_cache"`
	Inputs        []modelTensor     `json:"inputs,omitempty"`
	Outputs       []modelTensor     `json:"outputs,omitempty"`
	Steps         []modelStepReport `json:"ensemble_steps,omitempty"`
}

// modelInstances are instances on the same kind of device: Count on each of the
// GPUs, or Count in all.
type modelInstances struct {
	Kind  string `json:"kind"` // gpu, cpu, model or auto
	Count int    `json:"count"`
	GPUs  []int  `json:"gpus,omitempty"`
}

type modelBatching struct {
	PreferredBatchSizes []int  `json:"preferred_batch_sizes,omitempty"`
	MaxQueueDelayUS     uint64 `json:"max_queue_delay_us"`
	MaxQueueSize        uint32 `json:"max_queue_size"` // requests; 0 for no bound
	DefaultTimeoutUS    uint64 `json:"default_timeout_us"`
	TimeoutAction       string `json:"timeout_action,omitempty"`
	PriorityLevels      uint64 `json:"priority_levels"`
}

// modelTensor is an input or output; its dimensions are without the batch's, -1
// for one that a request decides.
type modelTensor struct {
	Name     string  `json:"name"`
	Type     string  `json:"datatype"`
	Dims     []int64 `json:"dims"`
	Optional bool    `json:"optional,omitempty"`
}

type modelStepReport struct {
	Model   string `json:"model"`
	Version int64  `json:"version"` // -1: the newest
}

// modelServed are requests since the model was loaded.
type modelServed struct {
	Succeeded     uint64     `json:"requests_succeeded"`
	Failed        uint64     `json:"requests_failed"`
	LastInference *time.Time `json:"last_inference,omitempty"`
}

// newModelsReport groups what the pods said; names limit it to some models.
func newModelsReport(reading *modelsReading, names []string, context string) *modelsReport {
	r := &modelsReport{Schema: modelsSchema, ToolVersion: Version(), Time: reading.time.UTC(), Context: context,
		Namespace: reading.service.Namespace, Service: reading.service.Name,
		Pods: []modelsPod{}, Models: []modelReport{}}
	same := map[string]int{} // index in Models by all that must be the same
	for _, p := range reading.pods {
		pod := modelsPod{Name: p.ref.Name, Node: p.ref.Node, Ready: p.ready, NotReadyReason: p.reason, TritonVersion: p.version}
		if p.err != nil {
			pod.Problem = p.err.Error()
		}
		r.Pods = append(r.Pods, pod)
		for _, m := range p.models {
			if len(names) > 0 && !slices.Contains(names, m.Name) {
				continue
			}
			line := describeModel(m)
			// The encoding of plain data can't fail, and equal data has equal ones.
			key, _ := json.Marshal(line)
			i, known := same[string(key)]
			if !known {
				i = len(r.Models)
				same[string(key)] = i
				r.Models = append(r.Models, line)
			}
			r.Models[i].add(p.ref.Name, m)
		}
	}
	slices.SortStableFunc(r.Models, func(a, b modelReport) int {
		x, _ := strconv.Atoi(a.Version)
		y, _ := strconv.Atoi(b.Version)
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(x, y), cmp.Compare(a.Version, b.Version))
	})
	return r
}

// names are those of all models, each once.
func (r *modelsReport) names() []string {
	var names []string
	for _, m := range r.Models {
		names = append(names, m.Name)
	}
	return slices.Compact(names)
}

// describeModel is what has to be the same on two pods for one line.
func describeModel(m podModel) modelReport {
	r := modelReport{Name: m.Name, Version: m.Version, State: cmp.Or(m.State, stateNotLoaded), Reason: m.Reason}
	if m.configErr != nil {
		r.ConfigProblem = m.configErr.Error()
	}
	if m.config != nil {
		r.modelFacts = describeConfig(m.config)
	}
	return r
}

// add counts one more pod in.
func (r *modelReport) add(pod string, m podModel) {
	r.Pods = append(r.Pods, pod)
	if s := m.stats; s != nil {
		if r.Served == nil {
			r.Served = &modelServed{}
		}
		r.Served.Succeeded += s.Success.Count
		r.Served.Failed += s.Fail.Count
		if last := s.LastInference.UTC(); !s.LastInference.IsZero() && (r.Served.LastInference == nil || last.After(*r.Served.LastInference)) {
			r.Served.LastInference = &last
		}
	}
	// Older servers have counters, but not this one.
	if c := m.counters; c != nil && m.Ready() && c.LoadTime > 0 {
		took := c.LoadTime.Seconds()
		if r.LoadSeconds == nil || took > *r.LoadSeconds {
			r.LoadSeconds = &took
		}
	}
}

func describeConfig(c *triton.ModelConfig) modelFacts {
	f := modelFacts{Configured: true, Platform: c.Platform, Backend: c.Backend, MaxBatchSize: c.MaxBatchSize,
		Sequence: c.SequenceBatching != nil, Decoupled: c.ModelTransactionPolicy.Decoupled, ResponseCache: c.ResponseCache.Enable}
	kinds := map[string]string{"KIND_GPU": "gpu", "KIND_CPU": "cpu", "KIND_MODEL": "model"}
	for _, g := range c.InstanceGroup {
		f.Instances = append(f.Instances, modelInstances{Kind: cmp.Or(kinds[g.Kind], "auto"), Count: g.Count, GPUs: g.GPUs})
	}
	if d := c.DynamicBatching; d != nil {
		f.Batching = &modelBatching{PreferredBatchSizes: d.PreferredBatchSize, MaxQueueDelayUS: d.MaxQueueDelayMicroseconds, PriorityLevels: d.PriorityLevels}
		if q := d.DefaultQueuePolicy; q != nil {
			f.Batching.MaxQueueSize, f.Batching.DefaultTimeoutUS, f.Batching.TimeoutAction = q.MaxQueueSize, q.DefaultTimeoutMicroseconds, q.TimeoutAction
		}
	}
	for _, in := range c.Input {
		f.Inputs = append(f.Inputs, modelTensor{Name: in.Name, Type: string(in.DataType), Dims: in.Dims, Optional: in.Optional})
	}
	for _, out := range c.Output {
		f.Outputs = append(f.Outputs, modelTensor{Name: out.Name, Type: string(out.DataType), Dims: out.Dims})
	}
	if c.EnsembleScheduling != nil {
		for _, s := range c.EnsembleScheduling.Step {
			f.Steps = append(f.Steps, modelStepReport{Model: s.ModelName, Version: s.ModelVersion})
		}
	}
	return f
}
