//go:build e2e

package check

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

// TestGrafanaLogin: somebody changed the Secret, and Grafana, which read it when
// it started, refuses the login. The command makes it read the Secret again.
func TestGrafanaLogin(t *testing.T) {
	const name = "prom-operator-grafana"
	secret, err := sandbox.Client.CoreV1().Secrets("monitoring").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	password := func(text string) {
		t.Helper()
		kubectl(t, "--namespace", "monitoring", "patch", "secret", name, "--patch", `{"stringData":{"admin-password":"`+text+`"}}`)
	}
	restarted := func() {
		t.Helper()
		kubectl(t, "--namespace", "monitoring", "rollout", "status", "deployment", name, "--timeout", "90s")
	}
	defer well(t)
	defer func() {
		password(string(secret.Data["admin-password"]))
		kubectl(t, "--namespace", "monitoring", "rollout", "restart", "deployment", name)
		restarted()
	}()
	password("another")
	k := becomes(t, "annotations-writable", check.StateWarning, "401 Unauthorized", "the admin Secret may no longer match")
	golden(t, k)
	if d := result(t, look(t), "dashboards-loaded"); d.State != check.StateWarning || d.Findings[0].Command != k.Findings[0].Command {
		t.Errorf("%+v", d)
	}
	obey(t, k)
	restarted()
	becomes(t, "annotations-writable", check.StateOK)
	becomes(t, "dashboards-loaded", check.StateOK)
}
