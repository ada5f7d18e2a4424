package stack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// namespace reads a namespace; it gives nil for one that isn't there, and an
// error for one that is on its way out, in which nothing can be made.
func (c *Client) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	ns, err := c.kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("could not read namespace %s: %w", name, err)
	case ns.DeletionTimestamp != nil:
		return nil, fmt.Errorf("namespace %s is being deleted; wait for its end with 'kubectl wait --for=delete namespace/%s' and try again", name, name)
	}
	return ns, nil
}

// RemoveNamespace deletes the stack's namespace if this plugin made it and
// nothing of anybody's is left in it, of whatever kind; else it says what is.
// It returns when the namespace is gone: until then none of its name can be made.
func (c *Client) RemoveNamespace(ctx context.Context, r *Removal) (left string, err error) {
	if !r.OwnNamespace {
		return "", nil
	}
	kinds, err := c.namespacedKinds(ctx)
	if discovery.IsGroupDiscoveryFailedError(err) {
		return fmt.Sprintf("something that the API server can't list (%v)", err), nil
	}
	if err != nil {
		return "", fmt.Errorf("could not ask the API server what a namespace may hold: %w", err)
	}
	for _, kind := range kinds {
		for pause := retryFirst; ; pause = min(2*pause, retryMost) {
			left, waiting, err := c.leftOf(ctx, kind, r.Namespace)
			if left != "" || err != nil {
				return left, err
			}
			if waiting == "" {
				break
			}
			select {
			case <-ctx.Done():
				return "", fmt.Errorf("%s in namespace %s is being deleted, or its owner is gone, and has not ended: %w", waiting, r.Namespace, ctx.Err())
			case <-time.After(pause):
			}
		}
	}
	namespace := Ref{Version: "v1", Kind: "Namespace", Name: r.Namespace}
	if err := c.remove(ctx, namespace); err != nil {
		return "", err
	}
	return "", c.gone(ctx, namespace)
}

// leftOf names an object of a kind that somebody still wants; waiting names
// another, which is on its way out.
func (c *Client) leftOf(ctx context.Context, kind schema.GroupVersionResource, namespace string) (left, waiting string, err error) {
	var unclear error
	seen := fates{}
	err = eachItem(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
		return c.dynamic.Resource(kind).Namespace(namespace).List(ctx, o)
	}, func(o *unstructured.Unstructured) {
		if left != "" || unclear != nil || madeByItself(kind.Resource, o) {
			return
		}
		going, err := c.goesByItself(ctx, o, seen)
		switch {
		case err != nil:
			unclear = fmt.Errorf("could not see whom %s belongs to: %w", RefOf(o), err)
		case !going:
			left = o.GetKind() + " " + o.GetName()
		default:
			waiting = o.GetKind() + " " + o.GetName()
		}
	})
	switch {
	case unclear != nil:
		return "", "", unclear
	case left != "":
		return left, "", nil
	case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
		return "", "", nil
	case apierrors.IsForbidden(err):
		return "something that you may not list (" + kind.Resource + ")", "", nil
	case err != nil:
		return "", "", fmt.Errorf("could not see what is left in namespace %s: %w", namespace, err)
	}
	return "", waiting, nil
}

// madeByItself says whether an object is of those that each namespace has.
func madeByItself(resource string, o *unstructured.Unstructured) bool {
	return resource == "configmaps" && o.GetName() == "kube-root-ca.crt" || resource == "serviceaccounts" && o.GetName() == "default"
}

// fates says of owners that were asked for whether they are gone or go.
type fates map[metav1.OwnerReference]bool

// goesByItself says whether an object is being deleted, or will be by the
// garbage collector because its owners are gone or go.
func (c *Client) goesByItself(ctx context.Context, o *unstructured.Unstructured, seen fates) (bool, error) {
	if o.GetDeletionTimestamp() != nil {
		return true, nil
	}
	owners := o.GetOwnerReferences()
	for _, reference := range owners {
		reference.Controller, reference.BlockOwnerDeletion = nil, nil // pointers, and nothing to the owner
		going, known := seen[reference]
		if !known {
			seen[reference] = false // also for owners in a circle
			var err error
			if going, err = c.ownerGoes(ctx, o.GetNamespace(), reference, seen); err != nil {
				return false, err
			}
			seen[reference] = going
		}
		if !going {
			return false, nil
		}
	}
	return len(owners) > 0, nil
}

// ownerGoes says whether the owner of an object in a namespace is gone or goes.
func (c *Client) ownerGoes(ctx context.Context, namespace string, reference metav1.OwnerReference, seen fates) (bool, error) {
	gv, err := schema.ParseGroupVersion(reference.APIVersion)
	if err != nil {
		return false, nil //nolint:nilerr // the garbage collector can't follow it either
	}
	resource, err := c.resource(Ref{Group: gv.Group, Version: gv.Version, Kind: reference.Kind, Namespace: namespace, Name: reference.Name})
	var owner *unstructured.Unstructured
	if err == nil {
		owner, err = resource.Get(ctx, reference.Name, metav1.GetOptions{})
	}
	if missing(err) || err == nil && owner.GetUID() != reference.UID {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return c.goesByItself(ctx, owner, seen)
}

// namespacedKinds are all that can lie in a namespace, but for what Kubernetes
// derives from other objects or writes down about them.
func (c *Client) namespacedKinds(ctx context.Context) ([]schema.GroupVersionResource, error) {
	lists, err := within(ctx, func() ([]*metav1.APIResourceList, error) {
		return discovery.ServerPreferredNamespacedResources(c.discovery)
	})
	if err != nil {
		return nil, err
	}
	derived := []string{"events", "endpoints", "endpointslices"}
	var kinds []schema.GroupVersionResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil || gv.Group == "metrics.k8s.io" {
			continue
		}
		for _, r := range list.APIResources {
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") && !slices.Contains(derived, r.Name) {
				kinds = append(kinds, gv.WithResource(r.Name))
			}
		}
	}
	// In the same order each time, whatever order discovery has.
	slices.SortStableFunc(kinds, func(a, b schema.GroupVersionResource) int { return cmp.Compare(a.String(), b.String()) })
	return kinds, nil
}
