package metrics

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDCGMNames(t *testing.T) {
	for name, c := range map[string]struct {
		names               string
		any, upTo48, from49 bool
	}{
		"none":              {"go_goroutines nv_gpu_utilization", false, false, false},
		"old":               {"DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_FB_USED", true, true, false},
		"recent":            {"DCGM_FI_DEV_GPU_UTIL_RATIO DCGM_FI_DEV_FB_USED_BYTES DCGM_FI_DEV_XID_ERROR", true, false, true},
		"both":              {"DCGM_FI_DEV_FB_USED DCGM_FI_DEV_FB_USED_BYTES", true, true, true},
		"in both alike":     {"DCGM_FI_PROF_PCIE_TX_BYTES", true, false, false},
		"one of a CSV only": {"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", true, false, false},
	} {
		a, o, r := DCGMNames(strings.Fields(c.names))
		if a != c.any || o != c.upTo48 || r != c.from49 {
			t.Errorf("%s: %v %v %v", name, a, o, r)
		}
	}
}

func TestFamilyNames(t *testing.T) {
	names, err := FamilyNames(strings.NewReader("# TYPE b gauge\nb 1\n# TYPE a counter\na 2\n"))
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("%v %v", names, err)
	}
	if _, err := FamilyNames(strings.NewReader("<html>")); err == nil {
		t.Error("a web page passed for metrics")
	}
}

// TestDroppedBy: the rule that drops a pod, by servers that tell it and others.
func TestDroppedBy(t *testing.T) {
	const dropped = `{"status":"success","data":{"droppedTargets":[
		{"scrapePool":"podMonitor/other/x/0","discoveredLabels":{"__meta_kubernetes_namespace":"ns","__meta_kubernetes_pod_name":"p"}},
		{"scrapePool":"podMonitor/ns/m/0","discoveredLabels":{"__meta_kubernetes_namespace":"ns","__meta_kubernetes_pod_name":"other"}},
		{"scrapePool":"podMonitor/ns/m/1","discoveredLabels":{"__meta_kubernetes_namespace":"ns","__meta_kubernetes_pod_name":"p","port":"http"}},
		{"scrapePool":"podMonitor/ns/m/1","discoveredLabels":{"__meta_kubernetes_namespace":"ns","__meta_kubernetes_pod_name":"p","port":"metrics"}}]}}`
	const otherPort = `{"status":"success","data":{"steps":[{"rule":{"action":"keep","source_labels":["port"],"regex":"metrics"},"keep":false}]}}`
	const steps = `{"status":"success","data":{"steps":[
		{"rule":{"action":"replace","source_labels":["a"],"regex":"(.*)"},"keep":true},
		{"rule":{"action":"drop","source_labels":["__meta_x","y"],"regex":"triton.*"},"keep":false}]}}`
	for name, c := range map[string]struct {
		pools, pod, steps string
		job, rule         string
	}{
		"the rule":             {"podMonitor/ns/m/", "p", steps, "podMonitor/ns/m/1", `drop of __meta_x, y by "triton.*"`},
		"a server without it":  {"podMonitor/ns/m/", "p", "", "podMonitor/ns/m/1", "one of its relabelings"},
		"another job drops it": {"podMonitor/ns/else/", "p", steps, "", ""},
		"another pod":          {"podMonitor/ns/m/", "q", steps, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/api/v1/targets" && r.URL.Query().Get("state") == "dropped":
					_, _ = w.Write([]byte(dropped))
				case r.URL.Path == "/api/v1/targets/relabel_steps" && c.steps != "":
					var labels map[string]string
					if err := json.Unmarshal([]byte(r.URL.Query().Get("labels")), &labels); err != nil || labels["__meta_kubernetes_pod_name"] != "p" || r.URL.Query().Get("scrapePool") != c.job {
						t.Errorf("asked with %v: %v", r.URL.Query(), err)
					}
					if labels["port"] == "http" {
						_, _ = w.Write([]byte(otherPort))
						return
					}
					_, _ = w.Write([]byte(c.steps))
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			p, err := NewPrometheus(server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			job, rule, err := p.DroppedBy(t.Context(), c.pools, "ns", c.pod)
			if err != nil || job != c.job || rule != c.rule {
				t.Errorf("%q, %q, %v; want %q, %q", job, rule, err, c.job, c.rule)
			}
		})
	}
}
