package triton

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

// Version is the Triton release that the simulator answers as.
const Version = "2.70.0"

func extensions() []string {
	return []string{
		"classification", "sequence", "model_repository", "model_repository(unload_dependents)", "schedule_policy",
		"model_configuration", "system_shared_memory", "cuda_shared_memory", "binary_tensor_data", "parameters", "statistics", "logging",
	}
}

// httpAPI is the KServe protocol, with Triton's extensions, over HTTP.
type httpAPI struct {
	core     *core.Server
	explicit bool // models are loaded and unloaded by request
	logging  *logSettings
	restrict restrictions
	maxInput int64
}

func jsonType() wire.Header { return wire.Header{Name: "Content-Type", Value: "application/json"} }

func replyJSON(x *wire.Exchange, status int, body []byte) {
	x.Reply(status, []wire.Header{jsonType()}, body)
}

func errorBody(message string) []byte {
	body := append([]byte(nil), `{"error":`...)
	return append(rapidjson.AppendString(body, message), '}')
}

// statusOf is the HTTP status of an error, as documented for the protocol.
func statusOf(code core.Code) int {
	switch code {
	case core.OK:
		return http.StatusOK
	case core.Internal:
		return http.StatusInternalServerError
	case core.NotFound:
		return http.StatusNotFound
	case core.Unavailable:
		return http.StatusServiceUnavailable
	case core.Unsupported:
		return http.StatusNotImplemented
	}
	return http.StatusBadRequest
}

func replyError(x *wire.Exchange, err *core.Error) {
	replyJSON(x, statusOf(err.Code), errorBody(err.Message))
}

// replyPlainError is for the errors that the server sends before it has set a
// content type.
func replyPlainError(x *wire.Exchange, err *core.Error) {
	x.Reply(statusOf(err.Code), nil, errorBody(err.Message))
}

func replyPlain(x *wire.Exchange, status int, message string) {
	x.Reply(status, nil, errorBody(message))
}

const notAllowed = "Method Not Allowed"

// methodIs refuses a request with another method.
func methodIs(x *wire.Exchange, method string, asJSON bool) bool {
	if x.Method == method {
		return true
	}
	if asJSON {
		replyJSON(x, http.StatusMethodNotAllowed, errorBody(notAllowed))
	} else {
		replyPlain(x, http.StatusMethodNotAllowed, notAllowed)
	}
	return false
}

func (h *httpAPI) serve(x *wire.Exchange) {
	if x.TooLarge > 0 {
		replyError(x, core.Errorf(core.InvalidArg,
			"request JSON size of %d bytes exceeds the maximum allowed input size of %d bytes. Use --http-max-input-size to increase the limit.", x.TooLarge, h.maxInput))
		return
	}
	path, ok := strings.CutPrefix(x.Path, "/v2")
	if !ok {
		replyPlain(x, http.StatusNotFound, "Not Found")
		return
	}
	switch {
	case path == "":
		h.guard(x, "metadata", h.serverMetadata)
	case path == "/health/live":
		h.guard(x, "health", func(x *wire.Exchange) { h.health(x, true) })
	case path == "/health/ready":
		h.guard(x, "health", func(x *wire.Exchange) { h.health(x, h.core.Ready()) })
	case path == "/models/stats":
		h.guard(x, "statistics", func(x *wire.Exchange) { h.stats(x, "", "") })
	case path == "/repository/index":
		h.guard(x, "model-repository", h.index)
	case path == "/logging":
		h.guard(x, "logging", h.logSettings)
	case path == "/trace/setting":
		h.guard(x, "trace", h.trace)
	case path == "/systemsharedmemory/status", path == "/cudasharedmemory/status":
		h.guard(x, "shared-memory", h.sharedMemory)
	case strings.HasPrefix(path, "/repository/models/"):
		h.guard(x, "model-repository", func(x *wire.Exchange) { h.loadUnload(x, path) })
	case strings.HasPrefix(path, "/models/"):
		h.model(x, strings.TrimPrefix(path, "/models/"))
	default:
		replyPlain(x, http.StatusNotFound, "Not Found")
	}
}

func (h *httpAPI) guard(x *wire.Exchange, api string, serve func(*wire.Exchange)) {
	if key, ok := h.restrict[api]; ok && x.Header(key.header) != key.value {
		replyPlain(x, http.StatusForbidden, "This API is restricted, expecting header '"+key.header+"'")
		return
	}
	serve(x)
}

// model serves NAME[/versions/VERSION][/KIND].
func (h *httpAPI) model(x *wire.Exchange, rest string) {
	parts := strings.Split(rest, "/")
	name, parts := parts[0], parts[1:]
	version := ""
	if len(parts) >= 2 && parts[0] == "versions" && digits(parts[1]) {
		version, parts = parts[1], parts[2:]
	}
	kind := strings.Join(parts, "/")
	if name == "" || len(parts) > 0 && kind == "" {
		replyPlain(x, http.StatusNotFound, "Not Found")
		return
	}
	switch kind {
	case "":
		h.guard(x, "metadata", func(x *wire.Exchange) { h.modelMetadata(x, name, version) })
	case "ready":
		h.guard(x, "health", func(x *wire.Exchange) { h.modelReady(x, name, version) })
	case "config":
		h.guard(x, "model-config", func(x *wire.Exchange) { h.modelConfig(x, name, version) })
	case "stats":
		h.guard(x, "statistics", func(x *wire.Exchange) { h.stats(x, name, version) })
	case "infer":
		h.guard(x, "inference", func(x *wire.Exchange) { h.infer(x, name, version) })
	case "generate":
		h.guard(x, "inference", func(x *wire.Exchange) { h.generate(x, name, version, false) })
	case "generate_stream":
		h.guard(x, "inference", func(x *wire.Exchange) { h.generate(x, name, version, true) })
	case "trace/setting":
		h.guard(x, "trace", h.trace)
	default:
		replyPlain(x, http.StatusNotFound, "Not Found")
	}
}

func digits(s string) bool {
	for _, b := range s {
		if b < '0' || b > '9' {
			return false
		}
	}
	return s != ""
}

func (h *httpAPI) serverMetadata(x *wire.Exchange) {
	if !methodIs(x, http.MethodGet, true) {
		return
	}
	body := append([]byte(nil), `{"name":"triton","version":"`+Version+`","extensions":[`...)
	for i, e := range extensions() {
		if i > 0 {
			body = append(body, ',')
		}
		body = rapidjson.AppendString(body, e)
	}
	replyJSON(x, http.StatusOK, append(body, "]}"...))
}

func (h *httpAPI) health(x *wire.Exchange, healthy bool) {
	if !methodIs(x, http.MethodGet, false) {
		return
	}
	status := http.StatusOK
	if !healthy {
		status = http.StatusBadRequest
	}
	x.Reply(status, nil, nil)
}

func (h *httpAPI) modelReady(x *wire.Exchange, name, version string) {
	if !methodIs(x, http.MethodGet, false) {
		return
	}
	if _, err := h.core.Find(name, version); err != nil {
		replyPlain(x, http.StatusBadRequest, "Model version not ready")
		return
	}
	x.Reply(http.StatusOK, nil, nil)
}

func (h *httpAPI) modelConfig(x *wire.Exchange, name, version string) {
	if !methodIs(x, http.MethodGet, true) {
		return
	}
	m, err := h.core.Find(name, version)
	if err != nil {
		replyError(x, err)
		return
	}
	replyJSON(x, http.StatusOK, modelconfig.AppendJSON(nil, m.Config))
}

func (h *httpAPI) modelMetadata(x *wire.Exchange, name, version string) {
	if !methodIs(x, http.MethodGet, true) {
		return
	}
	m, err := h.core.Find(name, version)
	if err != nil {
		replyError(x, err)
		return
	}
	body := append([]byte(nil), `{"name":`...)
	body = rapidjson.AppendString(body, m.Name)
	body = append(body, `,"versions":[`...)
	for i, v := range metadataVersions(h.core, m, version) {
		if i > 0 {
			body = append(body, ',')
		}
		body = rapidjson.AppendString(body, v)
	}
	body = append(body, `],"platform":`...)
	body = rapidjson.AppendString(body, m.Platform())
	body = append(body, `,"inputs":[`...)
	for i, in := range m.Config.Input {
		body = appendTensorMetadata(body, i, in.Name, tensor.FromConfig(in.DataType), metadataShape(m, in.Dims, in.IsShapeTensor))
	}
	body = append(body, `],"outputs":[`...)
	for i, out := range m.Config.Output {
		body = appendTensorMetadata(body, i, out.Name, tensor.FromConfig(out.DataType), metadataShape(m, out.Dims, out.IsShapeTensor))
	}
	replyJSON(x, http.StatusOK, append(body, "]}"...))
}

func appendTensorMetadata(body []byte, i int, name string, dtype tensor.DataType, shape []int64) []byte {
	if i > 0 {
		body = append(body, ',')
	}
	body = append(body, `{"name":`...)
	body = rapidjson.AppendString(body, name)
	body = append(body, `,"datatype":"`...)
	body = append(body, dtype.String()...)
	body = append(body, `","shape":`...)
	return append(tensor.AppendShape(body, shape), '}')
}

// metadataVersions are the versions that metadata name: the one asked for, or all.
func metadataVersions(server *core.Server, m *core.Model, version string) []string {
	if version != "" {
		return []string{strconv.FormatInt(m.Version, 10)}
	}
	var list []string
	for _, v := range server.ReadyVersions(m.Name) {
		list = append(list, strconv.FormatInt(v, 10))
	}
	return list
}

// metadataShape is the shape that metadata show: with the batch dimension.
func metadataShape(m *core.Model, dims []int64, shapeTensor bool) []int64 {
	if m.Config.MaxBatchSize == 0 || shapeTensor {
		return dims
	}
	return append([]int64{-1}, dims...)
}
