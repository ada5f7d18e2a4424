package stack

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Report hears how a component comes along; it is called from many goroutines.
// A nil err with done means that the component is as wished.
type Report func(component, text string, done bool, err error)

// Apply carries a plan out, independent parts side by side. What fails doesn't
// stop the others; the error joins all failures. Whoever calls it holds the lock.
func (c *Client) Apply(ctx context.Context, p *Plan, report Report) error {
	if err := p.step(ctx, report, &p.CRDs, func(ctx context.Context) error { return c.ApplyCRDs(ctx, p.CRDs.Changes) }); err != nil {
		return err
	}
	releases := c.records(p.Namespace)
	release := func(component *Component) func(context.Context) error {
		return func(ctx context.Context) error {
			if component.Release == nil {
				return nil
			}
			_, err := releases.Apply(ctx, component.Release)
			return err
		}
	}
	own := func(component *Component) func(context.Context) error {
		return func(ctx context.Context) error { return c.applyOwn(ctx, p, component) }
	}
	parts := []struct {
		component *Component
		run       func(context.Context) error
	}{
		{&p.Stack, release(&p.Stack)},
		{&p.Exporter, release(&p.Exporter)},
		{&p.Monitors, own(&p.Monitors)},
		{&p.Rules, own(&p.Rules)},
		{&p.Dashboards, own(&p.Dashboards)},
	}
	failed := make(chan error, len(parts))
	for _, part := range parts {
		go func() { failed <- p.step(ctx, report, part.component, part.run) }()
	}
	var all []error
	for range parts {
		all = append(all, <-failed)
	}
	return join(len(all), all...)
}

func (p *Plan) step(ctx context.Context, report Report, c *Component, run func(context.Context) error) error {
	switch c.Verb {
	case Unchanged, Reuse, Keep:
		report(c.Name, string(c.Verb)+": "+c.Note, true, nil)
		return nil
	}
	report(c.Name, string(c.Verb)+": "+c.Note, false, nil)
	err := run(ctx)
	report(c.Name, c.Note, true, err)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// applyOwn makes a component's objects so and removes those that are no longer
// wanted.
func (c *Client) applyOwn(ctx context.Context, p *Plan, component *Component) error {
	changing := map[Ref]Verb{}
	for _, change := range component.Changes {
		changing[change.key()] = change.Verb
	}
	var objects []*unstructured.Unstructured
	for _, o := range p.objects {
		if verb := changing[RefOf(o).key()]; verb == Create || verb == Update || verb == Unknown {
			objects = append(objects, o)
		}
	}
	if _, err := c.apply(ctx, objects); err != nil {
		return err
	}
	for _, stale := range p.stale {
		if changing[stale.key()] == Delete {
			if err := c.remove(ctx, stale.Ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes one object; that it is gone already is fine.
func (c *Client) remove(ctx context.Context, r Ref) error {
	resource, err := c.resource(r)
	if missing(err) {
		return nil
	}
	if err == nil {
		err = resource.Delete(ctx, r.Name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("could not delete %s: %w", r, err)
	}
	return nil
}

// gone waits for the end of an object that is being deleted.
func (c *Client) gone(ctx context.Context, r Ref) error {
	resource, err := c.resource(r)
	if err != nil {
		return fmt.Errorf("could not see whether %s is gone: %w", r, err)
	}
	for pause := retryFirst / 2; ; pause = min(2*pause, retryMost) {
		live, err := resource.Get(ctx, r.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if apierrors.IsForbidden(err) {
			return fmt.Errorf("could not see whether %s is gone: %w", r, err)
		}
		select {
		case <-ctx.Done():
			why := ""
			if err == nil && len(live.GetFinalizers()) > 0 {
				why = " (it waits for " + strings.Join(live.GetFinalizers(), ", ") + ")"
			}
			return fmt.Errorf("%s is being deleted and has not ended%s: %w", r, why, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// EnsureNamespace creates the namespace of a plan if it isn't there.
func (c *Client) EnsureNamespace(ctx context.Context, p *Plan) error {
	if !p.NamespaceMissing {
		return nil
	}
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetName(p.Namespace)
	// node-exporter and dcgm-exporter need the host, which a cluster's default
	// PodSecurity level may refuse.
	ns.SetLabels(map[string]string{ManagedByLabel: ManagedBy, PartOfLabel: PartOf, "pod-security.kubernetes.io/enforce": "privileged"})
	if _, err := c.apply(ctx, []*unstructured.Unstructured{ns}); err != nil {
		return fmt.Errorf("could not create namespace %s: %w", p.Namespace, err)
	}
	return nil
}

// TakeOver lets Apply go on from operations that were killed, if dead says
// that their process, which held the lock, is known to be gone.
func (p *Plan) TakeOver(dead bool) {
	for _, c := range []*Component{&p.Stack, &p.Exporter} {
		if r := c.Release; r != nil && r.Release != nil && r.Release.Own && dead {
			r.Recover = true
		}
	}
}
