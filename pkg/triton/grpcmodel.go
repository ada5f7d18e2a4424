package triton

import (
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// configOf is a model's configuration as ModelConfig has it.
func configOf(c *inferencepb.ModelConfig) ModelConfig {
	m := ModelConfig{
		Name: c.GetName(), Platform: c.GetPlatform(), Backend: c.GetBackend(), MaxBatchSize: int(c.GetMaxBatchSize()),
		ModelTransactionPolicy: ModelTransactionPolicy{Decoupled: c.GetModelTransactionPolicy().GetDecoupled()},
		ResponseCache:          ResponseCache{Enable: c.GetResponseCache().GetEnable()},
	}
	for _, i := range c.GetInput() {
		m.Input = append(m.Input, InputConfig{
			Name: i.GetName(), DataType: datatypeOf(i.GetDataType()), Format: i.GetFormat().String(), Dims: i.GetDims(), Reshape: reshapeOf(i.GetReshape()),
			IsShapeTensor: i.GetIsShapeTensor(), AllowRaggedBatch: i.GetAllowRaggedBatch(), Optional: i.GetOptional(),
		})
	}
	for _, o := range c.GetOutput() {
		m.Output = append(m.Output, OutputConfig{
			Name: o.GetName(), DataType: datatypeOf(o.GetDataType()), Dims: o.GetDims(), Reshape: reshapeOf(o.GetReshape()),
			LabelFilename: o.GetLabelFilename(), IsShapeTensor: o.GetIsShapeTensor(),
		})
	}
	for _, g := range c.GetInstanceGroup() {
		group := InstanceGroup{Name: g.GetName(), Kind: g.GetKind().String(), Count: int(g.GetCount())}
		for _, gpu := range g.GetGpus() {
			group.GPUs = append(group.GPUs, int(gpu))
		}
		m.InstanceGroup = append(m.InstanceGroup, group)
	}
	m.DynamicBatching = dynamicBatchingOf(c.GetDynamicBatching())
	m.SequenceBatching = sequenceBatchingOf(c.GetSequenceBatching())
	if e := c.GetEnsembleScheduling(); e != nil {
		m.EnsembleScheduling = &EnsembleScheduling{}
		for _, s := range e.GetStep() {
			m.EnsembleScheduling.Step = append(m.EnsembleScheduling.Step, EnsembleStep{
				ModelName: s.GetModelName(), ModelVersion: s.GetModelVersion(), InputMap: s.GetInputMap(), OutputMap: s.GetOutputMap(),
			})
		}
	}
	for name, p := range c.GetParameters() {
		if m.Parameters == nil {
			m.Parameters = map[string]ModelParameter{}
		}
		m.Parameters[name] = ModelParameter{StringValue: p.GetStringValue()}
	}
	return m
}

// datatypeOf turns TYPE_FP32 into FP32.
func datatypeOf(t inferencepb.DataType) Datatype {
	if t == inferencepb.DataType_TYPE_STRING {
		return Bytes
	}
	return Datatype(strings.TrimPrefix(t.String(), "TYPE_"))
}

func reshapeOf(r *inferencepb.ModelTensorReshape) *Reshape {
	if r == nil {
		return nil
	}
	return &Reshape{Shape: r.GetShape()}
}

func dynamicBatchingOf(d *inferencepb.ModelDynamicBatching) *DynamicBatching {
	if d == nil {
		return nil
	}
	b := &DynamicBatching{
		MaxQueueDelayMicroseconds: d.GetMaxQueueDelayMicroseconds(), PreserveOrdering: d.GetPreserveOrdering(),
		PriorityLevels: d.GetPriorityLevels(), DefaultPriorityLevel: d.GetDefaultPriorityLevel(),
		DefaultQueuePolicy: queuePolicyOf(d.GetDefaultQueuePolicy()),
	}
	for _, size := range d.GetPreferredBatchSize() {
		b.PreferredBatchSize = append(b.PreferredBatchSize, int(size))
	}
	for level, p := range d.GetPriorityQueuePolicy() {
		if b.PriorityQueuePolicy == nil {
			b.PriorityQueuePolicy = map[string]QueuePolicy{}
		}
		b.PriorityQueuePolicy[strconv.FormatUint(level, 10)] = *queuePolicyOf(p)
	}
	return b
}

func queuePolicyOf(p *inferencepb.ModelQueuePolicy) *QueuePolicy {
	if p == nil {
		return nil
	}
	return &QueuePolicy{
		TimeoutAction: p.GetTimeoutAction().String(), DefaultTimeoutMicroseconds: p.GetDefaultTimeoutMicroseconds(),
		AllowTimeoutOverride: p.GetAllowTimeoutOverride(), MaxQueueSize: p.GetMaxQueueSize(),
	}
}

func sequenceBatchingOf(s *inferencepb.ModelSequenceBatching) *SequenceBatching {
	if s == nil {
		return nil
	}
	b := &SequenceBatching{MaxSequenceIdleMicroseconds: s.GetMaxSequenceIdleMicroseconds()}
	for _, in := range s.GetControlInput() {
		input := SequenceControlInput{Name: in.GetName()}
		for _, c := range in.GetControl() {
			input.Control = append(input.Control, SequenceControl{Kind: c.GetKind().String(), DataType: datatypeOf(c.GetDataType())})
		}
		b.ControlInput = append(b.ControlInput, input)
	}
	return b
}

// statisticsOf are a model's counters as ModelStatistics has them.
func statisticsOf(m *inferencepb.ModelStatistics) ModelStatistics {
	sum := m.GetInferenceStats()
	s := ModelStatistics{
		Name: m.GetName(), Version: m.GetVersion(),
		InferenceCount: m.GetInferenceCount(), ExecutionCount: m.GetExecutionCount(),
		Success: durationOf(sum.GetSuccess()), Fail: durationOf(sum.GetFail()), Queue: durationOf(sum.GetQueue()),
		ComputeInput: durationOf(sum.GetComputeInput()), ComputeInfer: durationOf(sum.GetComputeInfer()), ComputeOutput: durationOf(sum.GetComputeOutput()),
		CacheHit: durationOf(sum.GetCacheHit()), CacheMiss: durationOf(sum.GetCacheMiss()),
	}
	if ms := m.GetLastInference(); ms != 0 {
		s.LastInference = time.UnixMilli(int64(ms))
	}
	for _, b := range m.GetBatchStats() {
		s.BatchStats = append(s.BatchStats, BatchStatistics{
			BatchSize: b.GetBatchSize(), ComputeInput: durationOf(b.GetComputeInput()),
			ComputeInfer: durationOf(b.GetComputeInfer()), ComputeOutput: durationOf(b.GetComputeOutput()),
		})
	}
	for index, r := range m.GetResponseStats() {
		if s.ResponseStats == nil {
			s.ResponseStats = map[string]ResponseStatistics{}
		}
		s.ResponseStats[index] = ResponseStatistics{
			ComputeInfer: durationOf(r.GetComputeInfer()), ComputeOutput: durationOf(r.GetComputeOutput()), Success: durationOf(r.GetSuccess()),
			Fail: durationOf(r.GetFail()), EmptyResponse: durationOf(r.GetEmptyResponse()), Cancel: durationOf(r.GetCancel()),
		}
	}
	return s
}

func durationOf(d *inferencepb.StatisticDuration) StatisticDuration {
	return StatisticDuration{Count: d.GetCount(), NS: d.GetNs()}
}
