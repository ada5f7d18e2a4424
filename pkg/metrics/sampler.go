package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Source is one metrics page that a Sampler reads.
type Source struct {
	Name string // for people, e.g. the pod's name
	// Fetch opens the page. It must end when ctx does.
	Fetch func(ctx context.Context) (io.ReadCloser, error)

	// Pod and Node tell whose page it is where the page does not. Pod is used
	// for Triton's own GPU metrics only: those of dcgm-exporter name the pod
	// that holds the GPU, which is not the exporter's.
	Pod  NamespacedName
	Node string
}

// SamplerConfig configures a Sampler. Zero values are the defaults.
type SamplerConfig struct {
	Sources  []Source
	Interval time.Duration // between samples; 1 s
	Timeout  time.Duration // of one fetch; 5 s
}

// Sampler reads the GPU metrics of several sources on a fixed schedule, for
// clusters without a Prometheus. Its memory is bounded however long it runs. A
// source that is slow or fails costs only its own samples. Create it with
// NewSampler.
type Sampler struct {
	interval, timeout time.Duration
	sources           []*sampledSource

	mu      sync.Mutex
	started time.Time
	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewSampler returns a sampler that has not started.
func NewSampler(cfg SamplerConfig) *Sampler {
	s := &Sampler{interval: cfg.Interval, timeout: cfg.Timeout}
	if s.interval <= 0 {
		s.interval = time.Second
	}
	if s.timeout <= 0 {
		s.timeout = 5 * time.Second
	}
	for _, source := range cfg.Sources {
		s.sources = append(s.sources, &sampledSource{Source: source, gpus: map[sampledKey]*sampledGPU{}})
	}
	return s
}

// Start begins to sample until ctx ends or Stop is called. A second call does
// nothing.
func (s *Sampler) Start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.started = time.Now()
	for _, source := range s.sources {
		source.mu.Lock()
		source.lastAnswer = s.started
		source.mu.Unlock()
		s.running.Go(func() { s.sample(ctx, source, s.started) })
	}
}

// Stop ends the sampling and waits for fetches in flight to end. What was
// sampled stays readable. It is safe to call it twice, and before Start.
func (s *Sampler) Stop() {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
		s.running.Wait()
	}
}

// sample reads one source at every tick of the schedule. Ticks that pass while
// a fetch is under way are skipped, never made up for.
func (s *Sampler) sample(ctx context.Context, source *sampledSource, started time.Time) {
	for tick := started; ; {
		s.fetch(ctx, source)
		late := time.Since(tick)
		tick = tick.Add((late/s.interval + 1) * s.interval)
		if sleep(ctx, time.Until(tick)) != nil {
			return
		}
	}
}

func (s *Sampler) fetch(ctx context.Context, source *sampledSource) {
	fetchCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	asked := time.Now()
	readings, err := source.read(fetchCtx)
	answered := time.Now()
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", rounded(s.timeout))
	}
	source.mu.Lock()
	defer source.mu.Unlock()
	if err != nil {
		source.lastError = err
		return
	}
	if answered.Sub(source.lastAnswer) > time.Duration(float64(s.interval)*gapTolerance) {
		source.silence(gap{source.lastAnswer.UnixNano(), answered.UnixNano()}, source.lastError)
	}
	source.lastAnswer, source.lastError = answered, nil
	// The server looked at its GPUs at some time between question and answer.
	source.take(readings, asked.Add(answered.Sub(asked)/2).UnixNano())
}

// Window is what the selector's GPUs did from start to end, from the samples
// taken within and no others. It may be called at any time.
func (s *Sampler) Window(sel GPUSelector, start, end time.Time) GPUWindow {
	w := GPUWindow{Start: start, End: end, Interval: s.interval}
	from, to := start.UnixNano(), end.UnixNano()

	var seen []sighting
	type found struct {
		GPUSummary
		doubts []string
	}
	summaries := map[device][]found{}
	for _, source := range s.sources {
		source.mu.Lock()
		for key, g := range source.gpus {
			t := g.window(from, to)
			if _, _, n := t.bounds(); n == 0 {
				continue
			}
			seen = append(seen, source.sighting(key, g))
			gpu := g.gpu
			for _, pod := range g.pods { // one that was asked for goes before any other
				if slices.Contains(sel.Pods, pod) && (NamespacedName{gpu.Namespace, gpu.Pod}) != pod {
					gpu.Namespace, gpu.Pod, gpu.Container = pod.Namespace, pod.Name, ""
					break
				}
			}
			summary, doubts := summarise(gpu, key.family, &t)
			summaries[key.device] = append(summaries[key.device], found{summary, doubts})
		}
		w.Gaps = append(w.Gaps, source.gaps(from, to, s.interval)...)
		source.mu.Unlock()
	}

	chosen, by := sel.choose(seen)
	if len(chosen) == 0 {
		w.Gaps = append(w.Gaps, sel.noGPUs("the sampled pages ("+s.names()+")", seen))
		return w
	}
	w.SelectedBy = by
	families := map[Family]bool{}
	for d := range chosen {
		all := summaries[d]
		slices.SortStableFunc(all, func(a, b found) int { return strings.Compare(string(a.Family), string(b.Family)) })
		best := all[0]
		for _, f := range all[1:] {
			if best.Insufficient && !f.Insufficient {
				best = f
			}
		}
		for _, f := range all {
			best.fill(f.GPU)
		}
		families[best.Family] = true
		w.GPUs = append(w.GPUs, best.GPUSummary)
		w.Gaps = append(w.Gaps, best.doubts...)
	}
	slices.Sort(w.Gaps)
	w.Gaps = append(w.Gaps, refreshDoubt(w.GPUs, s.interval)...)
	sortGPUs(w.GPUs)
	switch {
	case families[FamilyDCGM] && families[FamilyTriton]:
		w.Source = "sampled from dcgm-exporter and Triton"
	case families[FamilyDCGM]:
		w.Source = "sampled from dcgm-exporter"
	default:
		w.Source = "sampled from Triton"
	}
	return w
}

func (s *Sampler) names() string {
	names := map[string]bool{}
	for _, source := range s.sources {
		names[source.Name] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
