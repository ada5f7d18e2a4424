package triton

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

const squareRequest = `$ grpcurl -d '{"model_name":"square_int32","id":"sq","inputs":[{"name":"IN","datatype":"INT32","shape":[1],"contents":{"int_contents":[3]}}]}' x inference.GRPCInferenceService/ModelStreamInfer`

type grpcClient struct{ conn *grpc.ClientConn }

func dialGRPC(t *testing.T, s *Server) *grpcClient {
	t.Helper()
	conn, err := grpc.NewClient(s.Address(grpcPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &grpcClient{conn: conn}
}

// grpcCapture is one call of a real client to a real server.
type grpcCapture struct {
	method   string // /service/method
	request  string // JSON
	contents []string
	code     string
	message  string
}

var (
	commandLine = regexp.MustCompile(`(?m)^\$ grpcurl .*-d '(.*)' \S+ (\S+)$`)
	rpcLine     = regexp.MustCompile(`(?m)^rpc (\w+) \( (?:stream )?\.([\w.]*)\.\w+ \)`)
)

func readGRPC(t *testing.T, name, command string) grpcCapture {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(captureDir, "grpc", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if command != "" {
		text = command + "\n" + text
	}
	c := grpcCapture{request: "{}"}
	if m := commandLine.FindStringSubmatch(text); m != nil {
		c.request, c.method = m[1], "/"+m[2]
	} else if m := rpcLine.FindStringSubmatch(text); m != nil {
		c.method = "/inference.GRPCInferenceService/" + m[1]
		if m[2] == "grpc.health.v1" {
			c.method = "/grpc.health.v1.Health/" + m[1]
		}
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "Response contents:\n")
		if !found {
			break
		}
		decoder := json.NewDecoder(strings.NewReader(after))
		var object json.RawMessage
		if err := decoder.Decode(&object); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.contents = append(c.contents, string(object))
		rest = after
	}
	if _, after, found := strings.Cut(text, "ERROR:\n  Code: "); found {
		code, message, _ := strings.Cut(after, "\n  Message: ")
		message, _, _ = strings.Cut(message, "\nexit=")
		c.code, c.message = code, strings.TrimRight(message, "\n")
	}
	return c
}

func (g *grpcClient) replay(t *testing.T, name string) {
	t.Helper()
	g.replayAs(t, name, "")
}

// replayAs replays a capture; command stands in for one that wasn't kept.
func (g *grpcClient) replayAs(t *testing.T, name, command string) {
	t.Helper()
	c := readGRPC(t, name, command)
	got, err := g.call(context.Background(), c)
	compareGRPC(t, name, c, got, err)
}

func compareGRPC(t *testing.T, name string, c grpcCapture, got []proto.Message, err error) {
	t.Helper()
	code, message := "", ""
	if err != nil {
		code, message = status.Code(err).String(), strings.TrimRight(status.Convert(err).Message(), "\n")
	}
	if code != c.code || message != c.message {
		t.Errorf("%s: got %s %q, want %s %q", name, code, message, c.code, c.message)
	}
	wanted := c.contents
	if strings.HasPrefix(name, "health_check") {
		wanted = wanted[:1] // the capture holds the same call several times
	}
	if len(got) != len(wanted) {
		t.Errorf("%s: %d messages, want %d", name, len(got), len(wanted))
		return
	}
	for i, text := range wanted {
		want := got[i].ProtoReflect().New().Interface()
		if err := protojson.Unmarshal([]byte(text), want); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		forget(want)
		forget(got[i])
		if !proto.Equal(want, got[i]) {
			t.Errorf("%s: message %d:\n want %v\n got  %v", name, i, want, got[i])
		}
	}
}

// forget sets durations and times of statistics to zero.
func forget(m proto.Message) {
	stats, ok := m.(*inferencepb.ModelStatisticsResponse)
	if !ok {
		return
	}
	text, err := protojson.Marshal(stats)
	if err != nil {
		return
	}
	text = regexp.MustCompile(`"(ns|lastInference)":\s*"\d+"`).ReplaceAll(text, []byte(`"$1":"0"`))
	proto.Reset(stats)
	_ = protojson.Unmarshal(text, stats) // what was marshalled a moment ago
}

func (g *grpcClient) call(ctx context.Context, c grpcCapture) ([]proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, response, err := messages(c.method)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal([]byte(c.request), request); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(c.method, "ModelStreamInfer") {
		if err := g.conn.Invoke(ctx, c.method, request, response); err != nil {
			return nil, err
		}
		return []proto.Message{response}, nil
	}
	stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, c.method)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return nil, err
	}
	var all []proto.Message
	for {
		m := proto.Clone(response)
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

func messages(method string) (request, response proto.Message, err error) {
	switch method[strings.LastIndex(method, "/")+1:] {
	case "Check":
		return &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}, nil
	case "ServerLive":
		return &inferencepb.ServerLiveRequest{}, &inferencepb.ServerLiveResponse{}, nil
	case "ServerReady":
		return &inferencepb.ServerReadyRequest{}, &inferencepb.ServerReadyResponse{}, nil
	case "ModelReady":
		return &inferencepb.ModelReadyRequest{}, &inferencepb.ModelReadyResponse{}, nil
	case "ServerMetadata":
		return &inferencepb.ServerMetadataRequest{}, &inferencepb.ServerMetadataResponse{}, nil
	case "ModelMetadata":
		return &inferencepb.ModelMetadataRequest{}, &inferencepb.ModelMetadataResponse{}, nil
	case "ModelConfig":
		return &inferencepb.ModelConfigRequest{}, &inferencepb.ModelConfigResponse{}, nil
	case "ModelStatistics":
		return &inferencepb.ModelStatisticsRequest{}, &inferencepb.ModelStatisticsResponse{}, nil
	case "ModelInfer":
		return &inferencepb.ModelInferRequest{}, &inferencepb.ModelInferResponse{}, nil
	case "ModelStreamInfer":
		return &inferencepb.ModelInferRequest{}, &inferencepb.ModelStreamInferResponse{}, nil
	case "RepositoryIndex":
		return &inferencepb.RepositoryIndexRequest{}, &inferencepb.RepositoryIndexResponse{}, nil
	case "RepositoryModelLoad":
		return &inferencepb.RepositoryModelLoadRequest{}, &inferencepb.RepositoryModelLoadResponse{}, nil
	case "SystemSharedMemoryStatus":
		return &inferencepb.SystemSharedMemoryStatusRequest{}, &inferencepb.SystemSharedMemoryStatusResponse{}, nil
	case "TraceSetting":
		return &inferencepb.TraceSettingRequest{}, &inferencepb.TraceSettingResponse{}, nil
	case "LogSettings":
		return &inferencepb.LogSettingsRequest{}, &inferencepb.LogSettingsResponse{}, nil
	}
	return nil, nil, fmt.Errorf("no messages for %s", method)
}

// notReplayedGRPC names the captures that no group replays, and why.
func notReplayedGRPC() map[string]string {
	return map[string]string{
		"list_noreflect":     "a client's own output; reflection is tried below",
		"model_stats":        "the counts are those of a long session; HTTP's stats_after_identity_fp32 is its twin",
		"model_stats_all":    "the same",
		"model_stats_ens":    "the same",
		"model_stats_repeat": "replayed in the group of streams, under a command of its own",
	}
}

func TestConformanceGRPC(t *testing.T) {
	covered := map[string]bool{}
	do := func(g *grpcClient, names ...string) {
		for _, name := range names {
			covered[name] = true
			g.replay(t, name)
		}
	}
	inferErrors := []string{
		"infer_batch_too_large", "infer_bytes", "infer_decoupled_on_unary", "infer_dtype_contents_mismatch", "infer_fp16_contents", "infer_missing_input",
		"infer_ok", "infer_param_bad_type", "infer_raw", "infer_raw_and_contents", "infer_raw_wrong_size", "infer_unknown_model",
		"infer_unknown_output", "infer_unknown_version", "infer_wrong_dtype", "infer_wrong_shape",
	}

	t.Run("ready", func(t *testing.T) {
		s := start(t, nil, load("identity_fp32", "identity_bytes", "identity_fp16", "repeat_int32", "square_int32", "py_llm", "py_error", "ens")...)
		g := dialGRPC(t, s)
		do(g, inferErrors...)
		do(g, "health_check_serving", "server_live", "server_metadata", "model_config", "model_config_ens", "model_config_unknown", "model_metadata",
			"model_metadata_bad_version", "model_metadata_unknown", "model_ready", "model_ready_unknown", "model_stats_unknown", "log_settings",
			"trace_setting", "shm_status", "repo_load_unknown", "stream_error", "stream_nondecoupled", "stream_py_llm", "stream_repeat",
			"stream_repeat_empty_final")
		do(g, "pyerr_1", "pyerr_2", "pyerr_3", "pyerr_4", "pyerr_5", "pyerr_6", "pyerr_8", "pyerr_9", "pyerr_10")
		covered["stream_square"] = true
		g.replayAs(t, "stream_square", squareRequest)
		covered["model_stats_square"] = true
		g.replayAs(t, "model_stats_square", `$ grpcurl -d '{"name":"square_int32"}' x inference.GRPCInferenceService/ModelStatistics`)
		covered["reflection"] = true
		err := g.conn.Invoke(context.Background(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &inferencepb.ServerLiveRequest{}, &inferencepb.ServerLiveResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("reflection: %v", err)
		}
	})
	t.Run("not ready", func(t *testing.T) {
		later := []string{
			"ens", "identity_alltypes", "identity_bf16", "identity_bool", "identity_bytes", "identity_count4", "identity_fast", "identity_fp16",
			"identity_fp32", "identity_fp64", "identity_int32", "identity_int64", "identity_int8", "identity_nodyn", "identity_uint64",
			"identity_uint8", "identity_var", "labels", "optional_in", "queue_prio", "queue_small", "queue_timeout", "repeat_int32",
			"reshape_in", "square_int32", "two_versions", "simple", "py_error", "py_llm", "seq_sum", "py_delay",
		}
		s := start(t, []string{"slow_load", "cached"}, load(later...)...)
		if err := s.core.Load("broken", nil); err == nil {
			t.Fatal("the broken model was loaded")
		}
		do(dialGRPC(t, s), "health_check", "server_ready", "repo_index")
	})
	t.Run("restricted", func(t *testing.T) {
		s := start(t, nil, "--grpc-restricted-protocol=model-repository:x-demo-key=abc")
		g := dialGRPC(t, s)
		do(g, "restricted_repo_index")
		ctx := metadata.AppendToOutgoingContext(context.Background(), "triton-grpc-protocol-x-demo-key", "abc")
		if _, err := g.call(ctx, readGRPC(t, "repo_index", "")); err != nil {
			t.Errorf("with its key: %v", err)
		}
	})
	t.Run("queue", func(t *testing.T) {
		covered["infer_queue_full"], covered["infer_queue_timeout"] = true, true
		covered["infer_deadline"], covered["infer_deadline_queued"], covered["model_stats_queue_small"] = true, true, true
		replayQueueGRPC(t)
	})

	files, err := filepath.Glob(filepath.Join(captureDir, "grpc", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		if _, excluded := notReplayedGRPC()[name]; covered[name] == excluded {
			t.Errorf("capture %s: replayed %v, excluded %v", name, covered[name], excluded)
		}
	}
}

func oneFloatGRPC(model, id string) string {
	return fmt.Sprintf(`$ grpcurl -d '{"model_name":"%s","id":"%s","inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,1],"contents":{"fp32_contents":[1]}}]}' x inference.GRPCInferenceService/ModelInfer`, model, id)
}

func replayQueueGRPC(t *testing.T) {
	s := start(t, nil, load("queue_small", "queue_timeout")...)
	r := &replay{t: t, server: s, covered: map[string]bool{}}
	g := dialGRPC(t, s)
	r.behave("queue_small", `{"service_time":{"base":"700ms"}}`)
	r.background("200", oneFloat("queue_small", 0))
	r.inFlight(1)
	r.queued("queue_small", 0)
	// One request whose client gives up while it waits, and one that runs.
	given, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := g.call(given, readGRPC(t, "infer_deadline_queued", oneFloatGRPC("queue_small", "gone")))
		gone <- err
	}()
	r.queued("queue_small", 1)
	r.background("200", oneFloat("queue_small", 1))
	r.queued("queue_small", 2)
	g.replayAs(t, "infer_queue_full", oneFloatGRPC("queue_small", "q1"))
	cancel()
	if err := <-gone; status.Code(err) != codes.Canceled {
		t.Errorf("a request that was given up: %v", err)
	}
	r.wait()
	r.inFlight(0)
	m, findErr := s.core.Find("queue_small", "")
	if findErr != nil {
		t.Fatal(findErr)
	}
	if stats := m.Stats(); stats.Success.Count != 2 || stats.Fail.Count != 1 || stats.ExecutionCount != 2 {
		t.Errorf("with one request given up: %+v", stats)
	}
	if failures := s.core.FailureCounts(); !bytes.Contains([]byte(fmt.Sprint(failures)), []byte("{queue_small 1  [0 1 0 0]}")) {
		t.Errorf("it isn't counted as canceled: %v", failures)
	}

	r.behave("queue_timeout", `{"service_time":{"base":"1s"}}`)
	r.background("200", oneFloat("queue_timeout", 0))
	r.inFlight(1)
	r.queued("queue_timeout", 0)
	g.replayAs(t, "infer_queue_timeout", oneFloatGRPC("queue_timeout", ""))
	// A deadline while the request runs: the client sees it, the server goes on.
	brief, cancelBrief := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancelBrief()
	_, err := g.call(brief, readGRPC(t, "infer_deadline", oneFloatGRPC("queue_timeout", "")))
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a deadline that passed: %v", err)
	}
	r.wait()
	r.inFlight(0)
}
