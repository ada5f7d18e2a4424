package triton

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// GRPCClient makes the control-plane calls to one server over gRPC, for where
// its HTTP endpoint can't be reached. It is safe for concurrent use. Every error
// is an *Error.
type GRPCClient struct {
	service inferencepb.GRPCInferenceServiceClient
}

// NewGRPCClient returns a client on a connection from DialGRPC.
func NewGRPCClient(cc grpc.ClientConnInterface) *GRPCClient {
	return &GRPCClient{inferencepb.NewGRPCInferenceServiceClient(cc)}
}

// callGRPC makes one call; what it was for completes "could not …".
func callGRPC[Q, A any](ctx context.Context, op string, call func(context.Context, *Q, ...grpc.CallOption) (*A, error), question *Q) (*A, error) {
	var header, trailer metadata.MD
	answer, err := call(ctx, question, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		failed := grpcError(ctx, err, len(header)+len(trailer) > 0)
		failed.Op = op
		return nil, failed
	}
	return answer, nil
}

// ServerLive is nil when the server process answers.
func (c *GRPCClient) ServerLive(ctx context.Context) error {
	const op = "ask whether the server is live"
	answer, err := callGRPC(ctx, op, c.service.ServerLive, &inferencepb.ServerLiveRequest{})
	if err == nil && !answer.GetLive() {
		return &Error{Class: ClassWrongAnswer, Op: op, Message: "it says that it is not"}
	}
	return err
}

// ServerMetadata is the server's name, version and extensions. A gRPC server
// that is not Triton gives an error of class ClassNotTriton.
func (c *GRPCClient) ServerMetadata(ctx context.Context) (ServerMetadata, error) {
	const op = "read the server's metadata"
	answer, err := callGRPC(ctx, op, c.service.ServerMetadata, &inferencepb.ServerMetadataRequest{})
	if err != nil {
		if status.Code(err) == codes.Unimplemented {
			return ServerMetadata{}, &Error{Class: ClassNotTriton, Op: op, cause: err,
				Message: "this port is not Triton's gRPC endpoint: it does not know the inference service"}
		}
		if strings.Contains(err.Error(), "looked like an HTTP/1.1 header") { // x/net/http2's words, of which grpc-go keeps the text only
			return ServerMetadata{}, &Error{Class: ClassNotTriton, Op: op, cause: err,
				Message: "this port is not Triton's gRPC endpoint: it speaks HTTP/1.1, as Triton's HTTP and metrics ports do; its gRPC port is usually 8001"}
		}
		return ServerMetadata{}, err
	}
	if !slices.Contains(answer.GetExtensions(), "model_configuration") {
		return ServerMetadata{}, &Error{Class: ClassNotTriton, Op: op,
			Message: fmt.Sprintf("it speaks the same protocol but is %s %s, without Triton's model configuration and statistics", answer.GetName(), answer.GetVersion())}
	}
	return ServerMetadata{Name: answer.GetName(), Version: answer.GetVersion(), Extensions: answer.GetExtensions()}, nil
}

// ModelReady is nil when the model serves requests. Unknown models are answered
// the same way as those not ready.
func (c *GRPCClient) ModelReady(ctx context.Context, name, version string) error {
	op := "ask whether model " + name + " is ready"
	answer, err := callGRPC(ctx, op, c.service.ModelReady, &inferencepb.ModelReadyRequest{Name: name, Version: version})
	if err == nil && !answer.GetReady() {
		return &Error{Class: "grpc UNAVAILABLE", Op: op, Message: "it is not ready"}
	}
	return err
}

// ModelMetadata describes a model's tensors; an empty version is the server's
// choice.
func (c *GRPCClient) ModelMetadata(ctx context.Context, name, version string) (ModelMetadata, error) {
	m, err := callGRPC(ctx, "read the metadata of model "+name, c.service.ModelMetadata, &inferencepb.ModelMetadataRequest{Name: name, Version: version})
	if err != nil {
		return ModelMetadata{}, err
	}
	tensors := func(all []*inferencepb.ModelMetadataResponse_TensorMetadata) []Tensor {
		var list []Tensor
		for _, t := range all {
			list = append(list, Tensor{Name: t.GetName(), Datatype: Datatype(t.GetDatatype()), Shape: t.GetShape()})
		}
		return list
	}
	return ModelMetadata{
		Name: m.GetName(), Versions: m.GetVersions(), Platform: m.GetPlatform(),
		Inputs: tensors(m.GetInputs()), Outputs: tensors(m.GetOutputs()),
	}, nil
}

// ModelConfig is a model's configuration with what the server filled in.
func (c *GRPCClient) ModelConfig(ctx context.Context, name, version string) (ModelConfig, error) {
	answer, err := callGRPC(ctx, "read the configuration of model "+name, c.service.ModelConfig, &inferencepb.ModelConfigRequest{Name: name, Version: version})
	if err != nil {
		return ModelConfig{}, err
	}
	return configOf(answer.GetConfig()), nil
}

// Statistics are the counters of a model's versions, or of every model with an
// empty name.
func (c *GRPCClient) Statistics(ctx context.Context, name, version string) ([]ModelStatistics, error) {
	op := "read the statistics of model " + name
	if name == "" {
		op = "read the statistics of all models"
	}
	answer, err := callGRPC(ctx, op, c.service.ModelStatistics, &inferencepb.ModelStatisticsRequest{Name: name, Version: version})
	if err != nil {
		return nil, err
	}
	stats := make([]ModelStatistics, 0, len(answer.GetModelStats()))
	for _, m := range answer.GetModelStats() {
		stats = append(stats, statisticsOf(m))
	}
	return stats, nil
}

// RepositoryIndex lists the models that the server knows of, also those that
// are not loaded.
func (c *GRPCClient) RepositoryIndex(ctx context.Context) ([]ModelIndex, error) {
	answer, err := callGRPC(ctx, "list the models", c.service.RepositoryIndex, &inferencepb.RepositoryIndexRequest{})
	if err != nil {
		return nil, err
	}
	var index []ModelIndex
	for _, m := range answer.GetModels() {
		index = append(index, ModelIndex{Name: m.GetName(), Version: m.GetVersion(), State: m.GetState(), Reason: m.GetReason()})
	}
	return index, nil
}
