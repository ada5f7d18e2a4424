package stack

import (
	"encoding/base64"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestDiffNeverShowsASecret(t *testing.T) {
	const password = "hunter2-and-more"
	encoded := base64.StdEncoding.EncodeToString([]byte(password))
	secret := func(data string) *unstructured.Unstructured {
		o := fromYAML(t, "{apiVersion: v1, kind: Secret, metadata: {name: grafana, namespace: monitoring}, data: {admin-password: "+data+"}, stringData: {token: "+password+"}}")
		o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"admin-password":"` + data + `"}}`, "kept": "yes"})
		return o
	}
	for _, change := range []Change{
		{Ref: Ref{Kind: "Secret", Namespace: "monitoring", Name: "grafana"}, Verb: Create, After: secret(encoded)},
		{Ref: Ref{Kind: "Secret", Namespace: "monitoring", Name: "grafana"}, Verb: Update, Before: secret("b2xk"), After: secret(encoded)},
		{Ref: Ref{Kind: "Secret", Namespace: "monitoring", Name: "grafana"}, Verb: Delete, Before: secret(encoded)},
	} {
		text := change.Diff()
		for _, hidden := range []string{password, encoded, "b2xk"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s shows %s:\n%s", change.Verb, hidden, text)
			}
		}
		if !strings.Contains(text, "admin-password: (24 characters)") || change.Verb != Update && !strings.Contains(text, "kept:") {
			t.Errorf("%s does not show what there is:\n%s", change.Verb, text)
		}
	}
}

func TestDiff(t *testing.T) {
	before := fromYAML(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, uid: u, resourceVersion: \"1\", managedFields: [{manager: x}]}, data: {interval: 30s, same: yes}, status: {x: 1}}")
	after := fromYAML(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, uid: u, resourceVersion: \"2\"}, data: {interval: 2s, same: yes}}")
	got := Change{Ref: RefOf(before), Verb: Update, Before: before, After: after}.Diff()
	want := `--- ConfigMap b/a (cluster)
+++ ConfigMap b/a (after)
@@ -1,6 +1,6 @@
 apiVersion: v1
 data:
-  interval: 30s
+  interval: 2s
   same: true
 kind: ConfigMap
 metadata:
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, verb := range []Verb{Unchanged, Reuse, Keep, Unknown} {
		if got := (Change{Verb: verb, Before: before, After: after}).Diff(); got != "" {
			t.Errorf("%s has the difference %s", verb, got)
		}
	}
	if got := (Change{Ref: RefOf(after), Verb: Create, After: after}).Diff(); strings.Contains(got, "\n-") || !strings.Contains(got, "+  interval: 2s") {
		t.Errorf("a creation is\n%s", got)
	}
	if got := (Change{Ref: RefOf(before), Verb: Delete, Before: before, After: after}).Diff(); strings.Contains(got, "\n+") && !strings.Contains(got, "\n+++") || !strings.Contains(got, "-  interval: 30s") {
		t.Errorf("a deletion is\n%s", got)
	}
}
