package stack

import (
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Diff is a change as a unified diff of the object's YAML; empty when nothing
// changes. The data of Secrets is never in it.
func (c Change) Diff() string {
	if !c.Changed() {
		return ""
	}
	before, after := c.Before, c.After
	switch c.Verb {
	case Create:
		before = nil
	case Delete:
		after = nil
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(before), B: lines(after),
		FromFile: c.String() + " (cluster)", ToFile: c.String() + " (after)",
		Context: 3,
	})
	if err != nil {
		return fmt.Sprintf("%s: %v\n", c.Ref, err)
	}
	return text
}

func lines(o *unstructured.Unstructured) []string {
	if o == nil {
		return nil
	}
	shown := &unstructured.Unstructured{Object: substance(o)}
	if o.GetKind() == "Secret" {
		shown = masked(shown)
	}
	data, err := yaml.Marshal(shown.Object)
	if err != nil {
		return []string{err.Error() + "\n"}
	}
	return difflib.SplitLines(strings.TrimSuffix(string(data), "\n"))
}

// masked is a Secret whose values are replaced by their sizes.
func masked(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	// kubectl's copy of what was applied holds the values too.
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	for _, field := range []string{"data", "stringData"} {
		values, _, _ := unstructured.NestedMap(o.Object, field)
		for key, value := range values {
			values[key] = fmt.Sprintf("(%d characters)", len(fmt.Sprint(value)))
		}
		if len(values) > 0 {
			_ = unstructured.SetNestedMap(o.Object, values, field) // a map of strings always fits
		}
	}
	return o
}
