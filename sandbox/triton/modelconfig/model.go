package modelconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// Model is one model file.
type Model struct {
	Config *inferencepb.ModelConfig
	Sim    Sim
}

// Parse reads one model file, YAML or JSON. name is used if the file sets none.
func Parse(name string, data []byte) (*Model, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("model file %s is neither YAML nor JSON: %w", name, err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(asJSON, &fields); err != nil {
		return nil, fmt.Errorf("model file %s must hold the fields of a model configuration: %w", name, err)
	}
	m := &Model{Config: &inferencepb.ModelConfig{}}
	if sim, ok := fields["sim"]; ok {
		if m.Sim, err = ParseSim(sim); err != nil {
			return nil, fmt.Errorf("model file %s: %w", name, err)
		}
		delete(fields, "sim")
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("model file %s: %w", name, err)
	}
	if err := protojson.Unmarshal(rest, m.Config); err != nil {
		return nil, fmt.Errorf("model file %s is not a model configuration: %w", name, err)
	}
	if m.Config.Name == "" {
		m.Config.Name = name
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Config.Name, err)
	}
	return m, nil
}

// WithOverride is the model with its configuration replaced, as a load request
// with a config parameter asks for.
func (m *Model) WithOverride(config []byte) (*Model, error) {
	override := &inferencepb.ModelConfig{}
	if err := protojson.Unmarshal(config, override); err != nil {
		return nil, fmt.Errorf("the override is not a model configuration: %w", err)
	}
	override.Name = m.Config.Name
	replaced := &Model{Config: override, Sim: m.Sim}
	return replaced, replaced.check()
}

func (m *Model) check() error {
	if m.Config.MaxBatchSize < 0 {
		return fmt.Errorf("max_batch_size is %d; it must be 0 (no batching) or more", m.Config.MaxBatchSize)
	}
	if m.Config.GetEnsembleScheduling() == nil && len(m.Config.Output) == 0 {
		return errors.New("it has no output")
	}
	for _, in := range m.Config.Input {
		if err := checkTensor("input", in.Name, in.DataType, in.Dims); err != nil {
			return err
		}
	}
	for _, out := range m.Config.Output {
		if err := checkTensor("output", out.Name, out.DataType, out.Dims); err != nil {
			return err
		}
	}
	if !slices.Contains(behaviours(), m.Sim.Behaviour) {
		return fmt.Errorf("sim.behaviour is %q; known are %s", m.Sim.Behaviour, strings.Join(behaviours()[1:], ", "))
	}
	return nil
}

func checkTensor(kind, name string, t inferencepb.DataType, dims []int64) error {
	if name == "" {
		return fmt.Errorf("an %s has no name", kind)
	}
	if t == inferencepb.DataType_TYPE_INVALID {
		return fmt.Errorf("%s %s has no data_type", kind, name)
	}
	if len(dims) == 0 {
		return fmt.Errorf("%s %s has no dims", kind, name)
	}
	for _, d := range dims {
		if d < -1 || d == 0 {
			return fmt.Errorf("%s %s has dimension %d; it must be -1 or more than 0", kind, name, d)
		}
	}
	return nil
}

// Versions are the model's versions in ascending order.
func (m *Model) Versions() []int64 {
	if len(m.Sim.Versions) == 0 {
		return []int64{1}
	}
	versions := slices.Clone(m.Sim.Versions)
	slices.Sort(versions)
	switch policy := m.Config.VersionPolicy.GetPolicyChoice().(type) {
	case *inferencepb.ModelVersionPolicy_All_:
	case *inferencepb.ModelVersionPolicy_Specific_:
		versions = slices.DeleteFunc(versions, func(v int64) bool { return !slices.Contains(policy.Specific.Versions, v) })
	default:
		n := max(1, int(m.Config.VersionPolicy.GetLatest().GetNumVersions()))
		versions = versions[max(0, len(versions)-n):]
	}
	return versions
}

// Complete fills in what Triton fills in when it loads a model. gpus are the
// indices of the devices that the server sees.
func (m *Model) Complete(gpus []int32) (*inferencepb.ModelConfig, error) {
	c := proto.CloneOf(m.Config)
	if c.VersionPolicy == nil {
		c.VersionPolicy = &inferencepb.ModelVersionPolicy{PolicyChoice: &inferencepb.ModelVersionPolicy_Latest_{
			Latest: &inferencepb.ModelVersionPolicy_Latest{NumVersions: 1}}}
	}
	if c.GetEnsembleScheduling() != nil {
		if c.Platform == "" {
			c.Platform = "ensemble"
		}
		if c.ModelTransactionPolicy == nil {
			c.ModelTransactionPolicy = &inferencepb.ModelTransactionPolicy{}
		}
		return c, nil
	}
	if c.Optimization == nil {
		c.Optimization = &inferencepb.ModelOptimizationPolicy{}
	}
	pinned := &c.Optimization.InputPinnedMemory
	for range 2 {
		if *pinned == nil {
			*pinned = &inferencepb.ModelOptimizationPolicy_PinnedMemoryBuffer{Enable: true}
		}
		pinned = &c.Optimization.OutputPinnedMemory
	}
	if b := c.GetDynamicBatching(); b != nil && len(b.PreferredBatchSize) == 0 && c.MaxBatchSize > 0 {
		b.PreferredBatchSize = []int32{c.MaxBatchSize}
	}
	if err := completeInstances(c, gpus); err != nil {
		return nil, err
	}
	return c, nil
}

func completeInstances(c *inferencepb.ModelConfig, gpus []int32) error {
	if len(c.InstanceGroup) == 0 {
		c.InstanceGroup = []*inferencepb.ModelInstanceGroup{{Name: c.Name}}
	}
	for i, group := range c.InstanceGroup {
		if group.Name == "" {
			group.Name = fmt.Sprintf("%s_%d", c.Name, i)
		}
		if group.Count == 0 {
			group.Count = 1
		}
		if group.Kind == inferencepb.ModelInstanceGroup_KIND_AUTO {
			group.Kind = inferencepb.ModelInstanceGroup_KIND_CPU
			if len(gpus) > 0 {
				group.Kind = inferencepb.ModelInstanceGroup_KIND_GPU
			}
		}
		if group.Kind != inferencepb.ModelInstanceGroup_KIND_GPU {
			continue
		}
		if len(gpus) == 0 {
			return fmt.Errorf("instance group %s of model %s has kind KIND_GPU but server does not see any GPUs", group.Name, c.Name)
		}
		if len(group.Gpus) == 0 {
			group.Gpus = slices.Clone(gpus)
		}
		for _, gpu := range group.Gpus {
			if !slices.Contains(gpus, gpu) {
				return fmt.Errorf("instance group %s of model %s specifies invalid or unsupported gpu id %d. GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are: %s", group.Name, c.Name, gpu, join(gpus))
			}
		}
	}
	return nil
}

func join(numbers []int32) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, " ")
}

// ReadRepository reads model files: one file, or all .yaml, .yml and .json
// files of a directory. Hidden names, such as the links that Kubernetes keeps
// inside a mounted ConfigMap, are passed over.
func ReadRepository(path string) (map[string]*Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the model repository: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = modelFiles(path); err != nil {
			return nil, err
		}
	}
	models := make(map[string]*Model, len(files))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the model repository: %w", err)
		}
		base := filepath.Base(file)
		m, err := Parse(strings.TrimSuffix(base, filepath.Ext(base)), data)
		if err != nil {
			return nil, err
		}
		if _, twice := models[m.Config.Name]; twice {
			return nil, fmt.Errorf("model %s is defined twice in %s", m.Config.Name, path)
		}
		models[m.Config.Name] = m
	}
	return models, nil
}

func modelFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the model repository: %w", err)
	}
	var files []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
		default:
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // follows a ConfigMap's links
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the model repository: %w", err)
		}
		files = append(files, path)
	}
	return files, nil
}
