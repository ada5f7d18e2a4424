package plugin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

const serverMetadata = `{"name":"triton","version":"2.70.0","extensions":["model_repository","model_configuration","statistics"]}`

// fakeTriton answers as a server with one ready model and one that failed, but
// where an answer is replaced.
func fakeTriton(answers map[string]http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	say := func(path, body string) {
		if f := answers[path]; f != nil {
			mux.HandleFunc(path, f)
			return
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	say("/v2", serverMetadata)
	say("/v2/repository/index", `[{"name":"batching","version":"1","state":"READY"},{"name":"last","version":"3","state":"UNAVAILABLE","reason":"no memory"}]`)
	say("/v2/models/batching/versions/1/config", batchingConfig)
	say("/v2/models/stats", `{"model_stats":[{"name":"batching","version":"1","last_inference":1000,"inference_stats":{"success":{"count":5,"ns":1},"fail":{"count":2,"ns":1}}}]}`)
	say("/metrics", "nv_model_load_duration_secs{model=\"batching\",version=\"1\"} 2.5\n")
	say("/v2/repository/models/batching/load", "")
	say("/v2/repository/models/batching/unload", "")
	return mux
}

// tunnelTo is a way to pods that are servers on this machine.
func tunnelTo(t *testing.T, handlers ...http.Handler) *modelsTunnel {
	t.Helper()
	tunnel := &modelsTunnel{service: &tritonService{Namespace: "triton", Name: "triton-infer"}}
	addresses := map[string]string{}
	for i, h := range handlers {
		server := httptest.NewServer(h)
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
		})
		pod := customPod("triton", fmt.Sprint("pod-", i))
		pod.UID = types.UID(pod.Name)
		addresses[pod.Name] = server.Listener.Addr().String()
		tunnel.objects = append(tunnel.objects, *pod)
		tunnel.pods = append(tunnel.pods, portforward.Candidate{Ready: true, Pod: portforward.PodRef{Namespace: "triton", Name: pod.Name, UID: pod.Name, Port: 8000}})
	}
	tunnel.dial = func(ref portforward.PodRef) dialFunc {
		return func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addresses[ref.Name])
		}
	}
	return tunnel
}

func refuse(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q}`, message)
	}
}

// TestReadModels: what one pod refuses, delays or gets wrong is said of it alone.
func TestReadModels(t *testing.T) {
	defer goleak.VerifyNone(t)
	hang := make(chan struct{})
	defer close(hang)
	stall := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	restricted := refuse(http.StatusForbidden, "This API is restricted, expecting header 'x-demo-key'")
	cases := []struct {
		name    string
		answers map[string]http.HandlerFunc
		problem string // of the pod
		config  string // why the configuration isn't known
		served  bool
		load    bool
	}{
		{"all well", nil, "", "", true, true},
		{"something else", map[string]http.HandlerFunc{"/v2": refuse(http.StatusNotFound, "no such page")}, "not Triton's HTTP endpoint", "", false, false},
		{"silence", map[string]http.HandlerFunc{"/v2": stall}, "time limit", "", false, false},
		{"a restricted index", map[string]http.HandlerFunc{"/v2/repository/index": restricted}, "This API is restricted", "", false, false},
		{"an index that hangs", map[string]http.HandlerFunc{"/v2/repository/index": stall}, "time limit", "", false, false},
		{"an index of nonsense", map[string]http.HandlerFunc{"/v2/repository/index": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }}, "unreadable JSON", "", false, false},
		{"no configuration", map[string]http.HandlerFunc{"/v2/models/batching/versions/1/config": refuse(http.StatusNotFound, "Request for unknown model: 'batching' is not found")}, "", "unknown model", true, true},
		{"a configuration that hangs", map[string]http.HandlerFunc{"/v2/models/batching/versions/1/config": stall}, "", "time limit", true, true},
		{"no statistics", map[string]http.HandlerFunc{"/v2/models/stats": restricted}, "", "", false, true},
		{"no metrics", map[string]http.HandlerFunc{"/metrics": refuse(http.StatusNotFound, "")}, "", "", true, false},
		{"metrics of nonsense", map[string]http.HandlerFunc{"/metrics": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{{{") }}, "", "", true, false},
	}
	t.Run("pods", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				tunnel := tunnelTo(t, fakeTriton(c.answers), fakeTriton(nil))
				limit := time.Minute
				if c.problem == "time limit" || c.config == "time limit" {
					limit = 3 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				reading, err := tunnel.read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if other := reading.pods[1]; other.err != nil || len(other.models) != 2 || other.models[0].config == nil || other.models[0].stats == nil || other.models[0].counters == nil {
					t.Errorf("the other pod said %+v", other)
				}
				pod := reading.pods[0]
				if (pod.err == nil) != (c.problem == "") || pod.err != nil && !strings.Contains(pod.err.Error(), c.problem) {
					t.Fatalf("the pod's problem is %v, want %q", pod.err, c.problem)
				}
				if pod.err != nil {
					return
				}
				m := pod.models[0]
				if (m.configErr == nil) != (c.config == "") || m.configErr != nil && !strings.Contains(m.configErr.Error(), c.config) || (m.config == nil) != (m.configErr != nil) {
					t.Errorf("the configuration is %v, %v, want %q", m.config, m.configErr, c.config)
				}
				if (m.stats != nil) != c.served || m.stats != nil && m.stats.Success.Count != 5 {
					t.Errorf("the statistics are %+v", m.stats)
				}
				if (m.counters != nil) != c.load || m.counters != nil && m.counters.LoadTime != 2500*time.Millisecond {
					t.Errorf("the counters are %+v", m.counters)
				}
				if pod.models[1].config != nil || pod.models[1].Reason != "no memory" {
					t.Errorf("the failed model is %+v", pod.models[1])
				}
			})
		}
	})
}

// TestEvictedPodsAreNotAsked: they stay as records behind the Service, and a
// model that is on all others is on all.
func TestEvictedPodsAreNotAsked(t *testing.T) {
	evicted := customPod("triton", "t", "http:8000")
	evicted.Name, evicted.Status = "evicted", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
	c := &cluster{
		client: fake.NewClientset(service("triton", "triton-infer", "t", usualPorts...), customPod("triton", "t", "http:8000"), evicted),
		rest:   &rest.Config{Host: "https://cluster.example"},
	}
	o := newModelsFlags(time.Minute)
	tunnel, err := c.openModels(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.dialer.Close()
	if len(tunnel.pods) != 1 || tunnel.pods[0].Pod.Name == "evicted" {
		t.Errorf("these would be asked: %+v", tunnel.pods)
	}
}

// TestChangeModels: pods are changed side by side, each one's outcome is told, and
// an unload is done when the model is gone.
func TestChangeModels(t *testing.T) {
	defer goleak.VerifyNone(t)
	refused := map[string]http.HandlerFunc{
		"/v2/repository/models/batching/load":   refuse(http.StatusServiceUnavailable, "explicit model load / unload is not allowed if polling is enabled"),
		"/v2/repository/models/batching/unload": refuse(http.StatusServiceUnavailable, "explicit model load / unload is not allowed if polling is enabled"),
	}
	// leaving is a Triton whose model takes some questions to be gone.
	leaving := func(questions int64) map[string]http.HandlerFunc {
		var asked atomic.Int64
		state := "READY"
		var unloading atomic.Bool
		return map[string]http.HandlerFunc{
			"/v2/repository/models/batching/unload": func(http.ResponseWriter, *http.Request) { unloading.Store(true) },
			"/v2/repository/index": func(w http.ResponseWriter, _ *http.Request) {
				answer := state
				if unloading.Load() {
					answer = "UNLOADING"
					if asked.Add(1) > questions {
						answer = "UNAVAILABLE"
					}
				}
				fmt.Fprintf(w, `[{"name":"batching","version":"1","state":%q,"reason":"unloaded"}]`, answer)
			},
		}
	}
	for _, c := range []struct {
		name     string
		unload   bool
		servers  []http.Handler
		timeout  time.Duration
		out, err string
		lines    int // of out
	}{
		{"load", false, []http.Handler{fakeTriton(nil), fakeTriton(nil)}, 5 * time.Second, "model/batching loaded on pod/pod-", "", 2},
		{"load, one refuses", false, []http.Handler{fakeTriton(nil), fakeTriton(refused)}, 5 * time.Second, "pod/pod-0-0 in ", "was not loaded on 1 of 2 pods: pod pod-1-0: ", 1},
		{"load, all refuse", false, []http.Handler{fakeTriton(refused), fakeTriton(refused)}, 5 * time.Second, "", "add that flag to the container's command", 0},
		{"unload", true, []http.Handler{fakeTriton(leaving(3))}, 5 * time.Second, "model/batching unloaded on pod/pod-0-0 in ", "", 1},
		{"unload that hangs", true, []http.Handler{fakeTriton(leaving(1e9))}, 2 * time.Second, "", "still unloading after 2s", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tunnel := tunnelTo(t, c.servers...)
			streams, _, out, _ := genericiooptions.NewTestIOStreams()
			o := NewModelsControlOptions(streams, c.unload)
			o.Model, o.Timeout, o.Yes = "batching", c.timeout, true
			reading, err := tunnel.read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = o.apply(t.Context(), tunnel, reading)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.out) || strings.Count(out.String(), "\n") != c.lines {
				t.Errorf("it printed %q", out.String())
			}
		})
	}
}
