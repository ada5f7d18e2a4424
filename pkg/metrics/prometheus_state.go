package metrics

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// TargetState is one active scrape target as Prometheus sees it.
type TargetState struct {
	Pool      string // the scrape job that the operator made, such as podMonitor/triton/x/0
	Job       string
	Namespace string
	Pod       string
	Service   string
	URL       string
	Up        bool
	// LastError is Prometheus's own sentence about the last scrape; empty when
	// it went well or has not happened yet.
	LastError string
	Interval  time.Duration
	// Scraped says that a scrape has happened.
	Scraped bool
}

// TargetStates lists the active targets.
func (p *Prometheus) TargetStates(ctx context.Context) ([]TargetState, error) {
	active, err := p.activeTargets(ctx)
	if err != nil {
		return nil, err
	}
	states := make([]TargetState, 0, len(active))
	for _, t := range active {
		states = append(states, TargetState{
			Pool: t.ScrapePool, Job: t.Labels["job"], Namespace: t.Labels["namespace"], Pod: t.Labels["pod"], Service: t.Labels["service"],
			URL: t.ScrapeURL, Up: t.Health == "up", LastError: t.LastError, Interval: t.interval(), Scraped: t.Health != "unknown",
		})
	}
	return states, nil
}

// Count is how many series an instant selector or expression has now.
func (p *Prometheus) Count(ctx context.Context, what, expression string) (int, error) {
	vector, err := p.vector(ctx, what, "count("+expression+")", time.Time{})
	if err != nil || len(vector) == 0 {
		return 0, err
	}
	return int(vector[0].Value), nil
}

// Storage is what Prometheus keeps, as it tells itself.
type Storage struct {
	Retention string
	// Bytes is the size of its data on disk; 0 when it doesn't scrape itself.
	Bytes  float64
	Series int
}

// Storage reads the retention in force and the size of the data.
func (p *Prometheus) Storage(ctx context.Context) (Storage, error) {
	runtime, err := p.api.Runtimeinfo(ctx)
	if err != nil {
		return Storage{}, p.explain(ctx, "its state", err)
	}
	s := Storage{Retention: runtime.StorageRetention}
	// It keeps this count. To count them anew it would load each one.
	if tsdb, err := p.api.TSDB(ctx, v1.WithLimit(1)); err == nil {
		s.Series = max(0, tsdb.HeadStats.NumSeries)
	} else if s.Series, err = p.Count(ctx, "the number of its series", `{__name__=~".+"}`); err != nil {
		return s, err
	}
	// Blocks, and what is not in a block yet.
	const sizes = `sum({__name__=~"prometheus_tsdb_storage_blocks_bytes|prometheus_tsdb_wal_storage_size_bytes|prometheus_tsdb_head_chunks_storage_size_bytes"})`
	size, err := p.vector(ctx, "the size of its data", sizes, time.Time{})
	if err == nil && len(size) > 0 {
		s.Bytes = float64(size[0].Value)
	}
	return s, err
}

// CountGPUs is how many GPUs exporters' series tell of now, by either
// generation of the names, and how many exporters publish them.
func (p *Prometheus) CountGPUs(ctx context.Context) (gpus, exporters int, err error) {
	var names []string
	for _, n := range metricNames() {
		if n.family == FamilyDCGM && (n.meaning == utilization || n.meaning == engineActive || n.meaning == memoryUsed) {
			names = append(names, n.name)
		}
	}
	selector := fmt.Sprintf(`{__name__=~"%s", UUID!=""}`, alternatives(names))
	const what = "the GPUs that it has series of"
	if gpus, err = p.Count(ctx, what, "count by (UUID) ("+selector+")"); err != nil {
		return 0, 0, err
	}
	exporters, err = p.Count(ctx, what, "count by (instance) ("+selector+")")
	return gpus, exporters, err
}

// RuleGroups are the names of the rule groups that Prometheus has loaded.
func (p *Prometheus) RuleGroups(ctx context.Context) ([]string, error) {
	rules, err := p.api.Rules(ctx, nil)
	if err != nil {
		return nil, p.explain(ctx, "its rules", err)
	}
	names := make([]string, 0, len(rules.Groups))
	for _, g := range rules.Groups {
		names = append(names, g.Name)
	}
	return names, nil
}
