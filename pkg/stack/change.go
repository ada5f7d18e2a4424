package stack

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fieldManager owns the fields of what is applied beside the Helm releases.
const fieldManager = "kubectl-triton"

// Verb says what happens to an object.
type Verb string

const (
	Create    Verb = "create"
	Update    Verb = "change"
	Delete    Verb = "delete"
	Unchanged Verb = "unchanged"
	Reuse     Verb = "reuse" // somebody else's, used as it is
	Keep      Verb = "keep"  // stays when everything else goes
	Unknown   Verb = "unknown"
)

// Change is what would happen, or has happened, to one object.
type Change struct {
	Ref
	Verb Verb `json:"verb"`
	// Note says why, where the verb alone doesn't.
	Note string `json:"note,omitempty"`
	// Lost is how many objects of others would go with it, of a CRD.
	Lost int `json:"lost,omitempty"`
	// Before and After are the object in the cluster and as it would be; nil
	// where there is none.
	Before, After *unstructured.Unstructured `json:"-"`
}

// Changed says whether the cluster differs afterwards.
func (c Change) Changed() bool { return c.Verb == Create || c.Verb == Update || c.Verb == Delete }

// compare asks the API server what applying each object would do, and changes
// nothing. Objects whose namespace or kind doesn't exist yet would be created.
func (c *Client) compare(ctx context.Context, objects []*unstructured.Unstructured) ([]Change, error) {
	changes := make([]Change, len(objects))
	err := each(ctx, objects, func(ctx context.Context, i int, o *unstructured.Unstructured) error {
		change, err := c.compareOne(ctx, o)
		if err != nil {
			return fmt.Errorf("could not compare %s with the cluster: %w", RefOf(o), err)
		}
		changes[i] = change
		return nil
	})
	return changes, err
}

func (c *Client) compareOne(ctx context.Context, o *unstructured.Unstructured) (Change, error) {
	change := Change{Ref: RefOf(o), Verb: Create, After: o}
	resource, err := c.resource(change.Ref)
	if meta.IsNoMatchError(err) {
		return change, nil
	}
	if err != nil {
		return change, err
	}
	live, err := resource.Get(ctx, change.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return change, nil
	case apierrors.IsForbidden(err):
		change.Verb, change.Note = Unknown, "you may not read it"
		return change, nil
	case err != nil:
		return change, err
	}
	change.Before = live
	if live.GetDeletionTimestamp() != nil {
		change.Note = "the one that is there is being deleted"
		return change, nil
	}
	result, err := resource.Apply(ctx, change.Name, forApply(o), metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	switch {
	case apierrors.IsForbidden(err):
		change.Verb, change.Note = Unknown, "the cluster does not allow a dry run of it"
		return change, nil
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		change.Verb, change.Note = Unknown, "an admission webhook does not support a dry run of it"
		return change, nil
	case apierrors.IsInvalid(err):
		// An immutable field would change: Helm replaces nothing by itself.
		change.Verb, change.Note = Update, err.Error()
		return change, nil
	case err != nil:
		return change, err
	}
	change.After = result
	if equality.Semantic.DeepEqual(substance(live), substance(result)) {
		change.Verb = Unchanged
	} else {
		change.Verb = Update
	}
	return change, nil
}

// forApply is an object without what only the API server may say.
func forApply(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(o.Object, "status")
	return o
}

// substance is what of an object a person means by "the object".
func substance(o *unstructured.Unstructured) map[string]any {
	c := maps.Clone(o.Object)
	delete(c, "status")
	metadata, _ := c["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		delete(metadata, field)
	}
	c["metadata"] = metadata
	return c
}

// apply makes each object so, and tells what that changed.
func (c *Client) apply(ctx context.Context, objects []*unstructured.Unstructured) ([]Change, error) {
	changes := make([]Change, len(objects))
	err := each(ctx, objects, func(ctx context.Context, i int, o *unstructured.Unstructured) error {
		err := persist(ctx, func(ctx context.Context) (err error) {
			changes[i], err = c.applyOne(ctx, o)
			return err
		})
		if err != nil {
			return fmt.Errorf("could not apply %s: %w", RefOf(o), err)
		}
		return nil
	})
	return changes, err
}

func (c *Client) applyOne(ctx context.Context, o *unstructured.Unstructured) (Change, error) {
	change := Change{Ref: RefOf(o), Verb: Create}
	resource, err := c.resource(change.Ref)
	if err != nil {
		return change, err
	}
	live, err := resource.Get(ctx, change.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return change, err
	}
	if err == nil {
		change.Before = live
	}
	result, err := resource.Apply(ctx, change.Name, forApply(o), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return change, err
	}
	change.After = result
	if change.Before != nil {
		change.Verb = Update
		if equality.Semantic.DeepEqual(substance(change.Before), substance(result)) {
			change.Verb = Unchanged
		}
	}
	return change, nil
}
