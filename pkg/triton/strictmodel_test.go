package triton

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// strictModel is a server of one model that answers each input INPUTx with
// the same data as OUTPUTx, and refuses whatever doesn't fit its
// configuration to the byte.
type strictModel struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	cfg ModelConfig

	mu       sync.Mutex
	received []received
}

// received is a request as the server understood it. JSON data is in values,
// binary data in data.
type received struct {
	shapes     map[string][]int64
	data       map[string][]byte
	values     map[string][]any
	parameters map[string]any
}

func (m *strictModel) last() received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.received[len(m.received)-1]
}

func (m *strictModel) meta() ModelMetadata {
	meta := ModelMetadata{Name: m.cfg.Name, Versions: []string{"1"}}
	for _, in := range m.cfg.Input {
		shape := in.Dims
		if m.cfg.MaxBatchSize > 0 {
			shape = append([]int64{-1}, shape...)
		}
		meta.Inputs = append(meta.Inputs, Tensor{in.Name, in.DataType, shape})
		meta.Outputs = append(meta.Outputs, Tensor{strings.Replace(in.Name, "INPUT", "OUTPUT", 1), in.DataType, shape})
	}
	return meta
}

// check returns an error as a strict server would word it.
func (m *strictModel) check(name, datatype string, shape []int64, bytes int) error {
	for _, in := range m.cfg.Input {
		if in.Name != name {
			continue
		}
		if datatype != string(in.DataType) {
			return fmt.Errorf("input %s is %s, not %s", name, datatype, in.DataType)
		}
		dims := shape
		if m.cfg.MaxBatchSize > 0 && !in.IsShapeTensor {
			if len(shape) == 0 || shape[0] < 1 || shape[0] > int64(m.cfg.MaxBatchSize) {
				return fmt.Errorf("input %s has a wrong batch in shape %v", name, shape)
			}
			dims = shape[1:]
		}
		if len(dims) != len(in.Dims) {
			return fmt.Errorf("input %s has shape %v for dims %v", name, shape, in.Dims)
		}
		n := 1
		for i, d := range dims {
			if in.Dims[i] >= 0 && d != in.Dims[i] {
				return fmt.Errorf("input %s has shape %v for dims %v", name, shape, in.Dims)
			}
			n *= int(d)
		}
		if len(dims) != len(shape) {
			n *= int(shape[0])
		}
		if size := in.DataType.Size(); size > 0 && bytes >= 0 && bytes != n*size {
			return fmt.Errorf("input %s of shape %v has %d bytes", name, shape, bytes)
		}
		return nil
	}
	return fmt.Errorf("unexpected input %s", name)
}

func (m *strictModel) complete(r received) error {
	for _, in := range m.cfg.Input {
		if _, ok := r.shapes[in.Name]; !ok && !in.Optional {
			return fmt.Errorf("input %s is missing", in.Name)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received = append(m.received, r)
	return nil
}

func newReceived() received {
	return received{shapes: map[string][]int64{}, data: map[string][]byte{}, values: map[string][]any{}, parameters: map[string]any{}}
}

func (m *strictModel) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	answer, headBytes, err := m.inferHTTP(req, body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	if headBytes >= 0 {
		w.Header().Set("Inference-Header-Content-Length", strconv.Itoa(headBytes))
	}
	_, _ = w.Write(answer)
}

type jsonTensor struct {
	Name       string         `json:"name"`
	Shape      []int64        `json:"shape"`
	Datatype   string         `json:"datatype"`
	Parameters map[string]int `json:"parameters,omitempty"`
	Data       *[]any         `json:"data,omitempty"` // an empty tensor has empty data, not none
}

func (m *strictModel) inferHTTP(req *http.Request, body []byte) (answer []byte, headBytes int, err error) {
	if req.Method != http.MethodPost || req.URL.Path != "/v2/models/"+m.cfg.Name+"/infer" {
		return nil, 0, fmt.Errorf("%s %s is not found", req.Method, req.URL.Path)
	}
	head, data := body, []byte(nil)
	if text := req.Header.Get("Inference-Header-Content-Length"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > len(body) {
			return nil, 0, fmt.Errorf("header length %q of %d bytes", text, len(body))
		}
		head, data = body[:n], body[n:]
	}
	var parsed struct {
		Parameters map[string]any `json:"parameters"`
		Inputs     []jsonTensor   `json:"inputs"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(head)))
	decoder.UseNumber()
	if err := decoder.Decode(&parsed); err != nil {
		return nil, 0, fmt.Errorf("bad JSON %q: %w", head, err)
	}
	got := newReceived()
	got.parameters = parsed.Parameters
	binaryOut := parsed.Parameters["binary_data_output"] == true
	var outputs []jsonTensor
	var tail []byte
	for _, in := range parsed.Inputs {
		size, isBinary := in.Parameters["binary_data_size"]
		out := jsonTensor{Name: strings.Replace(in.Name, "INPUT", "OUTPUT", 1), Shape: in.Shape, Datatype: in.Datatype}
		if !isBinary {
			if err := m.check(in.Name, in.Datatype, in.Shape, -1); err != nil {
				return nil, 0, err
			}
			if in.Data == nil {
				return nil, 0, fmt.Errorf("input %s has no data", in.Name)
			}
			if n, _ := elements(in.Shape); int64(len(*in.Data)) != n {
				return nil, 0, fmt.Errorf("input %s of shape %v has %d elements", in.Name, in.Shape, len(*in.Data))
			}
			got.values[in.Name], out.Data = *in.Data, in.Data
		} else {
			if size > len(data) {
				return nil, 0, fmt.Errorf("input %s has %d bytes, %d left", in.Name, size, len(data))
			}
			if err := m.check(in.Name, in.Datatype, in.Shape, size); err != nil {
				return nil, 0, err
			}
			got.data[in.Name] = data[:size]
			tail = append(tail, data[:size]...)
			data = data[size:]
			out.Parameters = map[string]int{"binary_data_size": size}
		}
		got.shapes[in.Name] = in.Shape
		outputs = append(outputs, out)
	}
	if len(data) > 0 {
		return nil, 0, fmt.Errorf("%d bytes follow the last input", len(data))
	}
	if err := m.complete(got); err != nil {
		return nil, 0, err
	}
	text, err := json.Marshal(map[string]any{"model_name": m.cfg.Name, "model_version": "1", "outputs": outputs})
	if err != nil {
		return nil, 0, err
	}
	if !binaryOut {
		return text, -1, nil
	}
	return append(text, tail...), len(text), nil
}

func (m *strictModel) inferGRPC(req *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	if req.GetModelName() != m.cfg.Name {
		return nil, status.Errorf(codes.NotFound, "Request for unknown model: '%s' is not found", req.GetModelName())
	}
	if len(req.GetInputs()) != len(req.GetRawInputContents()) {
		return nil, status.Errorf(codes.InvalidArgument, "%d inputs, %d raw contents", len(req.GetInputs()), len(req.GetRawInputContents()))
	}
	got := newReceived()
	for name, p := range req.GetParameters() {
		switch v := p.GetParameterChoice().(type) {
		case *inferencepb.InferParameter_BoolParam:
			got.parameters[name] = v.BoolParam
		case *inferencepb.InferParameter_Int64Param:
			got.parameters[name] = json.Number(strconv.FormatInt(v.Int64Param, 10))
		case *inferencepb.InferParameter_StringParam:
			got.parameters[name] = v.StringParam
		}
	}
	answer := &inferencepb.ModelInferResponse{ModelName: m.cfg.Name, ModelVersion: "1", Id: req.GetId()}
	for i, in := range req.GetInputs() {
		raw := req.GetRawInputContents()[i]
		if err := m.check(in.GetName(), in.GetDatatype(), in.GetShape(), len(raw)); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		got.shapes[in.GetName()], got.data[in.GetName()] = in.GetShape(), raw
		answer.Outputs = append(answer.Outputs, &inferencepb.ModelInferResponse_InferOutputTensor{
			Name: strings.Replace(in.GetName(), "INPUT", "OUTPUT", 1), Datatype: in.GetDatatype(), Shape: in.GetShape()})
		answer.RawOutputContents = append(answer.RawOutputContents, raw)
	}
	if err := m.complete(got); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return answer, nil
}

// ModelInfer answers one request.
func (m *strictModel) ModelInfer(_ context.Context, req *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	if m.cfg.ModelTransactionPolicy.Decoupled {
		return nil, status.Error(codes.Unimplemented, "ModelInfer RPC doesn't support models with decoupled transaction policy")
	}
	return m.inferGRPC(req)
}

// ModelStreamInfer answers each request twice, and ends with an empty final
// response where that is asked for.
func (m *strictModel) ModelStreamInfer(stream grpc.BidiStreamingServer[inferencepb.ModelInferRequest, inferencepb.ModelStreamInferResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil
		}
		answer, err := m.inferGRPC(req)
		if err != nil {
			failed := &inferencepb.ModelStreamInferResponse{ErrorMessage: status.Convert(err).Message(), InferResponse: &inferencepb.ModelInferResponse{Id: req.GetId()}}
			if err := stream.Send(failed); err != nil {
				return err
			}
			continue
		}
		answer.Parameters = map[string]*inferencepb.InferParameter{finalParameter: boolParameter(false)}
		final := &inferencepb.ModelInferResponse{ModelName: m.cfg.Name, Id: req.GetId(), Parameters: map[string]*inferencepb.InferParameter{finalParameter: boolParameter(true)}}
		for _, response := range []*inferencepb.ModelInferResponse{answer, answer, final} {
			if response == final && !req.GetParameters()[emptyFinalParameter].GetBoolParam() {
				continue
			}
			if err := stream.Send(&inferencepb.ModelStreamInferResponse{InferResponse: response}); err != nil {
				return err
			}
		}
	}
}

func (m *strictModel) serveHTTP(t testing.TB) DialFunc {
	t.Helper()
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return dialTo(server.Listener.Addr().String())
}

func (m *strictModel) serveGRPC(t testing.TB) (DialFunc, *grpc.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	inferencepb.RegisterGRPCInferenceServiceServer(server, m)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return dialTo(listener.Addr().String()), server
}

func dialTo(addr string) DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// decodeElement is an independent reading of binary data, for comparison.
func decodeElement(d Datatype, data []byte) (value any, rest []byte) {
	le := binary.LittleEndian
	switch d {
	case Bool:
		return data[0] == 1, data[1:]
	case Uint8:
		return float64(data[0]), data[1:]
	case Int8:
		return float64(int8(data[0])), data[1:]
	case Uint16:
		return float64(le.Uint16(data)), data[2:]
	case Int16:
		return float64(int16(le.Uint16(data))), data[2:]
	case Uint32:
		return float64(le.Uint32(data)), data[4:]
	case Int32:
		return float64(int32(le.Uint32(data))), data[4:]
	case Uint64:
		return float64(le.Uint64(data)), data[8:]
	case Int64:
		return float64(int64(le.Uint64(data))), data[8:]
	case FP16:
		return float64(floatFromHalf(le.Uint16(data))), data[2:]
	case BF16:
		return float64(floatFromBfloat(le.Uint16(data))), data[2:]
	case FP32:
		var v float32
		_, _ = binary.Decode(data, le, &v)
		return float64(v), data[4:]
	case FP64:
		var v float64
		_, _ = binary.Decode(data, le, &v)
		return v, data[8:]
	default:
		n := le.Uint32(data)
		return string(data[4 : 4+n]), data[4+n:]
	}
}
