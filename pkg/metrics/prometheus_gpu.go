package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// GPUWindow reads what the selector's GPUs did from start to end, times of the
// local clock, from the samples whose timestamps lie in that window and no
// others. It prefers dcgm-exporter's metrics and falls back to Triton's. Call
// WaitFor first if end is recent.
//
// A window in which Prometheus knows no such GPU is not an error: its Gaps say
// what was found instead.
func (p *Prometheus) GPUWindow(ctx context.Context, sel GPUSelector, start, end time.Time) (GPUWindow, error) {
	if !end.After(start) {
		return GPUWindow{}, fmt.Errorf("a window must end after it starts, not at %s after %s", end.Format(time.RFC3339Nano), start.Format(time.RFC3339Nano))
	}
	// Servers that ask others, as Thanos does, answer without those that are away
	// and warn of it.
	var warnings []string
	heeding := *p
	heeding.warned = func(warning string) {
		if text := "Prometheus warned of its answer: " + firstLine(warning); len(warnings) < maxWarnings && !slices.Contains(warnings, text) {
			warnings = append(warnings, text)
		}
	}
	w, err := heeding.gpuWindow(ctx, sel, start, end)
	if err != nil {
		return GPUWindow{}, err
	}
	w.Gaps = append(w.Gaps, warnings...)
	return w, nil
}

// maxWarnings bounds how many of one window's are told.
const maxWarnings = 5

func (p *Prometheus) gpuWindow(ctx context.Context, sel GPUSelector, start, end time.Time) (GPUWindow, error) {
	w, err := p.openWindow(ctx, start, end)
	if err != nil {
		return GPUWindow{}, err
	}
	targets, err := p.targets(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return GPUWindow{}, err
		}
		w.Gaps = append(w.Gaps, "the scrape interval is an estimate from the samples, for the list of targets could not be read: "+err.Error())
	}
	seen, err := p.sightings(ctx, w.Start, w.End, targets)
	if err != nil {
		return GPUWindow{}, err
	}
	chosen, by := sel.choose(seen)
	if len(chosen) == 0 {
		w.Gaps = append(w.Gaps, sel.noGPUs("Prometheus", seen))
		w.Gaps = append(w.Gaps, unhealthy(targets, target.ofDCGM)...)
		return w, nil
	}
	w.SelectedBy = by
	found, err := p.readGPUs(ctx, w.Start, w.End, seen, chosen)
	if err != nil {
		return GPUWindow{}, err
	}
	for _, s := range seen {
		for _, g := range found[s.gpu.device()] {
			g.identify(s, sel)
		}
	}
	w.fill(found, targets)
	return w, nil
}

// openWindow moves the window to the server's clock.
func (p *Prometheus) openWindow(ctx context.Context, start, end time.Time) (GPUWindow, error) {
	c, err := p.clockOf(ctx)
	if err != nil {
		return GPUWindow{}, err
	}
	w := GPUWindow{ClockSkew: c.skew, ClockUncertainty: c.uncertainty}
	if c.differs() {
		start, end = start.Add(c.skew), end.Add(c.skew)
		if c.skew.Abs() >= time.Second {
			direction := "ahead of"
			if c.skew < 0 {
				direction = "behind"
			}
			w.Gaps = append(w.Gaps, fmt.Sprintf("Prometheus' clock is %s %s this machine's; the window was moved to match it", rounded(c.skew.Abs()), direction))
		}
	}
	// Prometheus' timestamps are whole milliseconds.
	w.Start, w.End = start.Add(time.Millisecond-1).Truncate(time.Millisecond), end.Truncate(time.Millisecond)
	return w, nil
}

// sightings finds every GPU that has samples in the window, with its labels.
func (p *Prometheus) sightings(ctx context.Context, start, end time.Time, targets map[endpoint]target) ([]sighting, error) {
	labels := append(uuidLabels(), "gpu", "modelName", "Hostname", "hostname", "node", "GPU_I_PROFILE", "GPU_I_ID",
		"namespace", "pod", "container", "exported_namespace", "exported_pod", "exported_container", "pod_namespace", "pod_name", "container_name",
		"job", "instance")
	// last_over_time keeps the metric's name; without it, two metrics of one GPU
	// would be duplicates, which the engine refuses.
	promql := fmt.Sprintf("group by (__name__, %s) (last_over_time({__name__=~%q}%s))", strings.Join(labels, ", "),
		alternatives(namesOf(utilization, engineActive, memoryUsed, power)), rangeSelector(start, end))
	vector, err := p.vector(ctx, "the GPUs it knows", promql, end)
	if err != nil {
		return nil, err
	}
	var seen []sighting
	for _, sample := range vector {
		if s, ok := sightingOf(sample.Metric, targets); ok {
			seen = append(seen, s)
		}
	}
	// The answer's order is arbitrary; dcgm-exporter's labels tell more.
	slices.SortStableFunc(seen, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.gpu.UUID, b.gpu.UUID), cmp.Compare(a.gpu.Namespace, b.gpu.Namespace),
			cmp.Compare(a.gpu.Pod, b.gpu.Pod), cmp.Compare(a.endpoint.job, b.endpoint.job), cmp.Compare(a.endpoint.instance, b.endpoint.instance))
	})
	return seen, nil
}

// sightingOf reads a series' labels; false if they name no GPU.
func sightingOf(metric model.Metric, targets map[endpoint]target) (sighting, bool) {
	label := func(name string) string { return string(metric[model.LabelName(name)]) }
	s := sighting{gpu: gpuFromLabels(label), family: FamilyDCGM, endpoint: endpoint{label("job"), label("instance")}}
	if s.gpu.UUID == "" {
		return sighting{}, false
	}
	if strings.HasPrefix(label("__name__"), "nv_") {
		s.family = FamilyTriton
	}
	for _, name := range slices.Backward(uuidLabels()) {
		if label(name) != "" {
			s.uuidLabel = name
		}
	}
	for _, name := range []string{"Hostname", "hostname", "node"} {
		if v := label(name); v != "" {
			s.nodes = append(s.nodes, v)
		}
	}
	// With honor_labels, a GPU that no pod holds carries the exporter's own pod.
	own := targets[s.endpoint].Labels
	if s.family == FamilyDCGM && label("exported_pod") == "" && s.gpu.Pod != "" &&
		own["pod"] == s.gpu.Pod && own["namespace"] == s.gpu.Namespace {
		s.gpu.Namespace, s.gpu.Pod, s.gpu.Container = "", "", ""
	}
	if s.gpu.Pod != "" {
		s.pods = append(s.pods, NamespacedName{s.gpu.Namespace, s.gpu.Pod})
	}
	return s, true
}

// gpuSeries are the samples of one GPU from one family of metrics.
type gpuSeries struct {
	gpu       GPU
	family    Family
	endpoints []endpoint
	byName    map[string]map[endpoint][]model.SamplePair
}

// readGPUs fetches the samples of the chosen GPUs, of each family that has any.
func (p *Prometheus) readGPUs(ctx context.Context, start, end time.Time, seen []sighting, chosen map[device]bool) (map[device][]*gpuSeries, error) {
	type source struct {
		family    Family
		uuidLabel string
	}
	uuids := map[source]map[string]bool{}
	for _, s := range seen {
		if chosen[s.gpu.device()] {
			key := source{s.family, s.uuidLabel}
			if uuids[key] == nil {
				uuids[key] = map[string]bool{}
			}
			uuids[key][s.gpu.UUID] = true
		}
	}
	found := map[device][]*gpuSeries{}
	for key, set := range uuids {
		read := map[device]*gpuSeries{}
		for some := range slices.Chunk(slices.Sorted(maps.Keys(set)), maxUUIDs) {
			if err := p.readSeries(ctx, start, end, key.family, key.uuidLabel, some, read); err != nil {
				return nil, err
			}
		}
		for d, g := range read {
			if chosen[d] {
				found[d] = append(found[d], g)
			}
		}
	}
	return found, nil
}

// maxChunk and maxUUIDs bound one query, and so its answer.
const (
	maxChunk = time.Hour
	maxUUIDs = 32
)

func (p *Prometheus) readSeries(ctx context.Context, start, end time.Time, family Family, uuidLabel string, uuids []string, into map[device]*gpuSeries) error {
	var names []string
	for _, n := range metricNames() {
		if n.family == family {
			names = append(names, n.name)
		}
	}
	for from := start; !from.After(end); from = from.Add(maxChunk + time.Millisecond) {
		to := from.Add(maxChunk)
		if to.After(end) {
			to = end
		}
		promql := fmt.Sprintf("{__name__=~%q, %s=~%q}%s", alternatives(names), uuidLabel, alternatives(uuids), rangeSelector(from, to))
		value, err := p.query(ctx, "the GPUs' samples", promql, to)
		if err != nil {
			return err
		}
		matrix, ok := value.(model.Matrix)
		if !ok {
			return &badAnswerError{address: p.address, what: "the GPUs' samples", err: errors.New("expected a matrix, got a " + value.Type().String())}
		}
		for _, stream := range matrix {
			s, ok := sightingOf(stream.Metric, nil)
			if !ok {
				continue
			}
			g := into[s.gpu.device()]
			if g == nil {
				g = &gpuSeries{gpu: GPU{UUID: s.gpu.UUID, MIGInstance: s.gpu.MIGInstance}, family: family, byName: map[string]map[endpoint][]model.SamplePair{}}
				into[s.gpu.device()] = g
			}
			g.add(stream, from, to)
		}
	}
	return nil
}

// add takes the stream's samples that lie in [from, to].
func (g *gpuSeries) add(stream *model.SampleStream, from, to time.Time) {
	name := string(stream.Metric[model.MetricNameLabel])
	e := endpoint{string(stream.Metric["job"]), string(stream.Metric["instance"])}
	if g.byName[name] == nil {
		g.byName[name] = map[endpoint][]model.SamplePair{}
	}
	for _, sample := range stream.Values {
		if t := sample.Timestamp.Time(); !t.Before(from) && !t.After(to) {
			g.byName[name][e] = append(g.byName[name][e], sample)
		}
	}
}

// identify adds what a sighting tells about the GPU; a pod that was asked for
// goes before any other.
func (g *gpuSeries) identify(s sighting, sel GPUSelector) {
	for _, pod := range s.pods {
		if slices.Contains(sel.Pods, pod) && (NamespacedName{g.gpu.Namespace, g.gpu.Pod}) != pod {
			g.gpu.Namespace, g.gpu.Pod, g.gpu.Container = pod.Namespace, pod.Name, s.gpu.Container
		}
	}
	g.gpu.fill(s.gpu)
	if s.family == g.family {
		g.endpoints = append(g.endpoints, s.endpoint)
	}
}

// tracks folds the samples by meaning. Of several names for one meaning, the
// one with the most samples counts.
func (g *gpuSeries) tracks() *tracks {
	var all tracks
	for _, n := range metricNames() {
		if n.family != g.family {
			continue
		}
		var t track
		for _, sample := range oneTarget(g.byName[n.name]) {
			if raw := float64(sample.Value); known(raw) {
				v := raw * n.scale
				t = t.then(sampleTrack(sample.Timestamp.UnixNano(), v, inRange(n.meaning, v)))
			}
		}
		if t.n > all[n.meaning].n {
			all[n.meaning] = t
		}
	}
	return &all
}

// oneTarget merges the series of one metric so that no scrape counts twice. A
// restarted exporter is a new target whose samples follow the old one's; two
// jobs that scrape one exporter overlap, and the one with fewer samples is
// dropped. Series of one target differ in the pods that share the GPU.
func oneTarget(byEndpoint map[endpoint][]model.SamplePair) []model.SamplePair {
	type series = []model.SamplePair
	byTime := func(a, b model.SamplePair) int { return cmp.Compare(a.Timestamp, b.Timestamp) }
	endpoints := slices.SortedStableFunc(maps.Keys(byEndpoint), func(a, b endpoint) int {
		return cmp.Or(cmp.Compare(len(byEndpoint[b]), len(byEndpoint[a])), cmp.Compare(a.job, b.job), cmp.Compare(a.instance, b.instance))
	})
	var merged []series
	for _, e := range endpoints {
		s := slices.Clone(byEndpoint[e])
		slices.SortStableFunc(s, byTime)
		s = slices.CompactFunc(s, func(a, b model.SamplePair) bool { return a.Timestamp == b.Timestamp })
		if len(s) == 0 || slices.ContainsFunc(merged, func(m series) bool {
			return s[0].Timestamp <= m[len(m)-1].Timestamp && m[0].Timestamp <= s[len(s)-1].Timestamp
		}) {
			continue
		}
		merged = append(merged, s)
	}
	all := slices.Concat(merged...)
	slices.SortStableFunc(all, byTime)
	return all
}

// times are the moments at which the GPU has a sample of anything.
func (g *gpuSeries) times() []int64 {
	var longest []int64
	for _, byEndpoint := range g.byName {
		if samples := oneTarget(byEndpoint); len(samples) > len(longest) {
			longest = make([]int64, len(samples))
			for i, s := range samples {
				longest[i] = s.Timestamp.UnixNano()
			}
		}
	}
	return longest
}

// fill turns the GPUs' samples into the window's figures and sentences.
func (w *GPUWindow) fill(found map[device][]*gpuSeries, targets map[endpoint]target) {
	start, end := w.Start.UnixNano(), w.End.UnixNano()
	families := map[Family]bool{}
	endpoints := map[endpoint]bool{}
	missing := map[gap][]string{}
	for _, sources := range found {
		g, summary, doubts := best(sources)
		families[g.family] = true
		times := g.times()
		interval := time.Duration(0)
		for _, e := range g.endpoints {
			endpoints[e] = true
			interval = max(interval, targets[e].interval())
		}
		if interval == 0 {
			interval = medianSpacing(times)
		}
		w.Interval = max(w.Interval, interval)
		w.GPUs = append(w.GPUs, summary)
		w.Gaps = append(w.Gaps, doubts...)
		for _, gap := range findGaps(times, start, end, interval) {
			missing[gap] = append(missing[gap], g.gpu.String())
		}
	}
	slices.Sort(w.Gaps)
	for _, gap := range slices.SortedStableFunc(maps.Keys(missing), func(a, b gap) int { return cmp.Compare(a.from, b.from) }) {
		names := missing[gap]
		slices.Sort(names)
		w.Gaps = append(w.Gaps, fmt.Sprintf("no samples of %s in Prometheus %s", strings.Join(names, ", "), gap.describe(start)))
	}
	w.Gaps = append(w.Gaps, unhealthy(targets, func(t target) bool {
		return endpoints[t.endpoint()] || !families[FamilyDCGM] && t.ofDCGM()
	})...)
	w.Gaps = append(w.Gaps, refreshDoubt(w.GPUs, w.Interval)...)
	sortGPUs(w.GPUs)

	switch {
	case families[FamilyDCGM] && families[FamilyTriton]:
		w.Source = "Prometheus (DCGM, Triton nv_gpu_*)"
	case families[FamilyDCGM]:
		w.Source = "Prometheus (DCGM)"
	case families[FamilyTriton]:
		w.Source = "Prometheus (Triton nv_gpu_*)"
	}
}

// best summarises the family that tells most about one GPU: dcgm-exporter's
// unless it has too few samples and Triton's has enough.
func best(sources []*gpuSeries) (chosen *gpuSeries, s GPUSummary, doubts []string) {
	slices.SortStableFunc(sources, func(a, b *gpuSeries) int { return cmp.Compare(a.family, b.family) })
	for _, g := range sources {
		summary, about := summarise(g.gpu, g.family, g.tracks())
		if chosen == nil || s.Insufficient && !summary.Insufficient {
			chosen, s, doubts = g, summary, about
		}
	}
	return chosen, s, doubts
}

// unhealthy says which of the targets can't be scraped at present, and why.
func unhealthy(targets map[endpoint]target, concerns func(target) bool) []string {
	var sentences []string
	for _, t := range targets {
		if t.LastError != "" && concerns(t) {
			sentences = append(sentences, fmt.Sprintf("Prometheus' last scrape of %s failed: %s", t.ScrapeURL, firstLine(t.LastError)))
		}
	}
	slices.Sort(sentences)
	return sentences
}

func namesOf(meanings ...meaning) []string {
	var names []string
	for _, n := range metricNames() {
		if slices.Contains(meanings, n.meaning) {
			names = append(names, n.name)
		}
	}
	return names
}

// alternatives is a regular expression that matches exactly the given words.
// PromQL anchors it.
func alternatives(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = regexp.QuoteMeta(w)
	}
	return strings.Join(quoted, "|")
}
