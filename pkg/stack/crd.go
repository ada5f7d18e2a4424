package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// operatorVersion is the annotation in which prometheus-operator's CRDs tell
// the release that they belong to.
const operatorVersion = "operator.prometheus.io/version"

// PlanCRDs compares a chart's CRDs with the cluster's. Helm creates them once
// and never again; here older ones are brought up to date, newer ones are left
// as they are, and so are those that a GitOps tool owns.
func (c *Client) PlanCRDs(ctx context.Context, wanted []*unstructured.Unstructured) ([]Change, error) {
	changes := make([]Change, len(wanted))
	err := each(ctx, wanted, func(ctx context.Context, i int, o *unstructured.Unstructured) error {
		live, err := c.dynamic.Resource(crds).Get(ctx, o.GetName(), metav1.GetOptions{})
		change := Change{Ref: RefOf(o), Verb: Create, After: o}
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("could not read the CRD %s: %w", o.GetName(), err)
		case live.GetDeletionTimestamp() != nil:
			change.Before, change.Note = live, "the one that is there is being deleted"
		default:
			change.Before = live
			change.Verb, change.Note = judgeCRD(live, o)
		}
		changes[i] = change
		return nil
	})
	return changes, err
}

func judgeCRD(live, wanted *unstructured.Unstructured) (Verb, string) {
	has, wants := live.GetAnnotations()[operatorVersion], wanted.GetAnnotations()[operatorVersion]
	if owner := OwnerOf(live); owner.GitOps() {
		return Reuse, "belongs to " + owner.String()
	}
	there, errThere := semver.NewVersion(has)
	chart, errChart := semver.NewVersion(wants)
	switch {
	case errChart != nil || has == wants:
		return Unchanged, has
	case errThere != nil:
		return Update, "of an unknown version, becomes " + wants
	case there.GreaterThan(chart):
		return Reuse, fmt.Sprintf("is newer (%s) than the chart's (%s)", has, wants)
	}
	return Update, has + " becomes " + wants
}

// ApplyCRDs makes the changes of a plan and waits until the API server serves
// the kinds. Server-side apply: most are too large for the annotation that
// client-side apply keeps.
func (c *Client) ApplyCRDs(ctx context.Context, plan []Change) error {
	err := each(ctx, plan, func(ctx context.Context, _ int, change Change) error {
		if !change.Changed() {
			return nil
		}
		return persist(ctx, func(ctx context.Context) error { return c.applyCRD(ctx, change) })
	})
	if err != nil {
		return err
	}
	return c.awaitKinds(ctx, plan)
}

// awaitKinds waits until the API server's discovery tells of the kinds of the
// CRDs that were changed, which is a little after each is established: Helm asks
// it what an object of a manifest is.
func (c *Client) awaitKinds(ctx context.Context, plan []Change) error {
	for {
		c.forget()
		i := slices.IndexFunc(plan, func(change Change) bool { return change.Changed() && !c.serves(change.After) })
		if i < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not tell of the kind of the CRD %s: %w", plan[i].Name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serves says whether the kind of a CRD is known.
func (c *Client) serves(crd *unstructured.Unstructured) bool {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	_, err := c.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	return err == nil
}

func (c *Client) applyCRD(ctx context.Context, change Change) (err error) {
	resource, o := c.dynamic.Resource(crds), change.After
	if change.Verb == Create {
		// A third of the time that applying takes, and as much as Helm does.
		_, err = resource.Create(ctx, forApply(o), metav1.CreateOptions{FieldManager: fieldManager})
	}
	if apierrors.IsAlreadyExists(err) {
		live, getErr := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) || getErr == nil && live.GetDeletionTimestamp() != nil {
			return c.recreateCRD(ctx, change)
		}
	}
	if change.Verb != Create || apierrors.IsAlreadyExists(err) {
		_, err = resource.Apply(ctx, o.GetName(), forApply(o), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	}
	if err != nil {
		return fmt.Errorf("could not apply the CRD %s: %w", o.GetName(), err)
	}
	for {
		live, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err == nil && established(live) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve the CRD %s: %w", o.GetName(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// recreateCRD waits for the end of a CRD that is being deleted, and of all its
// objects, and makes it anew.
func (c *Client) recreateCRD(ctx context.Context, change Change) error {
	if err := c.gone(ctx, change.Ref); err != nil {
		return err
	}
	return c.applyCRD(ctx, change)
}

func established(o *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == "Established" && condition["status"] == "True" {
			return true
		}
	}
	return false
}

// ownCRDs are the names of prometheus-operator's CRDs that this plugin created
// or brought up to date; those that it found are none of its business.
func (c *Client) ownCRDs(ctx context.Context) ([]string, error) {
	var own []string
	err := c.eachObject(ctx, crds, metav1.ListOptions{}, func(o *unstructured.Unstructured) {
		applied := slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Manager == fieldManager })
		if applied && strings.HasSuffix(o.GetName(), "."+monitoringGroup) {
			own = append(own, o.GetName())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("could not list the cluster's CRDs: %w", err)
	}
	return own, nil
}
