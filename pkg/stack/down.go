package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Removal is what taking the stack away would do.
type Removal struct {
	Namespace string
	// Releases are this plugin's; Foreign are releases with the stack's names
	// that somebody else made, which stay.
	Releases, Foreign []*Release
	// Objects are those beside the releases.
	Objects []Change
	// Kept are what Helm and the operator leave behind, with what would be lost
	// by deleting each.
	Kept []Change
	// OwnNamespace says that the namespace was made by this plugin;
	// NamespaceMissing that there is none, and so no place for a lock.
	OwnNamespace, NamespaceMissing bool
	// Left is what Remove could not delete, a sentence for each.
	Left []string
}

// Empty says that there is nothing to remove.
func (r *Removal) Empty() bool {
	return len(r.Releases) == 0 && len(r.Objects) == 0 && !r.OwnNamespace
}

// PlanRemoval finds what belongs to this plugin; it changes nothing.
func (c *Client) PlanRemoval(ctx context.Context, namespace string) (*Removal, error) {
	r := &Removal{Namespace: namespace}
	ns, err := c.namespace(ctx, namespace)
	if err != nil {
		return nil, err
	}
	r.NamespaceMissing = ns == nil
	r.OwnNamespace = ns != nil && ns.Labels[PartOfLabel] == PartOf
	releases := c.records(namespace)
	for _, chart := range []Chart{DCGMExporterChart(), PrometheusStackChart()} {
		release, err := releases.Get(ctx, chart.Release)
		if err != nil {
			return nil, err
		}
		switch {
		case release == nil:
		case release.Own:
			r.Releases = append(r.Releases, release)
		default:
			r.Foreign = append(r.Foreign, release)
		}
	}
	own, err := c.ownObjects(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Releases) == 0 && len(own) > 0 {
		if err := c.notOfAnother(ctx, namespace); err != nil {
			return nil, err
		}
	}
	for _, o := range own {
		r.Objects = append(r.Objects, Change{Ref: RefOf(o), Verb: Delete, Before: o})
	}
	r.Kept, err = c.leftBehind(ctx, namespace, r)
	return r, err
}

// notOfAnother refuses a namespace without a release when this plugin's stack is in
// another: what was made beside the releases, wherever it lies, belongs to that one.
func (c *Client) notOfAnother(ctx context.Context, namespace string) error {
	found, err := c.Prometheuses(ctx)
	if apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range found {
		if p.release.Name != PrometheusStackChart().Release || p.release.Namespace == namespace {
			continue
		}
		release, err := c.records(p.release.Namespace).Get(ctx, p.release.Name)
		if err == nil && release != nil && release.Own {
			return fmt.Errorf("the stack is not in namespace %s: its Helm release %s is in namespace %s, and its monitors, rules and dashboards would be lost to it; remove it with --stack-namespace %s", namespace, release.Name, release.Namespace, release.Namespace)
		}
	}
	return nil
}

// leftBehind are the objects that no uninstallation removes.
func (c *Client) leftBehind(ctx context.Context, namespace string, r *Removal) ([]Change, error) {
	prometheus := PrometheusStackChart().Release
	if slices.ContainsFunc(r.Foreign, func(f *Release) bool { return f.Name == prometheus }) {
		return nil, nil
	}
	var kept []Change
	installed, err := c.ownCRDs(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range installed {
		change := Change{Ref: Ref{Group: crds.Group, Version: crds.Version, Kind: "CustomResourceDefinition", Name: name}, Verb: Keep}
		if change.Lost, change.Note, err = c.inUse(ctx, name, r); err != nil {
			return nil, err
		}
		kept = append(kept, change)
	}
	claims, err := c.kubernetes.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=prometheus-operator"})
	if err != nil {
		return nil, fmt.Errorf("could not list the volume claims of namespace %s: %w", namespace, err)
	}
	for _, claim := range claims.Items {
		if !strings.Contains(claim.Name, fullName(prometheus)) {
			continue
		}
		size := claim.Spec.Resources.Requests["storage"]
		kept = append(kept, Change{Ref: Ref{Version: "v1", Kind: "PersistentVolumeClaim", Namespace: namespace, Name: claim.Name}, Verb: Keep,
			Note: size.String() + " of recorded metrics or silences"})
	}
	service, err := c.kubeletService(ctx, r)
	if err != nil {
		return nil, err
	}
	kept = append(kept, service...)
	orphans, err := c.orphans(ctx, r)
	if err != nil {
		return nil, err
	}
	kept = append(kept, orphans...)
	slices.SortStableFunc(kept, func(a, b Change) int { return compareRefs(a.Ref, b.Ref) })
	return kept, nil
}

// kubeletService is the one that the operator made for the kubelets' metrics.
// It is called after the release, and belongs to one of the same name in another
// namespace if there is one.
func (c *Client) kubeletService(ctx context.Context, r *Removal) ([]Change, error) {
	name := PrometheusStackChart().Release
	service := Ref{Version: "v1", Kind: "Service", Namespace: metav1.NamespaceSystem, Name: fullName(name) + "-kubelet"}
	_, err := c.kubernetes.CoreV1().Services(service.Namespace).Get(ctx, service.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("could not look for %s: %w", service, err)
	}
	kept := []Change{{Ref: service, Verb: Keep, Note: "made by prometheus-operator for the kubelets' metrics"}}
	if slices.ContainsFunc(r.Releases, func(own *Release) bool { return own.Name == name }) {
		return kept, nil
	}
	found, err := c.Prometheuses(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, err
	case slices.ContainsFunc(found, func(p *Prometheus) bool { return p.release.Name == name && p.release.Namespace != r.Namespace }):
		return nil, nil
	}
	return kept, nil
}

// inUse says how many objects of a CRD's kind would go with it.
func (c *Client) inUse(ctx context.Context, crd string, r *Removal) (total int, note string, err error) {
	plural, group, _ := strings.Cut(crd, ".")
	namespaces := map[string]bool{}
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		kind := c.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
		err := eachItem(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			return kind.List(ctx, o)
		}, func(o *unstructured.Unstructured) {
			if owner := OwnerOf(o); owner.Tool == ManagedBy || owner.Tool == "Helm" && owner.Namespace == r.Namespace &&
				slices.ContainsFunc(r.Releases, func(own *Release) bool { return own.Name == owner.Name }) {
				return
			}
			total++
			namespaces[o.GetNamespace()] = true
		})
		if missing(err) {
			continue
		}
		if err != nil {
			return 0, "", fmt.Errorf("could not list the cluster's %s: %w", plural, err)
		}
		break
	}
	if total == 0 {
		return 0, "nobody else has objects of it", nil
	}
	return total, fmt.Sprintf("%s of others in %s would be deleted with it", counted(total, "object"), counted(len(namespaces), "namespace")), nil
}

// Remove carries a removal out: what depends on the releases first. report
// hears of each part.
func (c *Client) Remove(ctx context.Context, r *Removal, report Report) error {
	if len(r.Objects) > 0 {
		report("objects", fmt.Sprintf("deleting %d monitors, rules and dashboards", len(r.Objects)), false, nil)
		err := each(ctx, r.Objects, func(ctx context.Context, _ int, change Change) error { return c.remove(ctx, change.Ref) })
		report("objects", fmt.Sprintf("%d monitors, rules and dashboards deleted", len(r.Objects)), true, err)
		if err != nil {
			return err
		}
	}
	releases := c.records(r.Namespace)
	type ending struct {
		left []string
		err  error
	}
	ended := make(chan ending, len(r.Releases))
	for _, release := range r.Releases {
		go func() {
			report(release.Name, "uninstalling", false, nil)
			var end ending
			if end.err = releases.Uninstall(ctx, release); end.err == nil {
				end.left = c.collect(ctx, release)
				end.err = c.awaitGone(ctx, r.Namespace, release.Name, report)
			}
			report(release.Name, "uninstalled", true, end.err)
			ended <- end
		}()
	}
	var all []error
	for range r.Releases {
		end := <-ended
		r.Left = append(r.Left, end.left...)
		all = append(all, end.err)
	}
	return join(len(all), all...)
}

// collect deletes what the operator made for a release's Prometheus and
// Alertmanager. The garbage collector would, but it hears of new kinds only
// every half minute, and never of owners whose kind is purged meanwhile. What
// can't be deleted is left to it, and named.
func (c *Client) collect(ctx context.Context, release *Release) (left []string) {
	const otherwise = "Kubernetes' garbage collector deletes it, but not where the CRDs are purged first"
	owners, err := c.operands(release)
	if err != nil {
		return []string{fmt.Sprintf("what the operator made for %s is not known, since %v; %s", release.Name, err, otherwise)}
	}
	if len(owners) == 0 {
		return nil
	}
	for _, kind := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Version: "v1", Resource: "services"},
		{Version: "v1", Resource: "secrets"},
		{Version: "v1", Resource: "configmaps"},
	} {
		var operated []Ref
		err := eachItem(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			return c.dynamic.Resource(kind).Namespace(release.Namespace).List(ctx, o)
		}, func(o *unstructured.Unstructured) {
			if ownedBy(o, owners) {
				operated = append(operated, RefOf(o))
			}
		})
		if err != nil {
			left = append(left, fmt.Sprintf("could not see which %s the operator made for %s: %v; %s", kind.Resource, release.Name, err, otherwise))
		}
		for _, ref := range operated {
			if err := c.remove(ctx, ref); err != nil {
				left = append(left, fmt.Sprintf("%v; %s", err, otherwise))
			}
		}
	}
	return left
}

// operands are the objects of a release, without their versions, for which the
// operator makes others.
func (c *Client) operands(release *Release) (map[Ref]bool, error) {
	objects, err := c.decode(release.record.Manifest, release.Namespace)
	if err != nil {
		return nil, fmt.Errorf("the record of the Helm release %s can't be read: %w", release.Name, err)
	}
	operands := map[Ref]bool{}
	for _, o := range objects {
		if ref := RefOf(o).key(); ref.Group == monitoringGroup && ref.Namespace == release.Namespace && !kept(o) {
			operands[ref] = true
		}
	}
	return operands, nil
}

// ownedBy says whether an object belongs to some others and to nobody else: the
// operator's Service of a namespace belongs to all Prometheuses there.
func ownedBy(o *unstructured.Unstructured, owners map[Ref]bool) bool {
	references := o.GetOwnerReferences()
	return len(references) > 0 && !slices.ContainsFunc(references, func(owner metav1.OwnerReference) bool {
		gv, err := schema.ParseGroupVersion(owner.APIVersion)
		return err != nil || !owners[Ref{Group: gv.Group, Kind: owner.Kind, Namespace: o.GetNamespace(), Name: owner.Name}]
	})
}

// awaitGone waits until the pods of a release, those that the operator made
// for it included, have ended; report hears which.
func (c *Client) awaitGone(ctx context.Context, namespace, release string, report Report) error {
	waiting := ""
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		left := ""
		err := eachItem(ctx, metav1.ListOptions{}, c.kubernetes.CoreV1().Pods(namespace).List, func(p *corev1.Pod) {
			operated := release == PrometheusStackChart().Release && strings.Contains(p.Name, fullName(release))
			if p.Labels["app.kubernetes.io/instance"] == release || p.Labels["release"] == release || operated {
				left = p.Name
			}
		})
		switch {
		case err == nil && left == "":
			return nil
		case ctx.Err() != nil && waiting != "":
			return fmt.Errorf("pod %s of the removed release %s has not ended: %w", waiting, release, ctx.Err())
		case err != nil:
			return fmt.Errorf("could not see whether the pods of %s are gone: %w", release, err)
		}
		if left != waiting {
			waiting = left
			report(release, "waits for pod "+left+" to end", false, nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Purge deletes what a removal kept, and waits for its end: what is made anew in
// between would go too.
func (c *Client) Purge(ctx context.Context, kept []Change) error {
	return each(ctx, kept, func(ctx context.Context, _ int, change Change) error {
		if err := c.remove(ctx, change.Ref); err != nil {
			return err
		}
		return c.gone(ctx, change.Ref)
	})
}
