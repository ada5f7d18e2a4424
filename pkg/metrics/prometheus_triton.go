package metrics

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// TritonScrape says which Triton pods Prometheus has inference metrics of.
type TritonScrape struct {
	Scraped []NamespacedName
	Missing []NamespacedName
	// Series is the number of nv_inference_request_success series of the
	// scraped pods: one per model version, or two with a GPU.
	Series int
	// Problems are failed scrapes of the pods, as sentences.
	Problems []string
}

// TritonScraped looks for nv_inference_* series of the pods in the window from
// start to end, times of the local clock.
func (p *Prometheus) TritonScraped(ctx context.Context, pods []NamespacedName, start, end time.Time) (TritonScrape, error) {
	if len(pods) == 0 {
		return TritonScrape{}, nil
	}
	w, err := p.openWindow(ctx, start, end)
	if err != nil {
		return TritonScrape{}, err
	}
	names := map[string]bool{}
	for _, pod := range pods {
		names[pod.Name] = true
	}
	promql := fmt.Sprintf("count by (namespace, pod) (last_over_time(nv_inference_request_success{pod=~%q}%s))", alternatives(sorted(names)), rangeSelector(w.Start, w.End))
	vector, err := p.vector(ctx, "Triton's metrics", promql, w.End)
	if err != nil {
		return TritonScrape{}, err
	}
	series := map[NamespacedName]int{}
	for _, s := range vector {
		series[NamespacedName{string(s.Metric["namespace"]), string(s.Metric["pod"])}] = int(s.Value)
	}
	var scrape TritonScrape
	for _, pod := range pods {
		if n := series[pod]; n > 0 {
			scrape.Scraped = append(scrape.Scraped, pod)
			scrape.Series += n
		} else {
			scrape.Missing = append(scrape.Missing, pod)
		}
	}
	// Without a list of targets the answer is only less detailed.
	if targets, err := p.targets(ctx); err == nil {
		scrape.Problems = unhealthy(targets, func(t target) bool {
			return slices.Contains(scrape.Missing, NamespacedName{t.Labels["namespace"], t.Labels["pod"]})
		})
	}
	return scrape, ctx.Err()
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
