package stack

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

// TestCompare: what a dry run answers decides what would happen.
func TestCompare(t *testing.T) {
	const there = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, uid: u, resourceVersion: \"7\", generation: 1, managedFields: [{manager: x}]}, data: {x: old}, status: {y: z}}"
	const wished = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}, data: {x: new}}"
	resource := schema.GroupResource{Resource: "configmaps"}
	webhook := "admission webhook \"check.example.com\" does not support dry run"
	for name, test := range map[string]struct {
		there  string
		answer string
		err    error
		verb   Verb
		note   string
		failed string
	}{
		"not there":                 {"", "", nil, Create, "", ""},
		"the same":                  {there, strings.Replace(there, "resourceVersion: \"7\"", "resourceVersion: \"8\"", 1), nil, Unchanged, "", ""},
		"another":                   {there, strings.Replace(there, "old", "new", 1), nil, Update, "", ""},
		"being deleted":             {strings.Replace(there, "uid: u", "uid: u, deletionTimestamp: \"2026-11-01T12:00:00Z\", finalizers: [x]", 1), "", nil, Create, "is being deleted", ""},
		"an immutable field":        {there, "", apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil), Update, "is invalid", ""},
		"not allowed":               {there, "", apierrors.NewForbidden(resource, "a", errors.New("no")), Unknown, "does not allow a dry run", ""},
		"a webhook without dry run": {there, "", apierrors.NewBadRequest(webhook), Unknown, "webhook does not support a dry run", ""},
		"a bad request":             {there, "", apierrors.NewBadRequest("what?"), "", "", "could not compare ConfigMap b/a with the cluster: what?"},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []*unstructured.Unstructured
			if test.there != "" {
				objects = append(objects, fromYAML(t, test.there))
			}
			w := newWorld(t, nil, objects...)
			w.dynamic.PrependReactor("patch", "configmaps", func(action k8stesting.Action) (bool, runtime.Object, error) {
				if dry := action.(k8stesting.PatchActionImpl).PatchOptions.DryRun; len(dry) != 1 {
					t.Errorf("a comparison writes: %v", dry)
				}
				if test.err != nil {
					return true, nil, test.err
				}
				return true, fromYAML(t, test.answer), nil
			})
			changes, err := w.compare(t.Context(), []*unstructured.Unstructured{fromYAML(t, wished)})
			if test.failed != "" {
				if err == nil || err.Error() != test.failed {
					t.Errorf("got %v, want %s", err, test.failed)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if changes[0].Verb != test.verb || !strings.Contains(changes[0].Note, test.note) || (changes[0].Note == "") != (test.note == "") {
				t.Errorf("got %s, %q; want %s, %q", changes[0].Verb, changes[0].Note, test.verb, test.note)
			}
		})
	}
}

// TestCompareOfUnknownKind: an object of a kind that isn't there yet would be created.
func TestCompareOfUnknownKind(t *testing.T) {
	w := newWorld(t, nil)
	changes, err := w.compare(t.Context(), []*unstructured.Unstructured{fromYAML(t, "{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, namespace: b}}")})
	if err != nil || changes[0].Verb != Create {
		t.Errorf("got %v, %v", changes, err)
	}
}
