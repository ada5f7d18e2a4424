package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// DroppedBy says which relabelling keeps a discovered pod from being scraped by
// the jobs whose names begin with pools: the rule in Prometheus's own words, ""
// when no such job discovers the pod, or discovers and keeps it. Each port of a
// pod is discovered by itself; the rule is of the one that gets furthest, for the
// others are dropped because they are not the port that is meant.
//
// It reads /api/v1/targets?state=dropped and, where the server has it,
// /api/v1/targets/relabel_steps.
func (p *Prometheus) DroppedBy(ctx context.Context, pools, namespace, pod string) (job, rule string, err error) {
	var answer struct {
		DroppedTargets []struct {
			DiscoveredLabels map[string]string `json:"discoveredLabels"`
			ScrapePool       string            `json:"scrapePool"`
		} `json:"droppedTargets"`
	}
	if err := p.get(ctx, "its dropped targets", "/api/v1/targets", url.Values{"state": {"dropped"}}, &answer); err != nil {
		return "", "", err
	}
	furthest := -1
	for _, t := range answer.DroppedTargets {
		if !strings.HasPrefix(t.ScrapePool, pools) || t.DiscoveredLabels["__meta_kubernetes_namespace"] != namespace || t.DiscoveredLabels["__meta_kubernetes_pod_name"] != pod {
			continue
		}
		text, step, err := p.droppingRule(ctx, t.ScrapePool, t.DiscoveredLabels)
		if err != nil || text == "" {
			text = "one of its relabelings" // an older server doesn't tell which
		}
		if step > furthest || rule == "" {
			job, rule, furthest = t.ScrapePool, text, step
		}
	}
	return job, rule, nil
}

// droppingRule finds the relabelling after which nothing is left, and its place.
func (p *Prometheus) droppingRule(ctx context.Context, pool string, discovered map[string]string) (rule string, step int, err error) {
	text, err := json.Marshal(discovered)
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Steps []struct {
			Rule struct {
				SourceLabels []string `json:"source_labels"`
				Regex        string   `json:"regex"`
				Action       string   `json:"action"`
			} `json:"rule"`
			Keep bool `json:"keep"`
		} `json:"steps"`
	}
	if err := p.get(ctx, "its relabelling", "/api/v1/targets/relabel_steps", url.Values{"scrapePool": {pool}, "labels": {string(text)}}, &answer); err != nil {
		return "", 0, err
	}
	for i, s := range answer.Steps {
		if !s.Keep {
			return fmt.Sprintf("%s of %s by %q", s.Rule.Action, strings.Join(s.Rule.SourceLabels, ", "), s.Rule.Regex), i, nil
		}
	}
	return "", 0, nil
}

// get reads the data of one answer of the HTTP API.
func (p *Prometheus) get(ctx context.Context, doing, path string, query url.Values, into any) error {
	u := p.client.URL(path, nil)
	u.RawQuery = query.Encode()
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("ask Prometheus at %s for %s: %w", p.address, doing, err)
	}
	resp, body, err := p.client.Do(ctx, req) //nolint:bodyclose // the API client has read and closed it
	if err != nil {
		return p.explain(ctx, doing, err)
	}
	if resp.StatusCode != http.StatusOK {
		return &StatusError{Address: p.address, Status: resp.StatusCode, Detail: firstLine(string(body))}
	}
	answer := struct {
		Data any `json:"data"`
	}{into}
	if err := json.Unmarshal(body, &answer); err != nil {
		return &badAnswerError{address: p.address, what: doing, err: err}
	}
	return nil
}
