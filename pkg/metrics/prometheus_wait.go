package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
)

const (
	// pollInterval is how often WaitFor looks, at most.
	pollInterval = 250 * time.Millisecond
	// unknownInterval stands in for a scrape interval that can't be read:
	// Prometheus' own default.
	unknownInterval = time.Minute
	// lookBack is how far before a window's end its GPUs are looked for.
	lookBack = 5 * time.Minute
)

// WaitFor waits until Prometheus has every sample of the selector's GPUs up to
// end, a time of the local clock: that is, until each exporter concerned has
// been scraped once after end. Samples are dated by their scrape, so nothing of
// the window can arrive later. It returns without an error when nothing has
// come by the time that two scrapes should have, since GPUWindow then names the
// gap; errors are those of the context and of Prometheus.
func (p *Prometheus) WaitFor(ctx context.Context, sel GPUSelector, end time.Time) error {
	w, err := p.openWindow(ctx, end.Add(-lookBack), end)
	if err != nil {
		return err
	}
	targets, err := p.targets(ctx)
	if err != nil && ctx.Err() != nil {
		return err
	}
	seen, err := p.sightings(ctx, w.Start, w.End, targets)
	if err != nil {
		return err
	}
	chosen, _ := sel.choose(seen)
	var interval time.Duration
	jobs, instances := map[string]bool{}, map[string]bool{}
	endpoints := map[endpoint]bool{}
	for _, s := range seen {
		if chosen[s.gpu.device()] {
			endpoints[s.endpoint] = true
			jobs[s.endpoint.job], instances[s.endpoint.instance] = true, true
			interval = max(interval, targets[s.endpoint].interval())
		}
	}
	if len(endpoints) == 0 {
		return nil
	}
	if interval == 0 {
		interval = unknownInterval
	}
	promql := fmt.Sprintf("timestamp(up{job=~%q, instance=~%q})", alternatives(sorted(jobs)), alternatives(sorted(instances)))
	deadline := end.Add(2*interval + time.Second)
	for {
		vector, err := p.vector(ctx, "the time of its last scrapes", promql, time.Time{})
		if err != nil {
			return err
		}
		if scrapedAfter(vector, endpoints, w.End) || time.Now().After(deadline) {
			return nil
		}
		if err := sleep(ctx, min(pollInterval, interval/4)); err != nil {
			return fmt.Errorf("gave up waiting for the last GPU samples to reach Prometheus at %s: %w", p.address, err)
		}
	}
}

// scrapedAfter tells whether the last scrape of every endpoint that is still a
// target began after end.
func scrapedAfter(lastScrapes model.Vector, endpoints map[endpoint]bool, end time.Time) bool {
	for _, s := range lastScrapes {
		e := endpoint{string(s.Metric["job"]), string(s.Metric["instance"])}
		at := time.UnixMilli(int64(float64(s.Value) * 1000))
		if endpoints[e] && !at.After(end) {
			return false
		}
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
