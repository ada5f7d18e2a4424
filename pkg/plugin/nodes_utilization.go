package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	// utilizationWindow holds enough samples at the usual scrape interval of 30 s.
	utilizationWindow = 2 * time.Minute
	utilizationWait   = 15 * time.Second
	// maxUtilizationGPUs bounds what is asked of Prometheus for one table.
	maxUtilizationGPUs = 512
)

// addUtilization fills in the mean utilisation of each node's GPUs, or says why
// it isn't known.
func (o *NodesOptions) addUtilization(ctx context.Context, c *cluster, r *nodesReport, pods []corev1.Pod) {
	missing := func(why, fix string) {
		r.Missing = append(r.Missing, report.Missing{Part: "utilisation", Why: why, Fix: fix})
	}
	switch {
	case len(r.Nodes) == 0:
		return
	case o.NoPrometheus:
		missing("--no-prometheus was given", "")
		return
	case r.GPUsCapacity > maxUtilizationGPUs:
		missing(fmt.Sprintf("%d GPUs are more than the %d that are asked for in one table", r.GPUsCapacity, maxUtilizationGPUs), "name some nodes, or open the GPU dashboard")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, utilizationWait)
	defer cancel()
	window, err := o.window(ctx, c, r, pods)
	if err != nil {
		missing(err.Error(), "kubectl triton observe up, or name another place with --stack-namespace or --prometheus-url")
		return
	}
	if counted := r.fillUtilization(window); counted > 0 {
		r.Utilization = &utilizationReport{Source: window.Source, WindowSeconds: window.End.Sub(window.Start).Seconds(), GPUs: counted, Gaps: window.Gaps}
		return
	}
	missing(r.noUtilization(window), "")
}

// noUtilization says why no node got a figure.
func (r *nodesReport) noUtilization(window metrics.GPUWindow) string {
	span := report.Seconds(utilizationWindow.Seconds())
	samples := -1
	for _, g := range window.GPUs {
		if slices.ContainsFunc(r.Nodes, func(n nodeReport) bool { return n.Name == g.Node }) {
			samples = max(samples, g.Samples)
		}
	}
	if samples >= 0 {
		return fmt.Sprintf("insufficient samples in the last %s (n=%d, every %s)", span, samples, report.Seconds(window.Interval.Seconds()))
	}
	return strings.Join(append([]string{"Prometheus has no figures of these nodes' GPUs in the last " + span}, window.Gaps...), "; ")
}

// window reads the last minutes of the report's nodes, which are not all that a
// Prometheus may know, from the one that bench uses too.
func (o *NodesOptions) window(ctx context.Context, c *cluster, r *nodesReport, pods []corev1.Pod) (metrics.GPUWindow, error) {
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client})
	if err != nil {
		return metrics.GPUWindow{}, err
	}
	defer dialer.Close()
	prometheus, err := findPrometheus(ctx, c, dialer, &BenchOptions{StackNamespace: o.StackNamespace, PrometheusURL: o.PrometheusURL}, pods...)
	if err != nil {
		return metrics.GPUWindow{}, err
	}
	var selector metrics.GPUSelector
	for _, n := range r.Nodes {
		selector.Nodes = append(selector.Nodes, n.Name)
	}
	now := time.Now()
	return prometheus.GPUWindow(ctx, selector, now.Add(-utilizationWindow), now)
}

// fillUtilization averages each node's GPUs and returns how many had enough
// samples.
func (r *nodesReport) fillUtilization(window metrics.GPUWindow) int {
	type sum struct {
		total float64
		n     int
	}
	sums := map[string]sum{}
	for _, g := range window.GPUs {
		if g.UtilizationAvg != nil && !g.Insufficient {
			s := sums[g.Node]
			sums[g.Node] = sum{s.total + *g.UtilizationAvg, s.n + 1}
		}
	}
	counted := 0
	for i := range r.Nodes {
		if s := sums[r.Nodes[i].Name]; s.n > 0 {
			mean := s.total / float64(s.n)
			r.Nodes[i].UtilizationRatio = &mean
			counted += s.n
		}
	}
	return counted
}
