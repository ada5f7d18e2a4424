package stack

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// orphans are what the charts put outside the stack's namespace, of releases
// that Helm has no record of any more: the records went with the namespace when
// somebody deleted it by hand, and nothing else will ever remove these.
func (c *Client) orphans(ctx context.Context, r *Removal) ([]Change, error) {
	var lost []string
	for _, chart := range []Chart{DCGMExporterChart(), PrometheusStackChart()} {
		recorded := func(known *Release) bool { return known.Name == chart.Release }
		if !slices.ContainsFunc(r.Releases, recorded) && !slices.ContainsFunc(r.Foreign, recorded) {
			lost = append(lost, chart.Release)
		}
	}
	if len(lost) == 0 {
		return nil, nil
	}
	var found []Change
	for _, kind := range []schema.GroupVersionResource{
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
		{Version: "v1", Resource: "services"}, // those of kube-system's components
	} {
		err := c.eachObject(ctx, kind, metav1.ListOptions{LabelSelector: ManagedByLabel + "=Helm"}, func(o *unstructured.Unstructured) {
			owner := helmRelease(o)
			if owner.Namespace == r.Namespace && o.GetNamespace() != r.Namespace && slices.Contains(lost, owner.Name) {
				found = append(found, Change{Ref: RefOf(o), Verb: Keep, Note: "left of release " + owner.Name + ", of which Helm has no record any more"})
			}
		})
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("could not look for what is left of lost releases among the %s: %w", kind.Resource, err)
		}
	}
	return found, nil
}
