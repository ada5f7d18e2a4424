package plugin

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// TestGrafanaSecretIsNotGuessed: beside several Grafanas one without a Secret of
// its name isn't sent the login of another.
func TestGrafanaSecretIsNotGuessed(t *testing.T) {
	secret := func(name string) runtime.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "monitoring", Labels: map[string]string{"app.kubernetes.io/component": "admin-secret"}}}
	}
	for name, test := range map[string]struct {
		there []runtime.Object
		want  string
		err   string
	}{
		"its own":        {[]runtime.Object{secret("grafana"), secret("other")}, "grafana", ""},
		"the only one":   {[]runtime.Object{secret("other")}, "other", ""},
		"none":           {nil, "", "no Secret grafana"},
		"one of several": {[]runtime.Object{secret("a"), secret("b")}, "", "a, b"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{client: fake.NewClientset(test.there...)}
			got, err := c.grafanaSecret(t.Context(), stackService{namespace: "monitoring", name: "grafana"})
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, %v", got, err)
			case test.err == "" && (err != nil || got.Name != test.want):
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
