package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// start is a whole second some time ago: every sample has arrived.
func start() time.Time { return time.Now().Add(-time.Hour).Truncate(time.Second) }

var inferPod = NamespacedName{"triton", "infer-0"}

const (
	exporter48 = `job="dcgm",instance="10.0.0.1:9400",namespace="monitoring",pod="dcgm-x",container="exporter"`
	gpu48      = exporter48 + `,gpu="0",UUID="` + uuidA + `",modelName="` + a100 + `",Hostname="n1"`
	held48     = gpu48 + `,exported_namespace="triton",exported_pod="infer-0",exported_container="triton"`
	gpu49      = `job="dcgm",instance="10.0.0.2:9400",gpu="1",UUID="` + uuidC + `",modelName="H100",hostname="n2",namespace="triton",pod="infer-0",container="triton"`
)

func dcgmTarget(interval string) target {
	return target{ScrapeURL: "http://10.0.0.1:9400/metrics", Health: "up", ScrapeInterval: interval, Labels: map[string]string{
		"job": "dcgm", "instance": "10.0.0.1:9400", "namespace": "monitoring", "pod": "dcgm-x"}}
}

func TestGPUWindow(t *testing.T) {
	s := start()
	// A sample each second from one second before the window to one after it.
	whole := func(values ...float64) []fakeSample { return every(time.Second, s.Add(-time.Second), values...) }
	old := func(p *fakeProm) {
		p.targets = []target{dcgmTarget("1s")}
		p.add(`DCGM_FI_DEV_GPU_UTIL{`+held48+`}`, whole(99, 10, 30, 80, 40, 99)...)
		p.add(`DCGM_FI_DEV_FB_USED{`+held48+`}`, whole(9000, 1000, 2000, 3000, 2000, 9000)...)
		p.add(`DCGM_FI_DEV_FB_FREE{`+held48+`}`, whole(0, 9000, 8000, 7000, 8000, 0)...)
		p.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, whole(999, 100, 200, 400, 300, 999)...)
		p.add(`DCGM_FI_DEV_GPU_TEMP{`+held48+`}`, whole(99, 50, 60, 70, 60, 99)...)
		p.add(`DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{`+held48+`}`, whole(0, 1e6, 1.2e6, 1.5e6, 1.9e6, 9e9)...)
	}
	wantOld := GPUSummary{
		GPU:    GPU{UUID: uuidA, Index: "0", Model: a100, Node: "n1", Namespace: "triton", Pod: "infer-0", Container: "triton"},
		Family: FamilyDCGM, Samples: 4, Readings: 4, UtilizationAvg: f(0.4), UtilizationPeak: f(0.8), UtilizationFrom: UtilizationKernels,
		MemoryUsedAvgBytes: f(2000 << 20), MemoryUsedPeakBytes: f(3000 << 20), MemoryTotalBytes: f(10000 << 20),
		PowerAvgW: f(250), PowerPeakW: f(400), TemperatureAvgC: f(60), TemperaturePeakC: f(70),
		EnergyJ: f(900), EnergyCovered: 3 * time.Second, EnergyFrom: EnergyCounter,
	}
	wantNew := GPUSummary{
		GPU:    GPU{UUID: uuidC, Index: "1", Model: "H100", Node: "n2", Namespace: "triton", Pod: "infer-0", Container: "triton"},
		Family: FamilyDCGM, Samples: 4, Readings: 4, UtilizationAvg: f(0.5), UtilizationPeak: f(0.8), UtilizationFrom: UtilizationKernels,
		MemoryTotalBytes: f(80 << 30), EnergyJ: f(30), EnergyCovered: 3 * time.Second, EnergyFrom: EnergyCounter,
	}
	recent := func(p *fakeProm) {
		p.add(`DCGM_FI_DEV_GPU_UTIL_RATIO{`+gpu49+`}`, whole(1, 0.2, 0.4, 0.6, 0.8, 1)...)
		p.add(`DCGM_FI_DEV_FB_CAPACITY_BYTES{`+gpu49+`}`, whole(80<<30, 80<<30, 80<<30, 80<<30, 80<<30, 80<<30)...)
		p.add(`DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL{`+gpu49+`}`, whole(0, 10, 20, 30, 40, 999)...)
	}
	triton := func(p *fakeProm) {
		const labels = `{job="triton",instance="10.0.0.9:8002",namespace="triton",pod="infer-0",gpu_uuid="` + uuidA + `"}`
		p.add("nv_gpu_utilization"+labels, whole(1, 0.1, 0.2, 0.3, 0.2, 1)...)
		p.add("nv_energy_consumption"+labels, whole(1, 5, 6, 7, 8, 100)...)
	}
	wantTriton := GPUSummary{
		GPU:    GPU{UUID: uuidA, Namespace: "triton", Pod: "infer-0"},
		Family: FamilyTriton, Samples: 4, Readings: 4, UtilizationAvg: f(0.2), UtilizationPeak: f(0.3), UtilizationFrom: UtilizationKernels,
		EnergyJ: f(3), EnergyCovered: 3 * time.Second, EnergyFrom: EnergyCounter,
	}
	byThePod := GPUSelector{Pods: []NamespacedName{inferPod}}

	for name, test := range map[string]struct {
		sel  GPUSelector
		fill func(*fakeProm)
		want GPUWindow
	}{
		"old names": {byThePod, old, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byPod, GPUs: []GPUSummary{wantOld}}},
		"both generations": {byThePod, func(p *fakeProm) { old(p); recent(p) },
			GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byPod, GPUs: []GPUSummary{wantOld, wantNew}}},
		"new names, no target list": {GPUSelector{UUIDs: []string{uuidC}}, func(p *fakeProm) {
			recent(p)
			p.fail = map[string]func(http.ResponseWriter){"/api/v1/targets": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }}
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byUUID, GPUs: []GPUSummary{wantNew},
			Gaps: []string{"the scrape interval is an estimate from the samples"}}},
		"Triton only": {byThePod, triton, GPUWindow{Source: "Prometheus (Triton nv_gpu_*)", Interval: time.Second, SelectedBy: byTritonPod, GPUs: []GPUSummary{wantTriton}}},
		"dcgm-exporter without pod labels, found through Triton": {byThePod, func(p *fakeProm) {
			old(p)
			triton(p)
			for _, s := range p.series {
				for _, label := range []string{"exported_namespace", "exported_pod", "exported_container"} {
					delete(s.labels, label)
				}
			}
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byTritonPod, GPUs: []GPUSummary{func() GPUSummary {
			g := wantOld
			g.Container = ""
			return g
		}()}}},
		"dcgm-exporter too slow, Triton quick enough": {byThePod, func(p *fakeProm) {
			p.targets = []target{dcgmTarget("30s")}
			p.add(`DCGM_FI_DEV_GPU_UTIL{`+held48+`}`, fakeSample{s.Add(time.Second), 50})
			triton(p)
		}, GPUWindow{Source: "Prometheus (Triton nv_gpu_*)", Interval: time.Second, SelectedBy: byPod, GPUs: []GPUSummary{func() GPUSummary {
			g := wantTriton
			g.Index, g.Model, g.Node, g.Container = "0", a100, "n1", "triton"
			return g
		}()}}},
		"too few samples": {byThePod, func(p *fakeProm) {
			p.targets = []target{dcgmTarget("2s")}
			p.add(`DCGM_FI_DEV_GPU_UTIL{`+held48+`}`, every(2*time.Second, s.Add(time.Second), 50, 60)...)
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: 2 * time.Second, SelectedBy: byPod, GPUs: []GPUSummary{
			{GPU: wantOld.GPU, Family: FamilyDCGM, Samples: 2, Insufficient: true}}}},
		"idle GPU under honor_labels carries the exporter's own pod": {GPUSelector{Nodes: []string{"n1"}}, func(p *fakeProm) {
			p.targets = []target{dcgmTarget("1s")}
			p.add(`DCGM_FI_DEV_GPU_TEMP{`+gpu48+`}`, whole(30, 30, 30, 30, 30, 30)...)
			p.add(`DCGM_FI_DEV_POWER_USAGE{`+gpu48+`}`, whole(50, 50, 50, 50, 50, 50)...)
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byNode, GPUs: []GPUSummary{{
			GPU: GPU{UUID: uuidA, Index: "0", Model: a100, Node: "n1"}, Family: FamilyDCGM, Samples: 4, PowerAvgW: f(50), PowerPeakW: f(50),
			TemperatureAvgC: f(30), TemperaturePeakC: f(30), EnergyJ: f(150), EnergyCovered: 3 * time.Second, EnergyFrom: EnergyIntegral}}}},
		"scraped by two jobs": {byThePod, func(p *fakeProm) {
			old(p)
			for _, series := range slices.Clone(p.series) {
				labels := map[string]string{}
				for k, v := range series.labels {
					labels[k] = v
				}
				labels["job"] = "again"
				p.series = append(p.series, fakeSeries{labels, series.samples[1:3]})
			}
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byPod, GPUs: []GPUSummary{wantOld}}},
		"exporter restarted at another address, GPU shared by two pods": {byThePod, func(p *fakeProm) {
			old(p)
			for i, series := range slices.Clone(p.series) {
				after, shared := map[string]string{}, map[string]string{}
				for k, v := range series.labels {
					after[k], shared[k] = v, v
				}
				after["instance"], shared["exported_pod"] = "10.0.0.77:9400", "other"
				p.series[i].samples = series.samples[:3]
				p.series = append(p.series, fakeSeries{after, series.samples[3:]}, fakeSeries{shared, series.samples[:3]})
			}
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: time.Second, SelectedBy: byPod, GPUs: []GPUSummary{wantOld}}},
		"another pod's GPU": {byThePod, func(p *fakeProm) {
			p.add(`DCGM_FI_DEV_POWER_USAGE{`+gpu48+`,exported_namespace="x",exported_pod="y"}`, whole(1, 1, 1, 1, 1, 1)...)
			broken := dcgmTarget("1s")
			broken.LastError = "connection refused"
			p.targets = []target{broken}
		}, GPUWindow{Gaps: []string{
			"there are metrics of 1 GPU in Prometheus for this window, but of none that belongs to pods triton/infer-0",
			"Prometheus' last scrape of http://10.0.0.1:9400/metrics failed: connection refused"}}},
		"no GPU at all": {byThePod, func(*fakeProm) {}, GPUWindow{Gaps: []string{"there are no GPU metrics in Prometheus for this window: neither DCGM_FI_* nor nv_gpu_*"}}},
		"a hole, and a broken target": {byThePod, func(p *fakeProm) {
			broken := dcgmTarget("500ms")
			broken.LastError = "context deadline exceeded"
			p.targets = []target{broken}
			p.add(`DCGM_FI_DEV_GPU_TEMP{`+held48+`}`, append(every(500*time.Millisecond, s, 40, 41), fakeSample{s.Add(2500 * time.Millisecond), 42})...)
			p.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, fakeSample{s, 1})
		}, GPUWindow{Source: "Prometheus (DCGM)", Interval: 500 * time.Millisecond, SelectedBy: byPod,
			GPUs: []GPUSummary{{GPU: wantOld.GPU, Family: FamilyDCGM, Samples: 3, TemperatureAvgC: f(41), TemperaturePeakC: f(42)}},
			Gaps: []string{"no samples of GPU 0 on n1 in Prometheus for 2 s, from 500 ms after the start",
				"Prometheus' last scrape of http://10.0.0.1:9400/metrics failed: context deadline exceeded"}}},
	} {
		for _, leftOpen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, left open %v", name, leftOpen), func(t *testing.T) {
				prom := &fakeProm{t: t, leftOpen: leftOpen}
				test.fill(prom)
				got, err := prom.serve().GPUWindow(t.Context(), test.sel, s, s.Add(3*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				// Of a sentence that quotes an error, only the beginning is fixed.
				for i := range min(len(got.Gaps), len(test.want.Gaps)) {
					if strings.HasPrefix(got.Gaps[i], test.want.Gaps[i]) {
						got.Gaps[i] = test.want.Gaps[i]
					}
				}
				test.want.Start, test.want.End = s, s.Add(3*time.Second)
				if diff := cmp.Diff(test.want, got, equal, cmpopts.IgnoreFields(GPUWindow{}, "ClockSkew", "ClockUncertainty"), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestGPUWindowMovesToTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start()
		prom := &fakeProm{t: t, leftOpen: true, ahead: time.Minute}
		prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, every(time.Second, s.Add(time.Minute), 1, 2, 3)...)
		prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, every(time.Second, s, 100, 100, 100)...)
		w, err := prom.direct().GPUWindow(t.Context(), GPUSelector{}, s, s.Add(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if w.ClockSkew != time.Minute || !w.Start.Equal(s.Add(time.Minute)) || *w.GPUs[0].PowerPeakW != 3 || w.GPUs[0].Samples != 3 {
			t.Errorf("got skew %v, start %v, %+v", w.ClockSkew, w.Start, w.GPUs)
		}
		if want := "Prometheus' clock is 60 s ahead of this machine's; the window was moved to match it"; !slices.Contains(w.Gaps, want) {
			t.Errorf("gaps %q lack %q", w.Gaps, want)
		}
	})
}

// An answer that lacks what some server behind Prometheus has says so in a
// warning, and so does the window.
func TestGPUWindowTellsWarnings(t *testing.T) {
	s := start()
	prom := &fakeProm{t: t, warns: []string{"No StoreAPIs matched for this query: store-2 is unreachable"}}
	const want = "Prometheus warned of its answer: No StoreAPIs matched for this query: store-2 is unreachable"
	told := func() (n int) {
		w, err := prom.direct().GPUWindow(t.Context(), GPUSelector{}, s, s.Add(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range w.Gaps {
			if g == want {
				n++
			}
		}
		return n
	}
	if n := told(); n != 1 {
		t.Errorf("of an empty window it was told %d times", n)
	}
	prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, every(time.Second, s, 1, 2, 3)...)
	if n := told(); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

// A long window is read in pieces; none of its samples is lost or read twice.
func TestGPUWindowInPieces(t *testing.T) {
	for _, leftOpen := range []bool{true, false} {
		prom := &fakeProm{t: t, leftOpen: leftOpen}
		s := start().Add(-24 * time.Hour).Add(333 * time.Microsecond)
		first := s.Truncate(time.Millisecond).Add(time.Millisecond)
		// Samples on both sides of the pieces' seam, a millisecond apart.
		values := make([]float64, 7201)
		for i := range values {
			values[i] = float64(i)
		}
		samples := every(time.Second, first, values...)
		samples = slices.Insert(samples, 3601, fakeSample{first.Add(time.Hour + time.Millisecond), 3600.5})
		prom.add(`DCGM_FI_DEV_GPU_TEMP{`+held48+`}`, samples...)
		prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, samples...)
		w, err := prom.serve().GPUWindow(t.Context(), GPUSelector{}, s, s.Add(2*time.Hour+time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got := w.GPUs[0].Samples; got != 7202 {
			t.Errorf("left open %v: %d samples, want 7202", leftOpen, got)
		}
	}
}

func TestPrometheusErrors(t *testing.T) {
	s := start()
	answer := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var unreachable *UnreachableError
	var status *StatusError
	var refused *APIError
	for name, test := range map[string]struct {
		fail func(http.ResponseWriter)
		as   any
		says []string
	}{
		"API error":  {answer(422, `{"status":"error","errorType":"execution","error":"query processing would load too many samples"}`), &refused, []string{"execution", "too many samples", "--query.max-samples"}},
		"timeout":    {answer(503, `{"status":"error","errorType":"timeout","error":"query timed out"}`), new(error), []string{"Prometheus at http://127.0.0.1"}},
		"starting":   {answer(503, "Service Unavailable"), &status, []string{"503", "replaying"}},
		"proxy page": {answer(502, "<html><body>Bad Gateway</body></html>"), &status, []string{"502 Bad Gateway;"}},
		"proxy auth": {answer(401, "no"), &status, []string{"401", "authenticating proxy"}},
		"not it":     {answer(404, "404 page not found"), &status, []string{"404", "path prefix"}},
		"no JSON":    {answer(200, "hello"), new(error), []string{"check that this is Prometheus"}},
		"odd JSON":   {answer(200, `{"status":"success","data":{"resultType":"vector","result":[]}}`), new(error), []string{"makes no sense"}},
		"cut off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"status":`)
		}, &unreachable, []string{"could not reach", "check that its pod is ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			prom := &fakeProm{t: t, fail: map[string]func(http.ResponseWriter){"/api/v1/query": test.fail}}
			_, err := prom.serve().GPUWindow(t.Context(), GPUSelector{}, s, s.Add(time.Second))
			if err == nil || !errors.As(err, test.as) {
				t.Fatalf("got %T: %v", err, err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
		})
	}

	gone := httptest.NewServer(nil)
	gone.Close()
	p, err := NewPrometheus(gone.URL, &http.Transport{DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); !errors.As(err, &unreachable) {
		t.Errorf("refused connection: got %v", err)
	}
	if _, err := p.GPUWindow(t.Context(), GPUSelector{}, s, s); err == nil || !strings.Contains(err.Error(), "must end after it starts") {
		t.Errorf("empty window: got %v", err)
	}
	for _, address := range []string{"", "prometheus:9090", "ftp://x", "http://me:secret@\x7f", "http://"} {
		if _, err := NewPrometheus(address, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

// A server that accepts a question and never answers holds nobody longer than
// the context allows.
func TestPrometheusHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPrometheus("http://prometheus", roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		var unreachable *UnreachableError
		if err := p.WaitFor(ctx, GPUSelector{}, began); !errors.As(err, &unreachable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestReady(t *testing.T) {
	prom := &fakeProm{t: t}
	p := prom.serve()
	if err := p.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	prom.fail = map[string]func(http.ResponseWriter){"/-/ready": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }}
	if err := p.Ready(t.Context()); err != nil {
		t.Errorf("a server with the API only: %v", err)
	}
	prom.fail["/-/ready"] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }
	var status *StatusError
	if err := p.Ready(t.Context()); !errors.As(err, &status) || status.Status != 503 {
		t.Errorf("starting: got %v", err)
	}
}

func TestWaitFor(t *testing.T) {
	for name, test := range map[string]struct {
		scrapes  []time.Duration // after the window's end
		interval string
		want     time.Duration
	}{
		"until the next scrape":              {[]time.Duration{-4 * time.Second, 3100 * time.Millisecond}, "5s", 3250 * time.Millisecond},
		"a scrape at the end is not after":   {[]time.Duration{0, 5 * time.Second}, "5s", 5 * time.Second},
		"no scrape any more":                 {[]time.Duration{-4 * time.Second}, "5s", 11250 * time.Millisecond},
		"the interval unknown":               {[]time.Duration{-4 * time.Second, 20 * time.Second}, "", 20 * time.Second},
		"an interval shorter than its polls": {[]time.Duration{-100 * time.Millisecond, 100 * time.Millisecond}, "200ms", 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := time.Now()
				prom := &fakeProm{t: t, leftOpen: true, targets: []target{dcgmTarget(test.interval)}}
				prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, every(time.Second, end.Add(-10*time.Second), 1, 1)...)
				for _, at := range test.scrapes {
					prom.add(`up{`+exporter48+`}`, fakeSample{end.Add(at), 1})
				}
				// Only the newest scrape that has happened is the last one.
				all := prom.series
				prom.onQuery = func(query string) {
					prom.series = all[:1]
					for _, s := range all[1:] {
						if !s.samples[0].at.After(time.Now()) {
							prom.series = []fakeSeries{all[0], s}
						}
					}
				}
				if err := prom.direct().WaitFor(t.Context(), GPUSelector{}, end); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(end); got != test.want {
					t.Errorf("waited %v, want %v", got, test.want)
				}
			})
		})
	}
	t.Run("nothing to wait for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now()
			if err := (&fakeProm{t: t}).direct().WaitFor(t.Context(), GPUSelector{}, end); err != nil || time.Since(end) != 0 {
				t.Errorf("waited %v: %v", time.Since(end), err)
			}
		})
	})
	t.Run("interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now()
			prom := &fakeProm{t: t, targets: []target{dcgmTarget("1m")}}
			prom.add(`DCGM_FI_DEV_POWER_USAGE{`+held48+`}`, fakeSample{end.Add(-time.Second), 1})
			prom.add(`up{`+exporter48+`}`, fakeSample{end.Add(-time.Second), 1})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := prom.direct().WaitFor(ctx, GPUSelector{}, end); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestTritonScraped(t *testing.T) {
	s := start()
	prom := &fakeProm{t: t, leftOpen: true}
	prom.add(`nv_inference_request_success{namespace="triton",pod="infer-0",model="a",version="1"}`, fakeSample{s.Add(time.Second), 1})
	prom.add(`nv_inference_request_success{namespace="triton",pod="infer-0",model="b",version="1"}`, fakeSample{s.Add(time.Second), 1})
	prom.add(`nv_inference_request_success{namespace="triton",pod="infer-1",model="b",version="1"}`, fakeSample{s.Add(-time.Second), 1})
	prom.add(`nv_inference_request_success{namespace="other",pod="infer-2",model="b",version="1"}`, fakeSample{s.Add(time.Second), 1})
	prom.targets = []target{{ScrapeURL: "http://10.0.0.3:8002/metrics", LastError: "connection refused", Labels: map[string]string{"namespace": "triton", "pod": "infer-1"}}}
	got, err := prom.serve().TritonScraped(t.Context(), []NamespacedName{inferPod, {"triton", "infer-1"}, {"triton", "infer-2"}}, s, s.Add(10*time.Second))
	want := TritonScrape{Scraped: []NamespacedName{inferPod}, Missing: []NamespacedName{{"triton", "infer-1"}, {"triton", "infer-2"}}, Series: 2,
		Problems: []string{"Prometheus' last scrape of http://10.0.0.3:8002/metrics failed: connection refused"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
