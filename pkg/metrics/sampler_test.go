package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// dcgmPage is the page of an exporter at some moment of a test: power in W
// equals the second, energy rises by 100 J a second.
func dcgmPage(since time.Duration) string {
	const labels = `{gpu="0",UUID="` + uuidA + `",modelName="A100",Hostname="n1",namespace="triton",pod="infer-0",container="triton"}`
	s := since.Seconds()
	return fmt.Sprintf("DCGM_FI_DEV_GPU_UTIL%[1]s %[2]g\nDCGM_FI_DEV_POWER_USAGE%[1]s %[2]g\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION%[1]s %[3]g\n", labels, s, s*100_000)
}

// exporterSource answers at once.
func exporterSource(began time.Time) Source {
	return Source{Name: "dcgm-exporter-x", Fetch: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(dcgmPage(time.Since(began)))), nil
	}}
}

func tritonSource(began time.Time) Source {
	return Source{Name: "infer-0", Node: "n1", Pod: inferPod, Fetch: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(fmt.Sprintf("nv_gpu_utilization{gpu_uuid=%q} 0.5\nnv_energy_consumption{gpu_uuid=%q} %g\n", uuidA, uuidA, time.Since(began).Seconds()))), nil
	}}
}

// sampled runs a sampler for a while and returns it stopped.
func sampled(t *testing.T, d time.Duration, cfg SamplerConfig) *Sampler {
	t.Helper()
	s := NewSampler(cfg)
	s.Start(t.Context())
	s.Start(t.Context()) // does nothing
	time.Sleep(d)        // in the bubble's time
	synctest.Wait()
	s.Stop()
	s.Stop()
	return s
}

func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := sampled(t, 20*time.Second, SamplerConfig{Sources: []Source{exporterSource(began)}})
		got := s.Window(GPUSelector{Pods: []NamespacedName{inferPod}}, began.Add(9500*time.Millisecond), began.Add(14*time.Second))
		want := GPUWindow{Source: "sampled from dcgm-exporter", Start: began.Add(9500 * time.Millisecond), End: began.Add(14 * time.Second), Interval: time.Second, SelectedBy: byPod,
			GPUs: []GPUSummary{{
				GPU:    GPU{UUID: uuidA, Index: "0", Model: "A100", Node: "n1", Namespace: "triton", Pod: "infer-0", Container: "triton"},
				Family: FamilyDCGM, Samples: 5, Readings: 5, UtilizationAvg: f(0.12), UtilizationPeak: f(0.14), UtilizationFrom: UtilizationKernels,
				PowerAvgW: f(12), PowerPeakW: f(14), EnergyJ: f(400), EnergyCovered: 4 * time.Second, EnergyFrom: EnergyCounter,
			}}}
		if diff := cmp.Diff(want, got, equal); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := s.Window(GPUSelector{}, began, began.Add(1500*time.Millisecond)); !got.GPUs[0].Insufficient || got.GPUs[0].Samples != 2 {
			t.Errorf("a window of 1.5 s: %+v", got.GPUs)
		}
	})
}

func TestSamplerSourcesAreIndependent(t *testing.T) {
	refused := errors.New("connection refused")
	for name, test := range map[string]struct {
		// fetch answers in place of the bad source; since is the test's age.
		fetch   func(ctx context.Context, since time.Duration) (io.ReadCloser, error)
		samples int // of the bad source, in 20 s
		gaps    []string
	}{
		"slow": {func(ctx context.Context, since time.Duration) (io.ReadCloser, error) {
			return nil, sleep(ctx, 1700*time.Millisecond)
		}, 9, nil},
		"very slow": {func(ctx context.Context, since time.Duration) (io.ReadCloser, error) {
			return nil, sleep(ctx, 3*time.Second)
		}, 5, []string{
			"no answer from bad for 2 s, from the start", "no answer from bad for 4 s, from 2 s after the start", "no answer from bad for 4 s, from 6 s after the start",
			"no answer from bad for 4 s, from 10 s after the start", "no answer from bad for 4 s, from 14 s after the start"}},
		"fails for a while": {func(_ context.Context, since time.Duration) (io.ReadCloser, error) {
			if since > 4*time.Second && since < 9*time.Second {
				return nil, refused
			}
			return nil, nil
		}, 16, []string{"no answer from bad for 5 s, from 3 s after the start: connection refused"}},
		"dies": {func(_ context.Context, since time.Duration) (io.ReadCloser, error) {
			if since > 10*time.Second {
				return nil, refused
			}
			return nil, nil
		}, 11, []string{"no answer from bad for 9 s, from 9 s after the start: connection refused"}},
		"never answers": {func(ctx context.Context, _ time.Duration) (io.ReadCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 0, []string{"no answer from bad for 18 s, from the start: no answer within 5 s"}},
		"a body that hangs": {func(context.Context, time.Duration) (io.ReadCloser, error) {
			return &hanging{closed: make(chan struct{})}, nil
		}, 0, []string{"no answer from bad for 18 s, from the start: no answer within 5 s"}},
		"not a metrics page": {func(context.Context, time.Duration) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("<html>\n")), nil
		}, 0, []string{"no answer from bad for 18 s, from the start: this is not a page in Prometheus' text format"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				bad := Source{Name: "bad", Fetch: func(ctx context.Context) (io.ReadCloser, error) {
					page, err := test.fetch(ctx, time.Since(began))
					if page == nil && err == nil {
						page = io.NopCloser(strings.NewReader("DCGM_FI_DEV_POWER_USAGE{UUID=\"" + uuidB + "\"} 1\n"))
					}
					return page, err
				}}
				s := sampled(t, 19500*time.Millisecond, SamplerConfig{Sources: []Source{bad, exporterSource(began)}})
				w := s.Window(GPUSelector{}, began, began.Add(time.Hour))
				samples := map[string]int{}
				for _, g := range w.GPUs {
					samples[g.UUID] = g.Samples
				}
				if samples[uuidA] != 20 || samples[uuidB] != test.samples {
					t.Errorf("samples of the good and the bad source: %d, %d; want 20, %d", samples[uuidA], samples[uuidB], test.samples)
				}
				w = s.Window(GPUSelector{}, began.Add(time.Second), began.Add(19*time.Second))
				for i := range min(len(w.Gaps), len(test.gaps)) {
					if strings.HasPrefix(w.Gaps[i], test.gaps[i]) {
						w.Gaps[i] = test.gaps[i]
					}
				}
				byText := cmpopts.SortSlices(func(a, b string) bool { return a < b })
				if diff := cmp.Diff(test.gaps, w.Gaps, cmpopts.EquateEmpty(), byText); diff != "" {
					t.Errorf("gaps (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// hanging is a body that says nothing until it is closed.
type hanging struct {
	closed chan struct{}
	once   sync.Once
}

func (h *hanging) Read([]byte) (int, error) { <-h.closed; return 0, io.ErrClosedPipe }
func (h *hanging) Close() error             { h.once.Do(func() { close(h.closed) }); return nil }

// TestSamplerSharedGPU: an exporter has a series for each pod that shares a GPU;
// any of them finds it, and the one that was asked for is named.
func TestSamplerSharedGPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := sampled(t, 5*time.Second, SamplerConfig{Sources: []Source{{Name: "dcgm-exporter-x", Fetch: func(context.Context) (io.ReadCloser, error) {
			var page strings.Builder
			for _, pod := range []string{"another", inferPod.Name, "third"} {
				fmt.Fprintf(&page, "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=%q,namespace=%q,pod=%q} 40\n", uuidA, inferPod.Namespace, pod)
			}
			fmt.Fprintf(&page, "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",UUID=%q,namespace=\"ml\",pod=\"x\"} 90\n", uuidC)
			return io.NopCloser(strings.NewReader(page.String())), nil
		}}}})
		w := s.Window(GPUSelector{Pods: []NamespacedName{inferPod}}, began, time.Now())
		if len(w.GPUs) != 1 || w.GPUs[0].UUID != uuidA || w.GPUs[0].Pod != inferPod.Name || w.SelectedBy != byPod {
			t.Errorf("by %q: %+v, %q", w.SelectedBy, w.GPUs, w.Gaps)
		}
	})
}

func TestSamplerPrefersDCGM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		byThePod := GPUSelector{Pods: []NamespacedName{inferPod}}
		both := sampled(t, 5*time.Second, SamplerConfig{Sources: []Source{tritonSource(began), exporterSource(began)}})
		if w := both.Window(byThePod, began, time.Now()); w.Source != "sampled from dcgm-exporter" || len(w.GPUs) != 1 || w.GPUs[0].Family != FamilyDCGM {
			t.Errorf("both: %s, %+v", w.Source, w.GPUs)
		}
		began = time.Now()
		alone := sampled(t, 5*time.Second, SamplerConfig{Sources: []Source{tritonSource(began)}})
		w := alone.Window(byThePod, began, time.Now())
		if w.Source != "sampled from Triton" || len(w.GPUs) != 1 || *w.GPUs[0].UtilizationAvg != 0.5 || w.GPUs[0].Pod != "infer-0" || w.GPUs[0].Node != "n1" {
			t.Errorf("Triton alone: %s, %+v", w.Source, w.GPUs)
		}
		cpu := sampled(t, 5*time.Second, SamplerConfig{Sources: []Source{{Name: "infer-0", Fetch: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("nv_cpu_utilization 0.5\n")), nil
		}}}})
		w = cpu.Window(byThePod, began, time.Now())
		if want := "there are no GPU metrics in the sampled pages (infer-0) for this window"; len(w.GPUs) != 0 || len(w.Gaps) != 1 || !strings.HasPrefix(w.Gaps[0], want) {
			t.Errorf("no GPU: %+v", w)
		}
	})
}

// However long it runs, its memory is bounded, and averages, peaks and energy
// stay exact.
func TestSamplerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		const seconds = 2 * 3600
		s := sampled(t, seconds*time.Second, SamplerConfig{Sources: []Source{exporterSource(began)}})
		for _, g := range s.sources[0].gpus {
			if len(g.history) > maxStretches {
				t.Errorf("%d stretches", len(g.history))
			}
		}
		w := s.Window(GPUSelector{}, began, time.Now())
		g := w.GPUs[0]
		if g.Samples != seconds+1 || *g.PowerPeakW != seconds || *g.PowerAvgW != seconds/2 || *g.EnergyJ != seconds*100 || g.EnergyCovered != seconds*time.Second {
			t.Errorf("got %d samples, %v W peak, %v W on average, %v J in %v", g.Samples, *g.PowerPeakW, *g.PowerAvgW, *g.EnergyJ, g.EnergyCovered)
		}
		// Inside, only whole stretches count: at most one is lost at each edge.
		w = s.Window(GPUSelector{}, began.Add(30*time.Minute), began.Add(90*time.Minute))
		if n := w.GPUs[0].Samples; n > 3601 || n < 3601-2*8 || *w.GPUs[0].PowerPeakW > 5400 {
			t.Errorf("the hour in the middle: %d samples, peak %v", n, *w.GPUs[0].PowerPeakW)
		}
	})
}

func TestSamplerManySilences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		flaky := Source{Name: "flaky", Fetch: func(context.Context) (io.ReadCloser, error) {
			if calls.Add(1)%5 != 0 {
				return nil, errors.New("no")
			}
			return io.NopCloser(strings.NewReader("")), nil
		}}
		began := time.Now()
		s := sampled(t, time.Hour, SamplerConfig{Sources: []Source{flaky}})
		w := s.Window(GPUSelector{}, began, time.Now())
		if n := len(w.Gaps); n > maxSilences+2 {
			t.Errorf("%d gaps", n)
		}
		if !slices.ContainsFunc(w.Gaps, func(g string) bool { return strings.Contains(g, "no answer from flaky for 5 s") }) {
			t.Errorf("gaps: %q", w.Gaps)
		}
	})
}
