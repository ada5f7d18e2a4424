package triton

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var metricLine = regexp.MustCompile(`^([a-z_]+(?:\{.*\})?) (\S+)$`)

// seriesOf lists a page's series with their labels, and its HELP and TYPE
// lines in their order; values are dropped.
func seriesOf(t *testing.T, page string) (series, header []string) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") {
			header = append(header, line)
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no metric: %q", line)
		}
		seen[m[1]] = true
	}
	return slices.Sorted(maps.Keys(seen)), header
}

func scrape(t *testing.T, s *Server) string {
	t.Helper()
	response, err := exchange(s.Address(metricsPort), []byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(response, []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte("Content-Type: text/plain; charset=utf-8")) {
		t.Errorf("headers %q", head)
	}
	return string(body)
}

func compareMetrics(t *testing.T, capture, got string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(captureDir, "metrics", capture+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	wantSeries, wantHeader := seriesOf(t, string(data))
	gotSeries, gotHeader := seriesOf(t, got)
	for _, s := range wantSeries {
		if !slices.Contains(gotSeries, s) {
			t.Errorf("%s: series %s is missing", capture, s)
		}
	}
	for _, s := range gotSeries {
		if !slices.Contains(wantSeries, s) {
			t.Errorf("%s: series %s is not the real server's", capture, s)
		}
	}
	if !slices.Equal(wantHeader, gotHeader) {
		t.Errorf("%s: HELP and TYPE lines differ:\n want %s\n got  %s", capture, strings.Join(wantHeader, "\n      "), strings.Join(gotHeader, "\n      "))
	}
}

func TestConformanceMetrics(t *testing.T) {
	models := load("ens", "py_error", "py_llm", "repeat_int32", "square_int32", "queue_small", "identity_nodyn", "queue_timeout", "identity_fp32")
	replayed := map[string]bool{"cache.loaded": true}
	for config, flags := range map[string][]string{
		"default":           nil,
		"histogram":         {"--metrics-config=histogram_latencies=true"},
		"summary":           {"--metrics-config=summary_latencies=true"},
		"summary_quantiles": {"--metrics-config", "counter_latencies=false", "--metrics-config", "summary_latencies=true", "--metrics-config", `summary_quantiles="0.5:0.05,0.9:0.01,0.99:0.001"`},
		"all":               {"--metrics-config=summary_latencies=true", "--metrics-config=histogram_latencies=true"},
	} {
		t.Run(config, func(t *testing.T) {
			s := start(t, nil, append(slices.Clone(models), flags...)...)
			r := &replay{t: t, server: s, covered: map[string]bool{}}
			compareMetrics(t, config+".idle", scrape(t, s))
			request, _ := readCapture(t, "infer_json_ok")
			r.background("200", request)
			r.wait()
			page := scrape(t, s)
			compareMetrics(t, config+".loaded", page)
			count := `nv_inference_count{model="identity_fp32",version="1"} 1`
			if config == "summary_quantiles" {
				count = `nv_inference_count{model="identity_fp32",version="1"} 0` // frozen
			}
			if !strings.Contains(page, count+"\n") {
				t.Errorf("no line %s", count)
			}
			s.core.Unload("square_int32")
			r.state("square_int32", "UNAVAILABLE")
			compareMetrics(t, config+".after_unload", scrape(t, s))
		})
		for _, state := range []string{".idle", ".loaded", ".after_unload"} {
			replayed[config+state] = true
		}
	}
	t.Run("cache", func(t *testing.T) {
		s := start(t, nil, append(load("identity_fp32", "cached"), "--cache-config=local,size=1048576", "--metrics-config=summary_latencies=true")...)
		r := &replay{t: t, server: s, covered: map[string]bool{}}
		for _, name := range []string{"cached_infer_1", "cached_infer_1", "cached_infer_2", "cached_infer_1", "cached_infer_2"} {
			request, _ := readCapture(t, name)
			r.background("200", request)
			r.wait()
		}
		page := scrape(t, s)
		compareMetrics(t, "cache.loaded", page)
		for _, line := range []string{
			`nv_inference_request_success{model="cached",version="1"} 5`, `nv_inference_count{model="cached",version="1"} 2`,
			`nv_cache_num_hits_per_model{model="cached",version="1"} 3`, `nv_cache_num_misses_per_model{model="cached",version="1"} 2`,
			`input_byte_size_counter{model="cached",version="1"} 32`, `nv_inference_request_summary_us_count{model="identity_fp32",version="1"} 0`,
			`nv_inference_request_summary_us{model="identity_fp32",version="1",quantile="0.5"} Nan`,
		} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no line %s", line)
			}
		}
	})
	files, err := filepath.Glob(filepath.Join(captureDir, "metrics", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".txt"); !replayed[name] {
			t.Errorf("capture %s is not compared", name)
		}
	}
}

func TestMetricsPortAnswersEveryPath(t *testing.T) {
	s := start(t, nil)
	got, err := exchange(s.Address(metricsPort), []byte("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"))
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n"; err != nil || string(got) != want {
		t.Errorf("%v %q", err, got)
	}
}
