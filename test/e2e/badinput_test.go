//go:build e2e

package e2e

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// TestBadInput: each wrong input gets one clear sentence that names what is
// wrong and the next step, a non-zero exit code, and an answer in under 10 s.
func TestBadInput(t *testing.T) {
	createServices(t)
	nothing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"no kubeconfig", []string{"KUBECONFIG=" + nothing}, nil, 1, []string{"no kubeconfig", "--kubeconfig"}},
		{"unreachable API server", []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+deadAddress(t), "")}, nil, 1, []string{"can't be reached", "kubectl cluster-info"}},
		{"silent API server", []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+silentAddress(t), "")}, nil, 1, []string{"did not answer in time", "kubectl cluster-info"}},
		{"no such context", nil, []string{"--context", "nowhere"}, 1, []string{"nowhere"}},
		{"no such Service", nil, []string{"--service", "nope"}, 1, []string{"no Service nope", "triton-infer"}},
		{"no such namespace", nil, []string{"-n", "nope"}, 1, []string{"no Triton was found", "--namespace"}},
		{"Service without pods", nil, []string{"--service", "nopods"}, 1, []string{"nopods", "app=nobody", "kubectl get "}},
		{"no ready pod", nil, []string{"--service", "pending"}, 1, []string{"pending", "ready"}},
		{"Service without selector", nil, []string{"--service", "noselector"}, 1, []string{"no selector"}},
		{"unknown model", nil, []string{"nope"}, 1, []string{"no model nope", "steady"}},
		{"model not ready", nil, []string{"steady", "--service", "explicit"}, 1, []string{"steady", "not ready", "not loaded", "kubectl"}},
		{"several models", nil, nil, 2, []string{"several models", "steady"}},
		{"unknown version", nil, []string{"steady", "--model-version", "9"}, 1, []string{"version 9"}},
		{"wrong shape", nil, []string{"steady", "--shape", "INPUT0:5,5"}, 2, []string{"INPUT0"}},
		{"unknown input", nil, []string{"steady", "--shape", "NOPE:4"}, 2, []string{"NOPE", "INPUT0"}},
		{"batch too large", nil, []string{"steady", "--batch-size", "99"}, 2, []string{"99", "8"}},
		{"unreadable input data", nil, []string{"steady", "--input-data", nothing}, 2, []string{"none"}},
		{"metrics port", nil, []string{"steady", "--port", "8002"}, 1, []string{"8002", "--port"}},
		{"gRPC port", nil, []string{"steady", "--port", "8001"}, 1, []string{"8001", "--port"}},
		{"no such port", nil, []string{"steady", "--port", "9999"}, 1, []string{"9999"}},
		{"not a Triton", nil, []string{"-n", "monitoring", "--service", "prom-operator-grafana", "--port", "80"}, 1, []string{"does not answer as Triton", "--port"}},
		{"RBAC: nothing", []string{"KUBECONFIG=" + limitedUser(t, "nobody")}, []string{"steady"}, 1, []string{"services", "auth can-i"}},
		{"RBAC: no pods", []string{"KUBECONFIG=" + limitedUser(t, "nopods", rule("services", "get"))}, []string{"steady"}, 1, []string{"pods", "auth can-i"}},
		{"RBAC: no port-forward", []string{"KUBECONFIG=" + limitedUser(t, "noforward", rule("services", "get"), rule("pods", "get", "list", "watch"))}, []string{"steady"}, 1, []string{"you may not", "pods/portforward", "triton", "auth can-i"}},
		{"unknown flag", nil, []string{"--nope"}, 2, []string{"--nope", "--help"}},
		{"two models", nil, []string{"steady", "--model", "other"}, 2, []string{"two models"}},
		{"rate and concurrency", nil, []string{"--rate", "5", "--concurrency", "5"}, 2, []string{"exclude each other"}},
		{"negative rate", nil, []string{"--rate", "-1"}, 2, []string{"--rate"}},
		{"bad output", nil, []string{"-o", "xml"}, 2, []string{"--output", "json"}},
		{"bad shape", nil, []string{"--shape", "x"}, 2, []string{"NAME:d,d"}},
		{"bad error rate", nil, []string{"--max-error-rate", "200%"}, 2, []string{"--max-error-rate"}},
		{"zero duration", nil, []string{"--duration", "0s"}, 2, []string{"--duration"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := finish(t, command(t.Context(), "kubectl-triton", c.env, append([]string{"bench"}, c.args...)...))
			if o.code != c.code {
				t.Errorf("exit code %d, want %d", o.code, c.code)
			}
			message := strings.TrimSpace(o.stderr)
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
}

// TestSecretForbidden: without permission to read Grafana's Secret the test
// runs, and says what is missing and how to mend it.
func TestSecretForbidden(t *testing.T) {
	config := limitedUser(t, "nosecret", rule("services", "get", "list"), rule("pods", "get", "list", "watch"), rule("pods/portforward", "create"))
	o := finish(t, command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + config}, "bench", "steady", "--requests", "20", "--warmup", "0", "-o", "json"))
	if o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	r := decode(t, o.stdout)
	for _, m := range r.Missing {
		if strings.Contains(m.Part, "Grafana") && strings.Contains(m.Why, "secrets") && m.Fix != "" {
			return
		}
	}
	t.Errorf("nothing says that the Secret can't be read: %+v", r.Missing)
}

func rule(resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: verbs}
}

// limitedUser makes a ServiceAccount with exactly the given permissions and
// returns a kubeconfig for it.
func limitedUser(t *testing.T, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	ctx := t.Context()
	name = "e2e-" + name
	meta := metav1.ObjectMeta{Name: name}
	must(t, func() error {
		_, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
		return err
	})
	must(t, func() error {
		_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		return err
	})
	must(t, func() error {
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
		}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		ctx := context.Background()
		_ = client.RbacV1().ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
		_ = client.RbacV1().ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
		_ = client.CoreV1().ServiceAccounts("default").Delete(ctx, name, metav1.DeleteOptions{})
	})
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, tokenRequest(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfigFor(t, restConfig.Host, token.Status.Token)
}

func must(t *testing.T, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

// kubeconfigFor writes a kubeconfig for another server or another user.
func kubeconfigFor(t *testing.T, server, token string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		c.Server = server
	}
	if token != "" {
		for name := range config.AuthInfos {
			config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
		}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// deadAddress is an address where nothing listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silentAddress accepts connections and never answers.
func silentAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String()
}

// explicitTriton runs a Triton that has loaded one of its models only; change is
// made to its pod before.
func explicitTriton(t *testing.T, change ...func(*corev1.Pod)) {
	t.Helper()
	from, err := client.CoreV1().Pods("triton").Get(t.Context(), readyPod(t, "triton", "app=triton-infer").Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-explicit", Namespace: "triton", Labels: map[string]string{"app": "e2e-explicit"}},
		Spec:       corev1.PodSpec{Containers: from.Spec.Containers[:1], Volumes: from.Spec.Volumes, AutomountServiceAccountToken: from.Spec.AutomountServiceAccountToken},
	}
	c := &pod.Spec.Containers[0]
	c.Args = append(c.Args, "--model-control-mode=explicit", "--load-model=mixed")
	c.Resources = corev1.ResourceRequirements{}
	for _, f := range change {
		f(pod)
	}
	must(t, func() error {
		_, err := client.CoreV1().Pods("triton").Create(t.Context(), pod, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		now := int64(0)
		_ = client.CoreV1().Pods("triton").Delete(context.Background(), "e2e-explicit", metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	readyPod(t, "triton", "app=e2e-explicit")
}

// createServices adds Services that lead nowhere good.
func createServices(t *testing.T) {
	t.Helper()
	ports := []corev1.ServicePort{{Name: "http", Port: 8000, TargetPort: intstr.FromInt32(8000)}}
	explicitTriton(t)
	for name, selector := range map[string]map[string]string{
		"explicit":   {"app": "e2e-explicit"},
		"nopods":     {"app": "nobody"},
		"pending":    {"app": "e2e-pending"},
		"noselector": nil,
	} {
		must(t, func() error {
			_, err := client.CoreV1().Services("triton").Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       corev1.ServiceSpec{Selector: selector, Ports: ports},
			}, metav1.CreateOptions{})
			return err
		})
		t.Cleanup(func() {
			_ = client.CoreV1().Services("triton").Delete(context.Background(), name, metav1.DeleteOptions{})
		})
	}
	// A pod that no node can take stays Pending.
	must(t, func() error {
		_, err := client.CoreV1().Pods("triton").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "e2e-pending", Labels: map[string]string{"app": "e2e-pending"}},
			Spec: corev1.PodSpec{
				NodeSelector: map[string]string{"nowhere": "true"},
				Containers:   []corev1.Container{{Name: "c", Image: "example.invalid/none", Ports: []corev1.ContainerPort{{ContainerPort: 8000}}}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		_ = client.CoreV1().Pods("triton").Delete(context.Background(), "e2e-pending", metav1.DeleteOptions{})
	})
}
