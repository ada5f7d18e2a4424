package metrics

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzPrometheusAnswers: whatever a Prometheus, or a proxy at its address,
// answers, each question ends with figures that can be printed or with a sentence.
func FuzzPrometheusAnswers(f *testing.F) {
	const vector = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","UUID":"GPU-1","gpu":"0","job":"dcgm","instance":"i","Hostname":"n"},"value":[1700000000,"42"]}]}}`
	const matrix = `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","UUID":"GPU-1","gpu":"0","job":"dcgm","instance":"i","Hostname":"n"},"values":[[1700000000,"42"],[1700000001,"NaN"],[1700000002,"1e309"],[1700000003,"7"]]}]}}`
	const targets = `{"status":"success","data":{"activeTargets":[{"discoveredLabels":{"__address__":"10.0.0.9:9400"},"labels":{"job":"dcgm","instance":"i"},"scrapePool":"serviceMonitor/a/b/0","scrapeUrl":"http://10.0.0.9:9400/metrics","lastError":"","health":"up","scrapeInterval":"1s"}],"droppedTargets":[{"discoveredLabels":{"__meta_kubernetes_namespace":"triton","__meta_kubernetes_pod_name":"infer-0","job":"serviceMonitor/a/b/0"}}]}}`
	f.Add([]byte(vector), []byte(matrix), []byte(targets))
	f.Add([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1700000000"]}}`), []byte(vector), []byte(`{"status":"error","errorType":"bad_data","error":"no"}`))
	f.Add([]byte(`{"status":"success","data":{"groups":[{"name":"g","file":"f","rules":[{"name":"r","query":"1","type":"recording","health":"ok"}]}]}}`), []byte(`{"status":"success","data":{"storageRetention":"15d"}}`), []byte(`<html>`))
	f.Add([]byte(`{}`), []byte(`null`), []byte(``))
	f.Fuzz(func(t *testing.T, at, over, targets []byte) {
		p, err := NewPrometheus("http://prometheus", roundTripper(func(req *http.Request) (*http.Response, error) {
			body := at
			if strings.HasSuffix(req.URL.Path, "/targets") {
				body = targets
			} else if req.Body != nil {
				// A question over a time has a range in brackets.
				if asked, err := io.ReadAll(req.Body); err == nil && bytes.Contains(asked, []byte("%5B")) {
					body = over
				}
			}
			return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		check := func(question string, answer any, err error) {
			if err != nil {
				if strings.TrimSpace(err.Error()) == "" {
					t.Errorf("%s: an error without a sentence", question)
				}
				return
			}
			// Results are printed as JSON, which has no NaN and no infinity.
			if _, err := json.Marshal(answer); err != nil {
				t.Errorf("%s: an answer that can't be printed: %v", question, err)
			}
		}
		start := time.Unix(1700000000, 0)
		pods := []NamespacedName{{Namespace: "triton", Name: "infer-0"}}
		for _, sel := range []GPUSelector{{}, {Pods: pods}} {
			w, err := p.GPUWindow(ctx, sel, start, start.Add(3*time.Second))
			check("GPUWindow", w, err)
			for _, g := range w.GPUs {
				if g.Samples < 0 || g.Readings > g.Samples || g.UtilizationAvg != nil && (*g.UtilizationAvg < 0 || *g.UtilizationAvg > 1) {
					t.Errorf("GPU %+v", g)
				}
			}
		}
		scrape, err := p.TritonScraped(ctx, pods, start, start.Add(3*time.Second))
		check("TritonScraped", scrape, err)
		states, err := p.TargetStates(ctx)
		check("TargetStates", states, err)
		count, err := p.Count(ctx, "series", "up")
		check("Count", count, err)
		storage, err := p.Storage(ctx)
		check("Storage", storage, err)
		gpus, exporters, err := p.CountGPUs(ctx)
		check("CountGPUs", []int{gpus, exporters}, err)
		groups, err := p.RuleGroups(ctx)
		check("RuleGroups", groups, err)
		job, rule, err := p.DroppedBy(ctx, "serviceMonitor/a/b/", "triton", "infer-0")
		check("DroppedBy", []string{job, rule}, err)
	})
}
