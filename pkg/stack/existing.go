package stack

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Monitors are all ServiceMonitors and PodMonitors of the cluster.
type Monitors struct {
	items      []monitorSpec
	namespaces map[string]labels.Set
}

type monitorSpec struct {
	Ref
	owner  Owner
	labels labels.Set
	spec   struct {
		Selector          metav1.LabelSelector
		NamespaceSelector struct {
			Any        bool
			MatchNames []string
		}
		Endpoints, PodMetricsEndpoints []struct{ Interval, Port string }
	}
}

// Monitors reads what Prometheuses have been told to scrape.
func (c *Client) Monitors(ctx context.Context) (*Monitors, error) {
	m := &Monitors{namespaces: map[string]labels.Set{}}
	for _, resource := range []string{"servicemonitors", "podmonitors"} {
		kind := schema.GroupVersionResource{Group: monitoringGroup, Version: "v1", Resource: resource}
		err := c.eachObject(ctx, kind, metav1.ListOptions{}, func(o *unstructured.Unstructured) {
			item := monitorSpec{Ref: RefOf(o), owner: OwnerOf(o), labels: o.GetLabels()}
			// One that can't be read isn't scraped either.
			if err := readSpec(o, &item.spec); err == nil {
				m.items = append(m.items, item)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("could not list the cluster's %s: %w", resource, err)
		}
	}
	if len(m.items) == 0 {
		return m, nil
	}
	err := eachItem(ctx, metav1.ListOptions{}, c.kubernetes.CoreV1().Namespaces().List, func(ns *corev1.Namespace) {
		m.namespaces[ns.Name] = ns.Labels
	})
	if err != nil {
		return nil, fmt.Errorf("could not list the cluster's namespaces: %w", err)
	}
	return m, nil
}

// Of finds a monitor of somebody else's by which p scrapes t, and the interval
// that it asks for; empty when it leaves that to p.
func (m *Monitors) Of(p *Prometheus, t Target) (found Ref, interval string, ok bool) {
	for _, item := range m.items {
		if item.owner.Tool == ManagedBy || !m.taken(p, item) || !item.covers(t) {
			continue
		}
		endpoints := slices.Concat(item.spec.Endpoints, item.spec.PodMetricsEndpoints)
		if len(endpoints) > 0 {
			interval = endpoints[0].Interval
		}
		return item.Ref, interval, true
	}
	return Ref{}, "", false
}

// taken says whether a Prometheus's selectors match a monitor.
func (m *Monitors) taken(p *Prometheus, item monitorSpec) bool {
	s := p.selectors[item.Kind]
	if s.object == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s.object)
	if err != nil || !selector.Matches(item.labels) {
		return false
	}
	if s.namespace == nil {
		return item.Namespace == p.Namespace
	}
	selector, err = metav1.LabelSelectorAsSelector(s.namespace)
	return err == nil && selector.Matches(m.namespaces[item.Namespace])
}

// covers says whether a monitor selects a target's pods or Service.
func (i monitorSpec) covers(t Target) bool {
	within := i.spec.NamespaceSelector
	if !within.Any && !slices.Contains(within.MatchNames, t.Namespace) && (len(within.MatchNames) > 0 || i.Namespace != t.Namespace) {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(&i.spec.Selector)
	if err != nil {
		return false
	}
	if i.Kind == PodMonitorKind {
		return len(t.PodLabels) > 0 && selector.Matches(labels.Set(t.PodLabels))
	}
	return t.Service != "" && len(t.ServiceLabels) > 0 && selector.Matches(labels.Set(t.ServiceLabels))
}
