//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
)

// TestObserveBadInput: each wrong input to the observe commands gets one clear
// sentence that names what is wrong and the next step, a non-zero exit code,
// and an answer in under 10 s; nothing is changed.
func TestObserveBadInput(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nothing := filepath.Join(dir, "none")
	noConfig := []string{"KUBECONFIG=" + nothing}
	dead := []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+deadAddress(t), "")}
	silent := []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+silentAddress(t), "")}
	stranger := []string{"KUBECONFIG=" + kubeconfigFor(t, restConfig.Host, "not-a-token")}
	nobody := []string{"KUBECONFIG=" + limitedUser(t, "observe-nobody")}
	reader := []string{"KUBECONFIG=" + limitedUser(t, "observe-half", readEverything(), rule("configmaps", "create", "patch", "delete"))}
	noSecrets := []string{"KUBECONFIG=" + limitedUser(t, "observe-nosecrets", rule("pods", "list"), rule("services", "list"), rule("nodes", "list"), rule("namespaces", "get", "list"),
		rbacv1.PolicyRule{APIGroups: []string{"apps", "resource.k8s.io", "node.k8s.io"}, Resources: []string{"*"}, Verbs: []string{"list", "get"}},
		rbacv1.PolicyRule{APIGroups: []string{"monitoring.coreos.com"}, Resources: []string{"*"}, Verbs: []string{"list"}})}
	noPrometheuses := []string{"KUBECONFIG=" + limitedUser(t, "observe-noprometheuses", rule("pods", "list"), rule("services", "list"), rule("nodes", "list"), rule("namespaces", "get", "list"), rule("secrets", "get", "list"),
		rbacv1.PolicyRule{APIGroups: []string{"apps", "resource.k8s.io", "node.k8s.io"}, Resources: []string{"*"}, Verbs: []string{"list", "get"}})}
	packages := filepath.Join(dir, "packages")
	if err := os.Mkdir(packages, 0o755); err != nil {
		t.Fatal(err)
	}
	write("packages/kube-prometheus-stack-88.5.3.tgz", "this is no package")
	corrupt := corruptRepository(t)
	charts := filepath.Join(dir, "charts")
	if err := os.MkdirAll(filepath.Join(charts, "kube-prometheus-stack"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("charts/kube-prometheus-stack/Chart.yaml", "{apiVersion: v2, name: kube-prometheus-stack, version: 88.5.3}")
	write("charts/kube-prometheus-stack/values.yaml", "{grafana: {adminUser: admin}, prometheus: {prometheusSpec: {retention: 10d}}}")

	type input struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}
	var cases []input
	for _, command := range []string{"up", "status", "down", "render"} {
		cases = append(cases,
			input{command + ": no kubeconfig", noConfig, []string{command}, 1, []string{"no kubeconfig", "--kubeconfig"}},
			input{command + ": unreachable API server", dead, []string{command}, 1, []string{"can't be reached", "kubectl cluster-info"}},
			input{command + ": silent API server", silent, []string{command}, 1, []string{"did not answer in time", "kubectl cluster-info"}},
			input{command + ": not logged in", stranger, []string{command}, 1, []string{"does not accept these credentials", "--context"}},
			input{command + ": RBAC that allows nothing", nobody, []string{command}, 1, []string{"auth can-i --list"}},
			input{command + ": no such context", nil, []string{command, "--context", "nowhere"}, 1, []string{"nowhere"}},
			input{command + ": unknown flag", nil, []string{command, "--nope"}, 2, []string{"--nope", "--help"}},
			input{command + ": argument", nil, []string{command, "extra"}, 2, []string{"extra", "--help"}},
			input{command + ": bad output", nil, []string{command, "-o", "xml"}, 2, []string{"--output", "xml"}},
			input{command + ": no stack namespace", nil, []string{command, "--stack-namespace", ""}, 2, []string{"--stack-namespace"}},
		)
	}
	cases = append(cases,
		input{"up: RBAC that allows half", reader, []string{"up"}, 1, []string{"create, delete, patch clusterroles", "keep Helm's records", "nothing was changed", "auth can-i --list"}},
		input{"down: RBAC that allows half", reader, []string{"down"}, 1, []string{"delete, update secrets in namespace monitoring", "nothing was changed", "auth can-i --list"}},
		input{"render: RBAC without secrets", noSecrets, []string{"render"}, 1, []string{"secrets is forbidden", "auth can-i --list"}},
		input{"status: RBAC without secrets", noSecrets, []string{"status"}, 1, []string{"secrets is forbidden", "auth can-i --list"}},
		input{"render: RBAC without Prometheuses", noPrometheuses, []string{"render"}, 1, []string{"prometheuses.monitoring.coreos.com is forbidden", "auth can-i --list"}},
		input{"unreadable values file", nil, []string{"up", "-f", nothing}, 2, []string{nothing, "no such file"}},
		input{"values file is a directory", nil, []string{"up", "-f", dir}, 2, []string{dir, "directory"}},
		input{"values file is no YAML", nil, []string{"up", "-f", write("broken.yaml", "a: [")}, 2, []string{"broken.yaml", "not a values file"}},
		input{"values file is a list", nil, []string{"render", "-f", write("list.yaml", "[a]")}, 2, []string{"list.yaml", "a list"}},
		input{"bad --set", nil, []string{"up", "--set", "a.b"}, 2, []string{"--set", "a.b"}},
		input{"values file with a typo", nil, []string{"up", "--chart-dir", charts, "-f", write("typo.yaml", "prometheus: {prometheusSpec: {retenton: 5d}}")}, 1, []string{"prometheus.prometheusSpec.retenton", "did you mean prometheus.prometheusSpec.retention?", "--skip-key-check"}},
		input{"unknown profile", nil, []string{"up", "--profile", "huge"}, 2, []string{"--profile", "huge", "lite, standard, full"}},
		input{"unknown platform", nil, []string{"render", "--platform", "moon"}, 2, []string{"--platform", "moon", "gke"}},
		input{"scrape interval of 0", nil, []string{"up", "--scrape-interval", "0s"}, 2, []string{"--scrape-interval", "at least 1s"}},
		input{"scrape interval in parts", nil, []string{"up", "--scrape-interval", "1500ms"}, 2, []string{"--scrape-interval", "whole seconds"}},
		input{"scrape interval without a unit", nil, []string{"up", "--scrape-interval", "2"}, 2, []string{"--scrape-interval", "--help"}},
		input{"collect interval too short", nil, []string{"render", "--collect-interval", "1ms"}, 2, []string{"--collect-interval", "100ms"}},
		input{"timeout of 0", nil, []string{"up", "--timeout", "0s"}, 2, []string{"--timeout"}},
		input{"two places for charts", nil, []string{"up", "--chart-dir", dir, "--chart-repo", "https://x"}, 2, []string{"--chart-dir", "--chart-repo"}},
		input{"bad --prometheus", nil, []string{"up", "--prometheus", "k8s"}, 2, []string{"--prometheus", "namespace/name"}},
		input{"no such Prometheus", nil, []string{"up", "--prometheus", "no/pe"}, 1, []string{"no/pe"}},
		input{"wait and watch", nil, []string{"status", "--wait", "--watch"}, 2, []string{"--wait", "--watch"}},
		input{"no such Triton", nil, []string{"up", "-n", "triton", "--service", "nope"}, 1, []string{"no Service nope", "triton-infer"}},
		input{"chart directory that isn't there", nil, []string{"up", "--chart-dir", nothing}, 1, []string{nothing, "observe pull"}},
		input{"chart directory without the chart", nil, []string{"render", "--chart-dir", dir}, 1, []string{dir, "kube-prometheus-stack-88.5.3.tgz", "observe pull"}},
		input{"corrupt package", nil, []string{"up", "--chart-dir", packages}, 1, []string{"kube-prometheus-stack 88.5.3", "corrupt", "observe pull"}},
		input{"corrupt package in a repository", nil, []string{"up", "--chart-repo", corrupt}, 1, []string{"kube-prometheus-stack 88.5.3", "not the one that was published", "SHA-256"}},
		input{"unreachable chart repository", nil, []string{"up", "--chart-repo", "http://" + deadAddress(t)}, 1, []string{"could not fetch chart kube-prometheus-stack 88.5.3", "refused", "--chart-dir"}},
		input{"a repository that is no address", nil, []string{"up", "--chart-repo", "charts"}, 1, []string{"not an address", "oci://"}},
		input{"purge without a terminal", nil, []string{"down", "--purge"}, 2, []string{"--purge", "--yes"}},
	)
	before := written(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			env := append([]string{"XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}, c.env...)
			o := finish(t, command(t.Context(), "kubectl-triton", env, append([]string{"observe"}, c.args...)...))
			if o.code != c.code {
				t.Errorf("exit code %d, want %d", o.code, c.code)
			}
			message := errorOf(o.stderr)
			for _, w := range c.want {
				if !strings.Contains(message, w) {
					t.Errorf("%q is not in the message", w)
				}
			}
			if strings.Count(message, "\n") > 0 || !strings.HasPrefix(message, "error: ") {
				t.Error("the message is not one line that begins with error:")
			}
			if strings.Contains(message, "goroutine ") || strings.Contains(message, ".go:") {
				t.Error("the message holds a stack trace")
			}
			if o.stdout != "" {
				t.Errorf("standard output is not empty: %s", o.stdout)
			}
			if o.took > 10*time.Second {
				t.Errorf("it took %s", o.took)
			}
			t.Log(message)
		})
	}
	if after := written(t); before != after {
		t.Errorf("wrong input changed the cluster:\n%s\nbefore:\n%s", after, before)
	}
}

// errorOf is what is left of the messages without the lines of progress.
func errorOf(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "[") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}

func readEverything() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}
}

// corruptRepository serves a package that isn't the one its index names.
func corruptRepository(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/index.yaml") {
			_, _ = w.Write([]byte("apiVersion: v1\nentries:\n  kube-prometheus-stack:\n  - {name: kube-prometheus-stack, version: 88.5.3, digest: " + strings.Repeat("ab", 32) + ", urls: [x.tgz]}\n"))
			return
		}
		_, _ = w.Write([]byte("something else"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// written names what any change of the stack would add to the cluster.
func written(t *testing.T) string {
	t.Helper()
	o := finish(t, command(t.Context(), "kubectl", nil, "get", "namespaces,secrets,configmaps", "--all-namespaces", "-o", "name", "--sort-by=.metadata.uid"))
	if o.code != 0 {
		t.Fatal(o.stderr)
	}
	return o.stdout
}
