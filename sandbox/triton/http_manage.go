package triton

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

func (h *httpAPI) stats(x *wire.Exchange, name, version string) {
	if !methodIs(x, http.MethodGet, true) {
		return
	}
	models, err := h.core.Select(name, version)
	if err != nil {
		replyError(x, err)
		return
	}
	body := append([]byte(nil), `{"model_stats":[`...)
	for i, m := range models {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendStats(body, m)
	}
	replyJSON(x, http.StatusOK, append(body, "]}"...))
}

func appendStats(body []byte, m *core.Model) []byte {
	s := m.Stats()
	body = append(body, `{"name":`...)
	body = rapidjson.AppendString(body, m.Name)
	body = append(body, `,"version":"`...)
	body = strconv.AppendInt(body, m.Version, 10)
	body = append(body, `","last_inference":`...)
	body = strconv.AppendInt(body, s.LastInference, 10)
	body = append(body, `,"inference_count":`...)
	body = strconv.AppendUint(body, s.InferenceCount, 10)
	body = append(body, `,"execution_count":`...)
	body = strconv.AppendUint(body, s.ExecutionCount, 10)
	body = append(body, `,"inference_stats":{`...)
	body = appendDurations(body, []named{
		{"success", s.Success}, {"fail", s.Fail}, {"queue", s.Queue}, {"compute_input", s.ComputeInput},
		{"compute_infer", s.ComputeInfer}, {"compute_output", s.ComputeOutput}, {"cache_hit", s.CacheHit}, {"cache_miss", s.CacheMiss},
	})
	body = append(body, `},"response_stats":{`...)
	for i, r := range s.Responses {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, '"')
		body = strconv.AppendInt(body, int64(i), 10)
		body = append(body, `":{`...)
		body = appendDurations(body, []named{
			{"compute_infer", r.ComputeInfer}, {"compute_output", r.ComputeOutput}, {"success", r.Success},
			{"fail", r.Fail}, {"empty_response", r.Empty}, {"cancel", r.Cancel},
		})
		body = append(body, '}')
	}
	body = append(body, `},"batch_stats":[`...)
	for i, b := range s.Batches {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"batch_size":`...)
		body = strconv.AppendInt(body, int64(b.Size), 10)
		body = append(body, ',')
		body = appendDurations(body, []named{
			{"compute_input", b.ComputeInput}, {"compute_infer", b.ComputeInfer}, {"compute_output", b.ComputeOutput},
		})
		body = append(body, '}')
	}
	return append(body, `],"memory_usage":[]}`...)
}

type named struct {
	name string
	core.Duration
}

func appendDurations(body []byte, list []named) []byte {
	for i, d := range list {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, '"')
		body = append(body, d.name...)
		body = append(body, `":{"count":`...)
		body = strconv.AppendUint(body, d.Count, 10)
		body = append(body, `,"ns":`...)
		body = strconv.AppendUint(body, d.Ns, 10)
		body = append(body, '}')
	}
	return body
}

func (h *httpAPI) index(x *wire.Exchange) {
	if !methodIs(x, http.MethodPost, true) {
		return
	}
	members, ok := objectBody(x)
	if !ok {
		return
	}
	readyOnly := false
	if ready, ok := members.Find("ready"); ok {
		readyOnly, _ = ready.Bool()
	}
	body := []byte{'['}
	for i, e := range h.core.Index(readyOnly) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"name":`...)
		body = rapidjson.AppendString(body, e.Name)
		for _, field := range [...]struct{ name, value string }{{"version", e.Version}, {"state", e.State}, {"reason", e.Reason}} {
			if field.value != "" {
				body = append(body, `,"`+field.name+`":`...)
				body = rapidjson.AppendString(body, field.value)
			}
		}
		body = append(body, '}')
	}
	replyJSON(x, http.StatusOK, append(body, ']'))
}

// objectBody parses an optional JSON body; it has answered if it returns false.
func objectBody(x *wire.Exchange) (rapidjson.Object, bool) {
	if len(x.Body) == 0 {
		return nil, true
	}
	root, err := rapidjson.Parse(x.Body)
	if err != nil {
		replyError(x, malformed(err))
		return nil, false
	}
	return root.Members(), true
}

func malformed(err error) *core.Error {
	return core.Errorf(core.Internal, "failed to parse the request JSON buffer: %v", err)
}

func (h *httpAPI) loadUnload(x *wire.Exchange, path string) {
	name, action, _ := strings.Cut(strings.TrimPrefix(path, "/repository/models/"), "/")
	if action != "load" && action != "unload" || name == "" {
		replyPlain(x, http.StatusNotFound, "Not Found")
		return
	}
	if !methodIs(x, http.MethodPost, true) {
		return
	}
	if err := h.change(x, name, action); err != nil {
		replyError(x, err)
		return
	}
	replyJSON(x, http.StatusOK, nil)
}

func (h *httpAPI) change(x *wire.Exchange, name, action string) *core.Error {
	if !h.explicit {
		return notExplicit()
	}
	var override []byte
	if len(x.Body) > 0 {
		root, err := rapidjson.Parse(x.Body)
		if err != nil {
			return malformed(err)
		}
		if parameters, ok := root.Members().Find("parameters"); ok {
			if config, ok := parameters.Members().Find("config"); ok {
				text, isText := config.Str()
				if !isText {
					return core.Errorf(core.InvalidArg, "failed to parse parameter 'config': attempt to access JSON non-string as string")
				}
				override = []byte(text)
			}
		}
	}
	if action == "unload" {
		h.core.Unload(name)
		return nil
	}
	return h.core.Load(name, override)
}

func notExplicit() *core.Error {
	return core.Errorf(core.Unavailable, "explicit model load / unload is not allowed if polling is enabled")
}

func (h *httpAPI) logSettings(x *wire.Exchange) {
	if x.Method != http.MethodGet && !methodIs(x, http.MethodPost, true) {
		return
	}
	if x.Method == http.MethodPost {
		members, ok := objectBody(x)
		if !ok {
			return
		}
		if err := h.logging.update(members); err != nil {
			replyError(x, err)
			return
		}
	}
	replyJSON(x, http.StatusOK, h.logging.appendJSON(nil))
}

func (h *httpAPI) trace(x *wire.Exchange) {
	replyError(x, core.Errorf(core.Unavailable, "the server does not support tracing"))
}

func (h *httpAPI) sharedMemory(x *wire.Exchange) {
	if methodIs(x, http.MethodGet, true) {
		replyJSON(x, http.StatusOK, []byte("[]"))
	}
}
