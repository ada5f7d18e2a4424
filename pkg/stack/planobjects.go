package stack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
)

// planObjects plans what this plugin makes beside the releases.
func (p *Plan) planObjects(ctx context.Context, c *Client, monitors *Monitors, manage bool) error {
	existing, err := c.ownObjects(ctx)
	if err != nil {
		return err
	}
	if p.AsInstalled {
		p.ScrapeInterval = installedInterval(existing, p.ScrapeInterval)
	}
	monitorObjects, notes, err := p.monitors(ctx, c, monitors)
	if err != nil {
		return err
	}
	p.Notes = append(p.Notes, notes...)
	rules, err := c.rules(ctx, p.Prometheus)
	if unread(err) {
		return err
	}
	if err != nil {
		p.Notes = append(p.Notes, "no rules and alerts: "+err.Error())
	}
	if manage {
		p.Sidecar = plannedSidecar(p.Namespace)
	} else if p.Sidecar, err = c.FindSidecar(ctx, p.Prometheus.Namespace, p.Namespace); err != nil {
		return err
	}
	var dashboards []*unstructured.Unstructured
	if p.Sidecar != nil {
		dashboards = p.Sidecar.dashboards()
	} else {
		p.Notes = append(p.Notes, "no Grafana that loads dashboards from ConfigMaps was found; load them into yours with 'kubectl triton dashboards import'")
	}
	for _, part := range []struct {
		component *Component
		name      string
		kinds     []string
		objects   []*unstructured.Unstructured
	}{
		{&p.Monitors, "monitors", []string{PodMonitorKind, ServiceMonitorKind}, monitorObjects},
		{&p.Rules, "rules and alerts", []string{PrometheusRuleKind}, rules},
		{&p.Dashboards, "dashboards", []string{"ConfigMap"}, dashboards},
	} {
		changes, err := c.compare(ctx, part.objects)
		if err != nil {
			return err
		}
		wanted := sets.New[Ref]()
		for _, o := range part.objects {
			wanted.Insert(RefOf(o).key())
		}
		for _, o := range existing {
			if slices.Contains(part.kinds, o.GetKind()) && !wanted.Has(RefOf(o).key()) {
				stale := Change{Ref: RefOf(o), Verb: Delete, Before: o, Note: "no longer wanted"}
				changes = append(changes, stale)
				p.stale = append(p.stale, stale)
			}
		}
		p.objects = append(p.objects, part.objects...)
		*part.component = Component{Name: part.name, Verb: summarise(changes), Changes: changes, Note: counted(len(part.objects), "object")}
	}
	return nil
}

// monitors are those that Triton and reused exporters need; what somebody else
// lets the Prometheus scrape already is left to them.
func (p *Plan) monitors(ctx context.Context, c *Client, known *Monitors) (objects []*unstructured.Unstructured, notes []string, err error) {
	add := func(what string, t Target, make func(context.Context, *Prometheus, Target, time.Duration) (*unstructured.Unstructured, error)) error {
		if ref, interval, ok := known.Of(p.Prometheus, t); ok {
			if interval == "" {
				interval = cmp.Or(p.Prometheus.ScrapeInterval, "30s")
			}
			notes = append(notes, fmt.Sprintf("%s is scraped already, every %s by %s; a test of some seconds needs a scrape interval of %s", what, interval, ref, promDuration(p.ScrapeInterval)))
			return nil
		}
		o, err := make(ctx, p.Prometheus, t, p.ScrapeInterval)
		switch {
		case unread(err):
			return err
		case err != nil:
			notes = append(notes, fmt.Sprintf("%s is not scraped: %v", what, err))
		default:
			objects = append(objects, o)
		}
		return nil
	}
	for _, t := range p.Tritons {
		if err := add("Triton "+t.Namespace+"/"+t.Name, t, c.Monitor); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range p.Exporters {
		if err := add(e.What, e.Target, c.ExporterMonitor); err != nil {
			return nil, nil, err
		}
	}
	return objects, notes, nil
}

// installedInterval is the scrape interval that the monitors were made with.
func installedInterval(own []*unstructured.Unstructured, otherwise time.Duration) time.Duration {
	for _, o := range own {
		for _, field := range []string{"podMetricsEndpoints", "endpoints"} {
			endpoints, _, _ := unstructured.NestedSlice(o.Object, "spec", field)
			if len(endpoints) == 0 {
				continue
			}
			endpoint, _ := endpoints[0].(map[string]any)
			if d, err := time.ParseDuration(fmt.Sprint(endpoint["interval"])); err == nil {
				return d
			}
		}
	}
	return otherwise
}

// ownObjects lists what this plugin made beside the releases, in all namespaces.
func (c *Client) ownObjects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	kinds := []schema.GroupVersionResource{
		{Version: "v1", Resource: "configmaps"},
		{Group: monitoringGroup, Version: "v1", Resource: "podmonitors"},
		{Group: monitoringGroup, Version: "v1", Resource: "servicemonitors"},
		{Group: monitoringGroup, Version: "v1", Resource: "prometheusrules"},
	}
	found := make([][]*unstructured.Unstructured, len(kinds))
	err := each(ctx, kinds, func(ctx context.Context, i int, kind schema.GroupVersionResource) error {
		err := c.eachObject(ctx, kind, metav1.ListOptions{LabelSelector: PartOfLabel + "=" + PartOf}, func(o *unstructured.Unstructured) {
			found[i] = append(found[i], o)
		})
		if err != nil {
			return fmt.Errorf("could not list the %s that this plugin made: %w", kind.Resource, err)
		}
		return nil
	})
	return slices.Concat(found...), err
}
