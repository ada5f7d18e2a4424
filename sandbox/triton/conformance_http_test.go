package triton

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// notReplayed names the captures that the simulator isn't held to, and why.
func notReplayed() map[string]string {
	return map[string]string{
		"repo_index_after_broken": "one of its models failed to load because of a bug in a Python file; repo_index_full shows the rest",
	}
}

// httpGroup is a server and what happens to it.
type httpGroup struct {
	name    string
	without []string // model files that the repository lacks
	args    []string
	run     func(*replay)
}

// replay sends captured requests to one server and compares.
type replay struct {
	t       *testing.T
	server  *Server
	covered map[string]bool
	group   sync.WaitGroup
}

// capture replays the named captures in turn.
func (r *replay) capture(names ...string) {
	r.t.Helper()
	for _, name := range names {
		request, want := readCapture(r.t, name)
		r.compare(name, request, want)
	}
}

func (r *replay) compare(name string, request, want []byte) {
	r.t.Helper()
	r.covered[name] = true
	got, err := exchange(r.server.Address(httpPort), request)
	if err != nil {
		r.t.Errorf("%s: %v after %q", name, err, got)
		return
	}
	if difference := differ(name, want, got); difference != "" {
		r.t.Errorf("%s: %s", name, difference)
	}
}

// background sends a request whose answer begins with the given status.
func (r *replay) background(status string, request []byte) {
	r.group.Go(func() {
		got, err := exchange(r.server.Address(httpPort), request)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 "+status)) {
			r.t.Errorf("background request: %v %.200q", err, got)
		}
	})
}

func (r *replay) wait() { r.group.Wait() }

func (r *replay) inFlight(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d requests are in flight", n), func() bool { return r.server.core.InFlight() == n })
}

// queued waits until n of the model's requests wait for their execution.
func (r *replay) queued(model string, n int64) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d requests are queued", n), func() bool {
		m, err := r.server.core.Find(model, "")
		return err == nil && m.Metrics().Pending == n
	})
}

func (r *replay) state(model, state string) {
	r.t.Helper()
	until(r.t, model+" is "+state, func() bool {
		return slices.ContainsFunc(r.server.core.Index(false), func(e core.IndexEntry) bool { return e.Name == model && e.State == state })
	})
}

func (r *replay) behave(model, change string) {
	r.t.Helper()
	if _, err := r.server.core.SetSim(model, []byte(change)); err != nil {
		r.t.Fatal(err)
	}
}

func post(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func oneFloat(model string, value int) []byte {
	return post("/v2/models/"+model+"/infer", fmt.Sprintf(`{"inputs":[{"name":"INPUT0","shape":[1,1],"datatype":"FP32","data":[%d]}]}`, value))
}

func httpGroups(t *testing.T) []httpGroup {
	atStart := []string{
		"ens", "identity_alltypes", "identity_bf16", "identity_bool", "identity_bytes", "identity_count4", "identity_fast", "identity_fp16",
		"identity_fp32", "identity_fp64", "identity_int32", "identity_int64", "identity_int8", "identity_nodyn", "identity_uint64",
		"identity_uint8", "identity_var", "labels", "optional_in", "queue_prio", "queue_small", "queue_timeout", "repeat_int32",
		"reshape_in", "square_int32", "two_versions",
	}
	later := []string{"simple", "py_error", "py_llm", "seq_sum", "py_delay"}
	groups := []httpGroup{
		{name: "loaded later", without: []string{"slow_load", "cached"}, args: load(atStart...), run: replayLoadedLater},
		{name: "unloading", args: load("labels", "identity_fp32"), run: replayUnloading},
		{name: "while loading", without: []string{"cached"}, args: load(append(later, atStart...)...), run: replayWhileLoading},
		{name: "queue full", args: load("queue_small"), run: replayQueueFull},
		{name: "queue timeout", args: load("queue_timeout"), run: replayQueueTimeout},
		{name: "client disconnect", args: load("queue_timeout"), run: replayDisconnect},
		{name: "ensemble", args: load("ens"), run: func(r *replay) { r.capture("infer_ensemble", "stats_after_ens") }},
		{name: "warm-up", args: load("identity_count4"), run: func(r *replay) { r.capture("stats_after_identity_count4") }},
		{name: "decoupled", args: load("repeat_int32", "square_int32"), run: replayDecoupledStats},
		{name: "cache", args: append(load("cached"), "--cache-config=local,size=1048576"), run: replayCache},
		{
			name: "restricted", args: append(load("cached", "identity_fp32"), "--http-restricted-api=model-repository:x-demo-key=abc"),
			run: func(r *replay) {
				r.capture("restricted_repo_index", "restricted_load_wrong_key", "restricted_repo_index_ok")
			},
		},
		{name: "shutdown", args: load("identity_fp32", "queue_small"), run: replayShutdown},
	}
	return append(groups, httpGroup{
		name: "stateless", without: []string{"slow_load", "cached"}, args: load(atStart...),
		run: func(r *replay) { replayStateless(t, r) },
	})
}

// replayStateless sends what no other group has sent: each answer depends on
// the models that were loaded at the start and on nothing before it. It is the
// last group.
func replayStateless(t *testing.T, r *replay) {
	r.capture("stats_all_before", "stats_before_fp32", "stats_two_versions_all", "repo_index", "repo_index_ready")
	request, want := readCapture(t, "err_body_too_large")
	cut := bytes.LastIndex(request, []byte("...[["))
	head, body, _ := bytes.Cut(request[:cut], []byte("\r\n\r\n"))
	const size = 67108944 // as its Content-Length says
	body = append(bytes.Clone(body), bytes.Repeat([]byte("a"), size-len(body)-len(`"}`))...)
	r.compare("err_body_too_large", append(append(append(bytes.Clone(head), "\r\n\r\n"...), body...), `"}`...), want)
	for _, name := range httpCaptures(t) {
		if _, excluded := notReplayed()[name]; !excluded && !r.covered[name] {
			r.capture(name)
		}
	}
}

func replayLoadedLater(r *replay) {
	r.capture("repo_load_simple", "meta_model_simple", "config_simple", "infer_simple_ok")
	r.capture("repo_load_py_error", "pyerr_1", "pyerr_2", "pyerr_3", "pyerr_4", "pyerr_5", "pyerr_6", "pyerr_8", "pyerr_9", "pyerr_10", "stats_py_error")
	r.capture("repo_load_py_llm", "infer_on_decoupled_py", "generate_bad_json", "generate_missing_input", "generate_multi_error", "generate_one",
		"generate_stream", "generate_stream_missing_input", "generate_stream_params", "stats_py_llm")
	r.capture("repo_load_seq_sum", "config_seq_sum", "seq_not_started", "seq_no_id", "seq_string_id", "seq_start", "seq_mid", "seq_end")
	r.capture("repo_load_py_delay", "stats_all_after")
	r.capture("repo_load_broken", "health_ready_after_broken", "health_broken_ready", "infer_broken", "meta_model_broken", "repo_index_full",
		"repo_unload_broken", "health_ready_after_unload_broken")
}

func replayUnloading(r *replay) {
	r.capture("health_ready", "repo_unload")
	r.state("labels", core.StateUnavailable)
	r.capture("health_ready_after_unload", "health_unloaded_model", "infer_unloaded", "meta_model_unloaded", "stats_unloaded",
		"repo_load_labels_back", "repo_load_again", "infer_classification", "repo_load_config_override", "repo_load_bad_override")
	m, err := r.server.core.Find("labels", "")
	if err != nil || m.Config.MaxBatchSize != 4 {
		r.t.Errorf("the overridden configuration is not in force: %v", err)
	}
	r.capture("repo_load_labels_back", "repo_unload", "health_ready_after_plain_unload")
}

func replayWhileLoading(r *replay) {
	request, want := readCapture(r.t, "repo_load_slow")
	r.covered["repo_load_slow"] = true
	r.group.Go(func() {
		got, err := exchange(r.server.Address(httpPort), request)
		if err != nil || !bytes.Equal(got, want) {
			r.t.Errorf("repo_load_slow: %v %q", err, got)
		}
	})
	r.state("slow_load", core.StateLoading)
	r.capture("health_ready_while_loading", "health_model_ready_while_loading", "infer_while_loading", "repo_index_while_loading")
	r.wait()

	body := `{"inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]},{"name":"DELAY_MS","shape":[1,1],"datatype":"UINT32","data":[1500]}]}`
	r.background("200", post("/v2/models/py_delay/infer", body))
	r.inFlight(1)
	r.capture("repo_unload_busy", "repo_index_while_unloading", "infer_while_unloading")
}

func replayQueueFull(r *replay) {
	r.behave("queue_small", `{"service_time":{"base":"700ms"}}`)
	r.background("200", oneFloat("queue_small", 0))
	r.inFlight(1)
	r.queued("queue_small", 0)
	r.background("200", oneFloat("queue_small", 1))
	r.background("200", oneFloat("queue_small", 2))
	r.queued("queue_small", 2)
	r.capture("queue_full_rejected")
	r.wait()
	r.capture("stats_queue_small_after_reject", "queue_small_batch2")
}

func replayQueueTimeout(r *replay) {
	r.behave("queue_timeout", `{"service_time":{"base":"1s"}}`)
	r.background("200", oneFloat("queue_timeout", 0))
	r.inFlight(1)
	r.queued("queue_timeout", 0)
	for _, name := range []string{"queue_timeout_rejected", "queue_timeout_override"} {
		request, want := readCapture(r.t, name)
		r.covered[name] = true
		for range 2 {
			r.group.Go(func() {
				got, err := exchange(r.server.Address(httpPort), request)
				if err != nil || !bytes.Equal(got, want) {
					r.t.Errorf("%s: %v %q", name, err, got)
				}
			})
		}
	}
	r.wait()
	r.behave("queue_timeout", `{"service_time":{"base":"1ms"}}`)
	r.background("200", oneFloat("queue_timeout", 1))
	r.wait()
	r.capture("stats_queue_timeout_after_reject")
}

// A client that goes away doesn't cancel its request: here it times out in the
// queue, long after.
func replayDisconnect(r *replay) {
	r.behave("queue_timeout", `{"service_time":{"base":"1s"}}`)
	r.background("200", oneFloat("queue_timeout", 0))
	r.inFlight(1)
	r.queued("queue_timeout", 0)
	for i := range 3 {
		conn, err := net.Dial("tcp", r.server.Address(httpPort))
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := conn.Write(oneFloat("queue_timeout", i)); err != nil {
			r.t.Fatal(err)
		}
		r.queued("queue_timeout", int64(i+1))
		if err := conn.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	r.wait()
	r.inFlight(0)
	r.capture("stats_after_client_disconnect")
}

func replayDecoupledStats(r *replay) {
	g := dialGRPC(r.t, r.server)
	for _, name := range []string{"stream_repeat", "stream_repeat_empty_final"} {
		g.replay(r.t, name)
	}
	g.replayAs(r.t, "stream_square", squareRequest)
	r.inFlight(0)
	// The backend counts a request after it has answered it.
	until(r.t, "both requests are counted", func() bool {
		m, err := r.server.core.Find("repeat_int32", "")
		return err == nil && m.Stats().ExecutionCount == 2
	})
	r.capture("stats_after_repeat_int32", "stats_after_square_int32")
}

func replayCache(r *replay) {
	for _, name := range []string{"cached_infer_1", "cached_infer_2"} {
		request, _ := readCapture(r.t, name)
		r.background("200", request)
		r.wait()
	}
	r.capture("cached_infer_1", "cached_infer_2", "cached_infer_1", "stats_cached")
}

// replayShutdown stops the server while a request runs: that one is answered,
// new ones are cut without a word.
func replayShutdown(r *replay) {
	r.behave("queue_small", `{"service_time":{"base":"1s"}}`)
	r.background("200", oneFloat("queue_small", 0))
	r.inFlight(1)
	address := r.server.Address(httpPort)
	stopping := make(chan error, 1)
	go func() { stopping <- r.server.Stop(context.Background()) }()
	until(r.t, "the server stops", r.server.http.Closing)
	for _, name := range []string{"shutdown_health_live", "shutdown_health_ready", "shutdown_infer", "shutdown_meta"} {
		request, _ := readCapture(r.t, name)
		r.covered[name] = true
		if got, err := exchange(address, request); err == nil || len(got) > 0 {
			r.t.Errorf("%s: answered with %q", name, got)
		}
	}
	r.wait()
	if err := <-stopping; err != nil {
		r.t.Error(err)
	}
}

// A header of 70 kB is met with a reset connection.
func TestHeaderTooLarge(t *testing.T) {
	s := start(t, nil)
	request := "GET /v2 HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("y", 70_000) + "\r\n\r\n"
	if got, err := exchange(s.Address(httpPort), []byte(request)); err == nil || len(got) > 0 {
		t.Errorf("answered with %.80q", got)
	}
}

// Every captured answer of a model's configuration must follow from a file
// with only what a person would write.
func TestConfigIsCompleted(t *testing.T) {
	repository := t.TempDir()
	file := `
backend: identity
max_batch_size: 8
input: [{name: INPUT0, data_type: TYPE_INT32, dims: [2]}, {name: INPUT1, data_type: TYPE_INT32, dims: [2], optional: true}]
output: [{name: OUTPUT0, data_type: TYPE_INT32, dims: [2]}, {name: OUTPUT1, data_type: TYPE_INT32, dims: [2]}]
dynamic_batching: {}
`
	if err := os.WriteFile(filepath.Join(repository, "optional_in.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, repository)
	request, want := readCapture(t, "config_optional_in")
	got, err := exchange(s.Address(httpPort), request)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n want %s\n got  %s", err, want, got)
	}
}
