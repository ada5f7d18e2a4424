package triton

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// controlServer answers with captures of the HTTP endpoint, turned into messages.
type controlServer struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	t *testing.T
}

func (s *controlServer) read(name string, into proto.Message) {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(captureBody(s.t, name), into); err != nil {
		s.t.Errorf("capture %s: %v", name, err)
	}
}

func (s *controlServer) ServerLive(context.Context, *inferencepb.ServerLiveRequest) (*inferencepb.ServerLiveResponse, error) {
	return &inferencepb.ServerLiveResponse{Live: true}, nil
}

func (s *controlServer) ServerMetadata(context.Context, *inferencepb.ServerMetadataRequest) (*inferencepb.ServerMetadataResponse, error) {
	m := &inferencepb.ServerMetadataResponse{}
	s.read("meta_server", m)
	return m, nil
}

func (s *controlServer) ModelReady(_ context.Context, q *inferencepb.ModelReadyRequest) (*inferencepb.ModelReadyResponse, error) {
	return &inferencepb.ModelReadyResponse{Ready: q.GetName() != "broken"}, nil
}

func (s *controlServer) ModelMetadata(_ context.Context, q *inferencepb.ModelMetadataRequest) (*inferencepb.ModelMetadataResponse, error) {
	if q.GetName() == "nope" {
		return nil, status.Error(codes.NotFound, "Request for unknown model: 'nope' is not found")
	}
	m := &inferencepb.ModelMetadataResponse{}
	s.read("meta_model_"+q.GetName(), m)
	return m, nil
}

func (s *controlServer) ModelConfig(_ context.Context, q *inferencepb.ModelConfigRequest) (*inferencepb.ModelConfigResponse, error) {
	m := &inferencepb.ModelConfig{}
	s.read("config_"+q.GetName(), m)
	return &inferencepb.ModelConfigResponse{Config: m}, nil
}

func (s *controlServer) ModelStatistics(_ context.Context, q *inferencepb.ModelStatisticsRequest) (*inferencepb.ModelStatisticsResponse, error) {
	m := &inferencepb.ModelStatisticsResponse{}
	s.read("stats_"+q.GetName(), m)
	return m, nil
}

func (s *controlServer) RepositoryIndex(context.Context, *inferencepb.RepositoryIndexRequest) (*inferencepb.RepositoryIndexResponse, error) {
	return &inferencepb.RepositoryIndexResponse{Models: []*inferencepb.RepositoryIndexResponse_ModelIndex{{Name: "broken", State: "UNAVAILABLE", Reason: "why"}, {Name: "m", Version: "1", State: "READY"}}}, nil
}

// grpcClientOf serves with register and returns a client of it.
func grpcClientOf(t *testing.T, register func(*grpc.Server)) *GRPCClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	cc, err := DialGRPC(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
	}, GRPCAddress{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		server.Stop()
		<-served
	})
	return NewGRPCClient(cc)
}

// TestGRPCControlPlaneIsThatOfHTTP: the same model is described the same way,
// whichever endpoint was asked.
func TestGRPCControlPlaneIsThatOfHTTP(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("calls", func(t *testing.T) {
		ctx := t.Context()
		c := grpcClientOf(t, func(s *grpc.Server) { inferencepb.RegisterGRPCInferenceServiceServer(s, &controlServer{t: t}) })
		over := replay(t, map[string][]byte{"GET /v2": capture(t, "meta_server")})
		want, err := over.ServerMetadata(ctx)
		got, errGRPC := c.ServerMetadata(ctx)
		if diff := cmp.Diff(want, got); err != nil || errGRPC != nil || diff != "" {
			t.Errorf("ServerMetadata: %v, %v\n%s", err, errGRPC, diff)
		}
		if err := errors.Join(c.ServerLive(ctx), c.ModelReady(ctx, "m", "")); err != nil {
			t.Error(err)
		}
		for _, name := range captureNames(t, "config_") {
			name = strings.TrimPrefix(name, "config_")
			if name == "unknown" {
				continue
			}
			_, want := capturedModel(t, "", name)
			got, err := c.ModelConfig(ctx, name, "")
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("ModelConfig(%s): %v\n%s", name, err, diff)
			}
			if want.Name == "" {
				t.Errorf("the capture of %s holds no configuration", name)
			}
		}
		wantModel, _ := capturedModel(t, "identity_fp32", "")
		gotModel, err := c.ModelMetadata(ctx, "identity_fp32", "")
		if diff := cmp.Diff(wantModel, gotModel); err != nil || diff != "" {
			t.Errorf("ModelMetadata: %v\n%s", err, diff)
		}
		for _, name := range []string{"cached", "all_after"} {
			want, err := parseStatistics(captureBody(t, "stats_"+name))
			got, errGRPC := c.Statistics(ctx, name, "")
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || errGRPC != nil || diff != "" || len(want) == 0 {
				t.Errorf("Statistics(%s): %v, %v\n%s", name, err, errGRPC, diff)
			}
		}
		index, err := c.RepositoryIndex(ctx)
		if diff := cmp.Diff([]ModelIndex{{Name: "broken", State: "UNAVAILABLE", Reason: "why"}, {Name: "m", Version: "1", State: "READY"}}, index); err != nil || diff != "" {
			t.Errorf("RepositoryIndex: %v\n%s", err, diff)
		}

		var answer *Error
		if err := c.ModelReady(ctx, "broken", ""); !errors.As(err, &answer) || answer.Class != "grpc UNAVAILABLE" || !strings.Contains(err.Error(), "model broken") {
			t.Errorf("a model that is not ready: %v", err)
		}
		if _, err := c.ModelMetadata(ctx, "nope", ""); !errors.As(err, &answer) || answer.Class != "grpc NOT_FOUND" || !strings.Contains(err.Error(), "could not read the metadata of model nope: Triton answered NOT_FOUND: Request for unknown model") {
			t.Errorf("an unknown model: %v", err)
		}
	})
}

// partial is a server of the inference protocol that is not Triton.
type partial struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
}

func (partial) ServerMetadata(context.Context, *inferencepb.ServerMetadataRequest) (*inferencepb.ServerMetadataResponse, error) {
	return &inferencepb.ServerMetadataResponse{Name: "other", Version: "1"}, nil
}

func TestGRPCControlPlaneRecognisesTriton(t *testing.T) {
	for _, c := range []struct {
		name, want string
		register   func(*grpc.Server)
	}{
		{"another gRPC server", "does not know the inference service", func(*grpc.Server) {}},
		{"another inference server", "other 1, without Triton's model configuration", func(s *grpc.Server) { inferencepb.RegisterGRPCInferenceServiceServer(s, partial{}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := grpcClientOf(t, c.register).ServerMetadata(t.Context())
			var answer *Error
			if !errors.As(err, &answer) || answer.Class != ClassNotTriton || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
