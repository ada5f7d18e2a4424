package stack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Labels of what this plugin makes besides Helm releases.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	PartOfLabel    = "app.kubernetes.io/part-of"
	ManagedBy      = "kubectl-triton"
	PartOf         = "kubectl-triton-observe"
)

// Ref names one object of the cluster. Namespace is empty for a cluster-wide one.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// RefOf is the reference of an object.
func RefOf(o *unstructured.Unstructured) Ref {
	k := o.GroupVersionKind()
	return Ref{Group: k.Group, Version: k.Version, Kind: k.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// GroupKind is the kind without its version.
func (r Ref) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// key identifies the object whatever API version it was written in.
func (r Ref) key() Ref {
	r.Version = ""
	return r
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Group, b.Group))
}

// sortObjects puts objects in the order in which they have to be created:
// what others live in or refer to comes first.
func sortObjects(objects []*unstructured.Unstructured) {
	order := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap"}
	rank := func(o *unstructured.Unstructured) int {
		if i := slices.Index(order, o.GetKind()); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), compareRefs(RefOf(a), RefOf(b)))
	})
}

// readSpec fills a struct, whose fields are called as those of the spec, from
// an object's. The converter of apimachinery would want a tag on each.
func readSpec(o *unstructured.Unstructured, into any) error {
	raw, _, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil {
		return err
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
