//go:build e2e

package observe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// healthyAfter shows that nothing is left of a fault.
func healthyAfter(t *testing.T, args ...string) {
	t.Helper()
	mustUp(t, args...)
	status(t, 0)
}

// TestWebhookRefuses: an admission webhook that says no, and one that is gone.
func TestWebhookRefuses(t *testing.T) {
	cleanUp(t)
	webhook := func(name, clientConfig string) string {
		return `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: ` + name + `}
webhooks:
  - name: ` + name + `.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
    clientConfig: ` + clientConfig + `
    rules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
`
	}
	t.Run("says no", func(t *testing.T) {
		url, ca := refusingWebhook(t, "deployments are made on Tuesdays only")
		apply(t, webhook("policy", "{url: "+url+", caBundle: "+ca+"}"))
		says(t, up(t, "--profile", "lite"), 1, "kube-prometheus-stack", "prom-operator", "policy.example.com", "deployments are made on Tuesdays only",
			"kubectl get validatingwebhookconfigurations")
	})
	t.Run("is gone", func(t *testing.T) {
		apply(t, webhook("gone", "{service: {namespace: default, name: no-such-webhook, path: /}}"))
		says(t, up(t, "--profile", "lite"), 1, "kube-prometheus-stack", "prom-operator", "gone.example.com", "no-such-webhook",
			"kubectl get validatingwebhookconfigurations")
	})
	healthyAfter(t, "--profile", "lite")
}

// TestQuotaExceeded: pods that a ResourceQuota refuses are waited for with
// that reason.
func TestQuotaExceeded(t *testing.T) {
	cleanUp(t)
	t.Run("refused", func(t *testing.T) {
		apply(t, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small, namespace: monitoring}\nspec: {hard: {pods: \"1\"}}\n")
		says(t, up(t, "--profile", "lite", "--timeout", "8s"), 124, "not everything was proved", "exceeded quota: small", "workloads", "kubectl -n monitoring")
		if c := check(t, status(t, 1), "workloads"); !strings.Contains(c.Detail, "exceeded quota: small") {
			t.Errorf("status says of the workloads: %s", c.Detail)
		}
	})
	healthyAfter(t, "--profile", "lite")
}

// TestPodSecurity: a namespace of the level baseline refuses what needs the host.
func TestPodSecurity(t *testing.T) {
	cleanUp(t)
	level := func(level string) {
		t.Helper()
		sandbox.Must(t, "kubectl", "label", "namespace", "monitoring", "pod-security.kubernetes.io/enforce="+level, "--overwrite")
	}
	level("baseline")
	o := up(t, "--timeout", "10s")
	says(t, o, 124, "violates PodSecurity", "baseline", "dcgm-exporter", "kubectl label namespace monitoring pod-security.kubernetes.io/enforce=privileged --overwrite")
	level("privileged")
	healthyAfter(t)
}

// TestImageNeverComes: the image and the registry are named.
func TestImageNeverComes(t *testing.T) {
	cleanUp(t)
	o := up(t, "--profile", "lite", "--timeout", "10s", "--set", "grafana.image.registry=registry.invalid")
	says(t, o, 124, "prom-operator-grafana", "registry.invalid/grafana/grafana", "ImagePull", "no such host", "observe status")
	if c := check(t, status(t, 1), "workloads"); !strings.Contains(c.Detail, "registry.invalid") {
		t.Errorf("status says of the workloads: %s", c.Detail)
	}
	healthyAfter(t, "--profile", "lite")
}

// TestHalfOfThePermissions: somebody who may do some of it is told what is
// missing before anything changes.
func TestHalfOfThePermissions(t *testing.T) {
	cleanUp(t)
	apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: half}
rules:
  - {apiGroups: [""], resources: [namespaces, nodes, pods, services, configmaps, endpoints], verbs: [get, list, watch]}
  - {apiGroups: [apps], resources: ["*"], verbs: [get, list, watch]}
  - {apiGroups: [""], resources: [configmaps, services, serviceaccounts, secrets], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: half}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: half}
subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
`)
	before := sandbox.Snapshot(t)
	o := up(t, "--as", "jane")
	says(t, o, 1, "you may not", "create", "customresourcedefinitions.apiextensions.k8s.io in the whole cluster", "deployments.apps in namespace monitoring", "nothing was changed", "kubectl auth can-i --list")
	if strings.Contains(o.Stderr, "configmaps in namespace") {
		t.Error("it complains of what is allowed")
	}
	before.Untouched(t, sandbox.Snapshot(t))
	sandbox.Must(t, "kubectl", "create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane")
	t.Cleanup(func() { withdrawBinding(t, "jane") })
	healthyAfter(t, "--profile", "lite", "--as", "jane")
}

// TestAPIServerIsAway: an API server that restarts in the middle delays the
// installation and nothing else.
func TestAPIServerIsAway(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			cleanUp(t)
			if moment == moments[0] {
				withoutCRDs(t)
			}
			run := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite", "-o", "json")...)
			if !run.AwaitLine(t, time.Minute, moment) {
				t.Error("it ended before")
			}
			sandbox.Must(t, "sandbox", "restart-apiserver", "--name", sandbox.Name, "--for", "3s")
			o := run.Wait(t, 2*time.Minute)
			if o.Code != 0 {
				t.Fatalf("exit code %d after %s\n%s%s", o.Code, o.Took, o.Stderr, o.Stdout)
			}
			if r := decode(t, o.Stdout); !r.Healthy {
				t.Errorf("not healthy: %+v", r.Checks)
			}
			t.Logf("it took %s:\n%s", o.Took, o.Stderr)
			if r := mustUp(t, "--profile", "lite"); r.Changed {
				t.Errorf("the next up had to change something: %+v", r.Components)
			}
		})
	}
}

// TestChartRepositoryTrouble: before anything changes.
func TestChartRepositoryTrouble(t *testing.T) {
	cleanUp(t)
	before := sandbox.Snapshot(t)
	fault := func(kind string) {
		t.Helper()
		sandbox.Must(t, "sandbox", "charts", "--name", sandbox.Name, "--fault", kind)
	}
	t.Cleanup(func() { chartsFault(t, "none") })
	// A cache of its own: what other tests have fetched is not asked for again.
	run := func(cache string, args ...string) (stderr string, code int) {
		cmd := sandbox.Command(t.Context(), "kubectl-triton", []string{"XDG_CACHE_HOME=" + cache}, upArgs(args...)...)
		o := finish(t, cmd)
		return o.Stderr, o.Code
	}
	for _, c := range []struct {
		kind string
		args []string
		says []string
	}{
		{"unavailable", nil, []string{"could not fetch chart", charts, "503", "--chart-dir"}},
		{"missing", nil, []string{"could not fetch chart", charts, "404", "--chart-dir"}},
		{"corrupt", nil, []string{"chart kube-prometheus-stack", charts, "SHA-256", "nothing was installed from it"}},
		{"none", []string{"--chart-repo", "http://127.0.0.1:1"}, []string{"could not fetch chart", "http://127.0.0.1:1", "refused", "observe pull", "--chart-dir"}},
	} {
		fault(c.kind)
		stderr, code := run(t.TempDir(), c.args...)
		if code != 1 {
			t.Errorf("%s %v: exit code %d", c.kind, c.args, code)
		}
		for _, s := range c.says {
			if !strings.Contains(stderr, s) {
				t.Errorf("%s %v: it does not say %q:\n%s", c.kind, c.args, s, stderr)
			}
		}
		t.Logf("%s: %s", c.kind, stderr)
	}
	before.Untouched(t, sandbox.Snapshot(t))
	// Nothing broken was cached.
	cache := t.TempDir()
	fault("corrupt")
	run(cache)
	fault("none")
	if stderr, code := run(cache, "--profile", "lite"); code != 0 {
		t.Errorf("the next up: exit code %d\n%s", code, stderr)
	}
	status(t, 0)
	// What was fetched once is not asked for again.
	fault("unavailable")
	if stderr, code := run(cache, "--profile", "lite"); code != 0 {
		t.Errorf("from the cache: exit code %d\n%s", code, stderr)
	}
}

// TestValuesWithATypo: refused by name before anything changes.
func TestValuesWithATypo(t *testing.T) {
	cleanUp(t)
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("grafana:\n  persistnce:\n    enabled: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := sandbox.Snapshot(t)
	says(t, up(t, "-f", file), 1, "grafana.persistnce", "persistence")
	says(t, up(t, "--set", "grafana.sidecar.dashbords.enabled=true"), 1, "grafana.sidecar.dashbords", "grafana.sidecar.dashboards")
	before.Untouched(t, sandbox.Snapshot(t))
}

// TestTwoAtOnce: one installs, the other says who is at it.
func TestTwoAtOnce(t *testing.T) {
	cleanUp(t)
	first := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite", "-o", "json")...)
	second := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite", "-o", "json")...)
	won, lost := first.Wait(t, 2*time.Minute), second.Wait(t, 2*time.Minute)
	if won.Code != 0 {
		won, lost = lost, won
	}
	if won.Code != 0 || !decode(t, won.Stdout).Healthy {
		t.Errorf("nobody won: %d and %d\n%s\n%s", won.Code, lost.Code, won.Stderr, lost.Stderr)
	}
	says(t, lost, 1, "is changing the stack since", "process", "try again")
	if r := mustUp(t, "--profile", "lite"); r.Changed {
		t.Errorf("the next up had to change something: %+v", r.Components)
	}
}
