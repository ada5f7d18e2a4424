package triton

import (
	"context"
	"strconv"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

func versionText(m *core.Model) string { return strconv.FormatInt(m.Version, 10) }

// Check is the standard health check; the service's name is ignored.
func (g *grpcAPI) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if !g.core.Ready() {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: status}, nil
}

// ServerLive says that the server runs.
func (g *grpcAPI) ServerLive(context.Context, *inferencepb.ServerLiveRequest) (*inferencepb.ServerLiveResponse, error) {
	return &inferencepb.ServerLiveResponse{Live: true}, nil
}

// ServerReady says whether every model is ready.
func (g *grpcAPI) ServerReady(context.Context, *inferencepb.ServerReadyRequest) (*inferencepb.ServerReadyResponse, error) {
	return &inferencepb.ServerReadyResponse{Ready: g.core.Ready()}, nil
}

// ModelReady says whether one model is ready; an unknown one isn't.
func (g *grpcAPI) ModelReady(_ context.Context, in *inferencepb.ModelReadyRequest) (*inferencepb.ModelReadyResponse, error) {
	_, err := g.core.Find(in.Name, in.Version)
	return &inferencepb.ModelReadyResponse{Ready: err == nil}, nil
}

// ServerMetadata names the server and its extensions.
func (g *grpcAPI) ServerMetadata(context.Context, *inferencepb.ServerMetadataRequest) (*inferencepb.ServerMetadataResponse, error) {
	return &inferencepb.ServerMetadataResponse{Name: "triton", Version: Version, Extensions: extensions()}, nil
}

// ModelMetadata describes one model's inputs and outputs.
func (g *grpcAPI) ModelMetadata(_ context.Context, in *inferencepb.ModelMetadataRequest) (*inferencepb.ModelMetadataResponse, error) {
	m, err := g.core.Find(in.Name, in.Version)
	if err != nil {
		return nil, grpcError(err)
	}
	out := &inferencepb.ModelMetadataResponse{Name: m.Name, Versions: metadataVersions(g.core, m, in.Version), Platform: m.Platform()}
	describe := func(name string, dtype inferencepb.DataType, dims []int64, shapeTensor bool) *inferencepb.ModelMetadataResponse_TensorMetadata {
		return &inferencepb.ModelMetadataResponse_TensorMetadata{
			Name: name, Datatype: tensor.FromConfig(dtype).String(), Shape: metadataShape(m, dims, shapeTensor),
		}
	}
	for _, t := range m.Config.Input {
		out.Inputs = append(out.Inputs, describe(t.Name, t.DataType, t.Dims, t.IsShapeTensor))
	}
	for _, t := range m.Config.Output {
		out.Outputs = append(out.Outputs, describe(t.Name, t.DataType, t.Dims, t.IsShapeTensor))
	}
	return out, nil
}

// ModelConfig is one model's completed configuration.
func (g *grpcAPI) ModelConfig(_ context.Context, in *inferencepb.ModelConfigRequest) (*inferencepb.ModelConfigResponse, error) {
	m, err := g.core.Find(in.Name, in.Version)
	if err != nil {
		return nil, grpcError(err)
	}
	return &inferencepb.ModelConfigResponse{Config: m.Config}, nil
}

// ModelStatistics are the cumulative statistics of one model or all.
func (g *grpcAPI) ModelStatistics(_ context.Context, in *inferencepb.ModelStatisticsRequest) (*inferencepb.ModelStatisticsResponse, error) {
	models, err := g.core.Select(in.Name, in.Version)
	if err != nil {
		return nil, grpcError(err)
	}
	out := &inferencepb.ModelStatisticsResponse{}
	for _, m := range models {
		out.ModelStats = append(out.ModelStats, grpcStats(m))
	}
	return out, nil
}

func grpcStats(m *core.Model) *inferencepb.ModelStatistics {
	s := m.Stats()
	duration := func(d core.Duration) *inferencepb.StatisticDuration {
		return &inferencepb.StatisticDuration{Count: d.Count, Ns: d.Ns}
	}
	out := &inferencepb.ModelStatistics{
		Name: m.Name, Version: versionText(m), LastInference: uint64(s.LastInference),
		InferenceCount: s.InferenceCount, ExecutionCount: s.ExecutionCount,
		InferenceStats: &inferencepb.InferStatistics{
			Success: duration(s.Success), Fail: duration(s.Fail), Queue: duration(s.Queue),
			ComputeInput: duration(s.ComputeInput), ComputeInfer: duration(s.ComputeInfer), ComputeOutput: duration(s.ComputeOutput),
			CacheHit: duration(s.CacheHit), CacheMiss: duration(s.CacheMiss),
		},
	}
	for _, b := range s.Batches {
		out.BatchStats = append(out.BatchStats, &inferencepb.InferBatchStatistics{
			BatchSize: uint64(b.Size), ComputeInput: duration(b.ComputeInput), ComputeInfer: duration(b.ComputeInfer), ComputeOutput: duration(b.ComputeOutput),
		})
	}
	for i, r := range s.Responses {
		if out.ResponseStats == nil {
			out.ResponseStats = map[string]*inferencepb.InferResponseStatistics{}
		}
		out.ResponseStats[strconv.Itoa(i)] = &inferencepb.InferResponseStatistics{
			ComputeInfer: duration(r.ComputeInfer), ComputeOutput: duration(r.ComputeOutput), Success: duration(r.Success),
			Fail: duration(r.Fail), EmptyResponse: duration(r.Empty), Cancel: duration(r.Cancel),
		}
	}
	return out
}

// RepositoryIndex lists the models of the repository.
func (g *grpcAPI) RepositoryIndex(_ context.Context, in *inferencepb.RepositoryIndexRequest) (*inferencepb.RepositoryIndexResponse, error) {
	out := &inferencepb.RepositoryIndexResponse{}
	for _, e := range g.core.Index(in.Ready) {
		out.Models = append(out.Models, &inferencepb.RepositoryIndexResponse_ModelIndex{Name: e.Name, Version: e.Version, State: e.State, Reason: e.Reason})
	}
	return out, nil
}

// RepositoryModelLoad loads a model and waits for it.
func (g *grpcAPI) RepositoryModelLoad(_ context.Context, in *inferencepb.RepositoryModelLoadRequest) (*inferencepb.RepositoryModelLoadResponse, error) {
	if !g.explicit {
		return nil, grpcError(notExplicit())
	}
	var override []byte
	if p, ok := in.Parameters["config"]; ok {
		override = []byte(p.GetStringParam())
	}
	if err := g.core.Load(in.ModelName, override); err != nil {
		return nil, grpcError(err)
	}
	return &inferencepb.RepositoryModelLoadResponse{}, nil
}

// RepositoryModelUnload begins to unload a model.
func (g *grpcAPI) RepositoryModelUnload(_ context.Context, in *inferencepb.RepositoryModelUnloadRequest) (*inferencepb.RepositoryModelUnloadResponse, error) {
	if !g.explicit {
		return nil, grpcError(notExplicit())
	}
	g.core.Unload(in.ModelName)
	return &inferencepb.RepositoryModelUnloadResponse{}, nil
}

// SystemSharedMemoryStatus lists no regions: clients on other machines have none.
func (g *grpcAPI) SystemSharedMemoryStatus(context.Context, *inferencepb.SystemSharedMemoryStatusRequest) (*inferencepb.SystemSharedMemoryStatusResponse, error) {
	return &inferencepb.SystemSharedMemoryStatusResponse{}, nil
}

// SystemSharedMemoryUnregister has nothing to do.
func (g *grpcAPI) SystemSharedMemoryUnregister(context.Context, *inferencepb.SystemSharedMemoryUnregisterRequest) (*inferencepb.SystemSharedMemoryUnregisterResponse, error) {
	return &inferencepb.SystemSharedMemoryUnregisterResponse{}, nil
}

// CudaSharedMemoryStatus lists no regions.
func (g *grpcAPI) CudaSharedMemoryStatus(context.Context, *inferencepb.CudaSharedMemoryStatusRequest) (*inferencepb.CudaSharedMemoryStatusResponse, error) {
	return &inferencepb.CudaSharedMemoryStatusResponse{}, nil
}

// CudaSharedMemoryUnregister has nothing to do.
func (g *grpcAPI) CudaSharedMemoryUnregister(context.Context, *inferencepb.CudaSharedMemoryUnregisterRequest) (*inferencepb.CudaSharedMemoryUnregisterResponse, error) {
	return &inferencepb.CudaSharedMemoryUnregisterResponse{}, nil
}

// TraceSetting is refused: the server was built without tracing.
func (g *grpcAPI) TraceSetting(context.Context, *inferencepb.TraceSettingRequest) (*inferencepb.TraceSettingResponse, error) {
	return nil, grpcError(core.Errorf(core.Unavailable, "the server does not support trace"))
}

// LogSettings shows and changes the log settings.
func (g *grpcAPI) LogSettings(_ context.Context, in *inferencepb.LogSettingsRequest) (*inferencepb.LogSettingsResponse, error) {
	if err := g.logging.updateGRPC(in); err != nil {
		return nil, grpcError(err)
	}
	return g.logging.grpc(), nil
}
