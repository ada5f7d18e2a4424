package triton

// ServerMetadata is what a server says of itself.
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// ModelMetadata describes a model's tensors. Shapes of a model that batches
// begin with a -1 for the batch, which only ModelConfig.MaxBatchSize tells from
// a variable dimension.
type ModelMetadata struct {
	Name     string   `json:"name"`
	Versions []string `json:"versions"`
	Platform string   `json:"platform"`
	Inputs   []Tensor `json:"inputs"`
	Outputs  []Tensor `json:"outputs"`
}

// ModelIndex is one line of the repository's index. A model that was never
// loaded has only a name; Reason says why a model is not ready.
type ModelIndex struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// Ready tells whether this version serves requests.
func (m ModelIndex) Ready() bool { return m.State == "READY" }

// ModelConfig is the part of a model's configuration that decides how requests
// have to look and what can be expected of the model under load.
type ModelConfig struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Backend  string `json:"backend"`
	// MaxBatchSize is 0 for a model without a batch dimension.
	MaxBatchSize           int                       `json:"max_batch_size"`
	Input                  []InputConfig             `json:"input"`
	Output                 []OutputConfig            `json:"output"`
	InstanceGroup          []InstanceGroup           `json:"instance_group"`
	DynamicBatching        *DynamicBatching          `json:"dynamic_batching"`
	SequenceBatching       *SequenceBatching         `json:"sequence_batching"`
	EnsembleScheduling     *EnsembleScheduling       `json:"ensemble_scheduling"`
	ModelTransactionPolicy ModelTransactionPolicy    `json:"model_transaction_policy"`
	ResponseCache          ResponseCache             `json:"response_cache"`
	Parameters             map[string]ModelParameter `json:"parameters"`
}

// ModelParameter is a setting that the backend knows.
type ModelParameter struct {
	StringValue string `json:"string_value"`
}

// InputConfig is one input. Dims has no batch dimension, and is what a client
// sends even where Reshape makes the backend see another shape.
type InputConfig struct {
	Name             string   `json:"name"`
	DataType         Datatype `json:"data_type"`
	Format           string   `json:"format"`
	Dims             []int64  `json:"dims"`
	Reshape          *Reshape `json:"reshape"`
	IsShapeTensor    bool     `json:"is_shape_tensor"`
	AllowRaggedBatch bool     `json:"allow_ragged_batch"`
	Optional         bool     `json:"optional"`
}

// OutputConfig is one output; Dims has no batch dimension.
type OutputConfig struct {
	Name          string   `json:"name"`
	DataType      Datatype `json:"data_type"`
	Dims          []int64  `json:"dims"`
	Reshape       *Reshape `json:"reshape"`
	LabelFilename string   `json:"label_filename"`
	IsShapeTensor bool     `json:"is_shape_tensor"`
}

// Reshape is the shape that the backend sees instead of the client's.
type Reshape struct {
	Shape []int64 `json:"shape"`
}

// InstanceGroup is a number of instances of the model on the same kind of
// device, KIND_GPU or KIND_CPU.
type InstanceGroup struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	GPUs  []int  `json:"gpus"`
}

// DynamicBatching is present when the server joins requests into batches.
type DynamicBatching struct {
	PreferredBatchSize        []int                  `json:"preferred_batch_size"`
	MaxQueueDelayMicroseconds uint64                 `json:"max_queue_delay_microseconds"`
	PreserveOrdering          bool                   `json:"preserve_ordering"`
	PriorityLevels            uint64                 `json:"priority_levels"`
	DefaultPriorityLevel      uint64                 `json:"default_priority_level"`
	DefaultQueuePolicy        *QueuePolicy           `json:"default_queue_policy"`
	PriorityQueuePolicy       map[string]QueuePolicy `json:"priority_queue_policy"`
}

// QueuePolicy bounds a queue; 0 means no bound.
type QueuePolicy struct {
	TimeoutAction              string `json:"timeout_action"`
	DefaultTimeoutMicroseconds uint64 `json:"default_timeout_microseconds"`
	AllowTimeoutOverride       bool   `json:"allow_timeout_override"`
	MaxQueueSize               uint32 `json:"max_queue_size"`
}

// SequenceBatching is present when requests have to belong to sequences.
type SequenceBatching struct {
	MaxSequenceIdleMicroseconds uint64                 `json:"max_sequence_idle_microseconds"`
	ControlInput                []SequenceControlInput `json:"control_input"`
}

// SequenceControlInput is an input by which the server tells the model of a
// sequence's state.
type SequenceControlInput struct {
	Name    string            `json:"name"`
	Control []SequenceControl `json:"control"`
}

// SequenceControl is what a control input says.
type SequenceControl struct {
	Kind     string   `json:"kind"`
	DataType Datatype `json:"data_type"`
}

// EnsembleScheduling is present when the model is a chain of other models.
type EnsembleScheduling struct {
	Step []EnsembleStep `json:"step"`
}

// EnsembleStep is one model of the chain.
type EnsembleStep struct {
	ModelName    string            `json:"model_name"`
	ModelVersion int64             `json:"model_version"`
	InputMap     map[string]string `json:"input_map"`
	OutputMap    map[string]string `json:"output_map"`
}

// ModelTransactionPolicy tells whether a request may have any number of
// responses.
type ModelTransactionPolicy struct {
	Decoupled bool `json:"decoupled"`
}

// ResponseCache tells whether equal requests may be answered from a cache.
type ResponseCache struct {
	Enable bool `json:"enable"`
}
