package stack

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ReleasePlan is what applying a chart would do.
type ReleasePlan struct {
	Name    string
	Package *Package
	Values  Values
	// Release is the one that is there; nil when none is.
	Release *Release
	// Verb is Create, Update or Unchanged, for the release as a whole.
	Verb    Verb
	Why     string
	Changes []Change
	// Recover lets Apply take over a release on which an operation was killed.
	Recover bool

	rendering *rendering
	labelled  []*unstructured.Unstructured // the same objects with Helm's marks
}

// Objects are the manifests of the release, hooks left out.
func (p *ReleasePlan) Objects() []*unstructured.Unstructured { return p.rendering.objects }

// Hooks are the objects that Helm makes around an installation only.
func (p *ReleasePlan) Hooks() []*unstructured.Unstructured { return p.rendering.hooks }

func (p *ReleasePlan) chart() string {
	if p.Package != nil {
		return p.Package.Chart.String()
	}
	return p.Release.Chart + " " + p.Release.ChartVersion
}

// Plan compares a chart with given values with what is there.
func (r *Releases) Plan(ctx context.Context, name string, p *Package, values Values) (*ReleasePlan, error) {
	plan := &ReleasePlan{Name: name, Package: p, Values: values, Verb: Create}
	var err error
	if plan.Release, err = r.Get(ctx, name); err != nil {
		return nil, err
	}
	if plan.rendering, err = r.render(ctx, p, values, name, plan.Release != nil); err != nil {
		return nil, err
	}
	plan.labelled = r.labelled(plan.rendering.objects, name)
	if plan.Changes, err = r.client.compare(ctx, plan.labelled); err != nil {
		return nil, err
	}
	if plan.Release == nil {
		return plan, nil
	}
	gone, err := r.obsolete(plan)
	if err != nil {
		return nil, err
	}
	plan.Changes = append(plan.Changes, gone...)
	plan.Verb, plan.Why = r.judge(plan)
	return plan, nil
}

// Inspect compares a release with its own record.
func (r *Releases) Inspect(ctx context.Context, rel *Release) (*ReleasePlan, error) {
	objects, err := r.client.decode(rel.record.Manifest, r.namespace)
	if err != nil {
		return nil, fmt.Errorf("the record of the Helm release %s can't be read: %w", rel.Name, err)
	}
	plan := &ReleasePlan{Name: rel.Name, Release: rel, Verb: Unchanged, rendering: &rendering{objects: objects}}
	if plan.Changes, err = r.client.compare(ctx, r.labelled(objects, rel.Name)); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(plan.Changes, Change.Changed); i >= 0 {
		plan.Verb, plan.Why = Update, fmt.Sprintf("%s differs from what Helm made", plan.Changes[i].Ref)
	}
	if !rel.Deployed() {
		plan.Verb, plan.Why = Update, "its last operation ended as "+rel.Status
	}
	return plan, nil
}

// labelled gives objects the metadata that Helm adds at installation.
func (r *Releases) labelled(objects []*unstructured.Unstructured, name string) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		o = o.DeepCopy()
		labels, annotations := o.GetLabels(), o.GetAnnotations()
		if labels == nil {
			labels = map[string]string{}
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		labels[ManagedByLabel] = "Helm"
		annotations[helmReleaseName], annotations[helmReleaseNamespace] = name, r.namespace
		o.SetLabels(labels)
		o.SetAnnotations(annotations)
		out = append(out, o)
	}
	return out
}

// obsolete are the objects of the last revision that the new one lacks.
func (r *Releases) obsolete(plan *ReleasePlan) ([]Change, error) {
	before, err := r.client.decode(plan.Release.record.Manifest, r.namespace)
	if err != nil {
		return nil, fmt.Errorf("the record of the Helm release %s can't be read: %w", plan.Name, err)
	}
	wanted := map[Ref]bool{}
	for _, o := range plan.rendering.objects {
		wanted[RefOf(o).key()] = true
	}
	var gone []Change
	for _, o := range before {
		if !wanted[RefOf(o).key()] {
			c := Change{Ref: RefOf(o), Verb: Delete, Before: o}
			if kept(o) {
				c.Verb, c.Note = Keep, "the chart says to keep it"
			}
			gone = append(gone, c)
		}
	}
	return gone, nil
}

func kept(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()["helm.sh/resource-policy"] == "keep"
}

// judge says whether the release needs an upgrade, and the first reason.
func (r *Releases) judge(plan *ReleasePlan) (Verb, string) {
	rel := plan.Release
	switch {
	case !rel.Own:
		return Update, "it is taken over"
	case !rel.Deployed():
		return Update, "its last operation ended as " + rel.Status
	case rel.Chart != plan.Package.Chart.Name || rel.ChartVersion != plan.Package.chart.Metadata.Version:
		return Update, fmt.Sprintf("chart %s %s becomes %s", rel.Chart, rel.ChartVersion, plan.Package.chart.Metadata.Version)
	case r.rewritten(plan):
		return Update, "its values or templates differ"
	}
	if i := slices.IndexFunc(plan.Changes, Change.Changed); i >= 0 {
		return Update, fmt.Sprintf("%s differs from what Helm made", plan.Changes[i].Ref)
	}
	return Unchanged, ""
}

// rewritten says whether the manifests themselves differ from the last revision's.
func (r *Releases) rewritten(plan *ReleasePlan) bool {
	before, err := r.client.decode(plan.Release.record.Manifest, r.namespace)
	if err != nil || len(before) != len(plan.rendering.objects) {
		return true
	}
	old := map[Ref]*unstructured.Unstructured{}
	for _, o := range before {
		old[RefOf(o).key()] = o
	}
	return slices.ContainsFunc(plan.rendering.objects, func(o *unstructured.Unstructured) bool {
		was := old[RefOf(o).key()]
		return was == nil || !equality.Semantic.DeepEqual(was.Object, o.Object)
	})
}
