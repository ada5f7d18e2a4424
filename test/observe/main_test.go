//go:build e2e

// Package observe runs "kubectl triton observe" against a sandbox without a
// stack: through real Helm code and a real API server, with the real operator
// and Prometheus, from the stand-in charts. It needs what "make e2e" builds.
package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

var (
	sandbox *harness.Sandbox
	charts  string // URL of the sandbox's chart repository
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	wd, err := os.Getwd()
	if err == nil {
		sandbox, err = harness.Start(filepath.Join(wd, "..", "..", "bin"), "observe", "--stack=false", "--models", filepath.Join(wd, "..", "e2e", "testdata", "models"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := sandbox.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if charts, err = chartsOf(sandbox); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func chartsOf(s *harness.Sandbox) (string, error) {
	out, err := s.Command(context.Background(), "sandbox", nil, "charts", "--name", s.Name).Output()
	if err != nil {
		return "", fmt.Errorf("no chart repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// removeNamespace deletes a namespace and waits until it is gone.
func removeNamespace(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	namespaces := sandbox.Client.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	for {
		if _, err := namespaces.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("namespace %s does not end", name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// cleanUp leaves nothing of a stack to the next test, whatever becomes of this
// one. The CRDs and the namespace stay: both take seconds to go and come.
func cleanUp(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}
	if _, err := sandbox.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := sandbox.Command(ctx, "kubectl-triton", nil, "observe", "down", "--timeout", "60s")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
	})
}

// withoutCRDs takes away what cleanUp leaves.
func withoutCRDs(t *testing.T) {
	t.Helper()
	sandbox.Must(t, "kubectl", "delete", "crd", "--all", "--wait")
	_ = sandbox.Client.CoreV1().Services("kube-system").Delete(t.Context(), "prom-operator-kube-prometh-kubelet", metav1.DeleteOptions{})
	harness.Eventually(t, time.Minute, "the end of the kubelets' addresses", func() bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(sandbox.Snapshot(t))), func(k string) bool { return strings.Contains(k, kubelets) })
	})
}

// upArgs are the arguments of "observe up" with the sandbox's charts; a test
// that fails ends by --timeout.
func upArgs(args ...string) []string {
	all := []string{"observe", "up"}
	if !slices.Contains(args, "--chart-repo") && !slices.Contains(args, "--chart-dir") {
		all = append(all, "--chart-repo", charts)
	}
	if !slices.Contains(args, "--timeout") {
		all = append(all, "--timeout", "90s")
	}
	return append(all, args...)
}

func up(t *testing.T, args ...string) harness.Outcome {
	t.Helper()
	return sandbox.Run(t, "kubectl-triton", upArgs(args...)...)
}

// mustUp installs; everything has to be proved to work.
func mustUp(t *testing.T, args ...string) *report.Stack {
	t.Helper()
	o := up(t, append(args, "-o", "json")...)
	if o.Code != 0 {
		t.Fatalf("observe up %v: exit code %d\n%s%s", args, o.Code, o.Stderr, o.Stdout)
	}
	r := decode(t, o.Stdout)
	if !r.Healthy {
		t.Fatalf("observe up %v ended well and is not healthy:\n%s", args, o.Stdout)
	}
	t.Logf("up took %.1f s", r.TookSeconds)
	return r
}

// plan is what "observe up" would do.
func plan(t *testing.T, args ...string) *report.Stack {
	t.Helper()
	return decode(t, sandbox.Must(t, "kubectl-triton", upArgs(append(args, "--dry-run", "-o", "json")...)...))
}

func down(t *testing.T, args ...string) *report.Stack {
	t.Helper()
	return decode(t, sandbox.Must(t, "kubectl-triton", append([]string{"observe", "down", "--timeout", "60s", "-o", "json"}, args...)...))
}

func status(t *testing.T, wantCode int, args ...string) *report.Stack {
	t.Helper()
	o := sandbox.Run(t, "kubectl-triton", append([]string{"observe", "status", "-o", "json"}, args...)...)
	if o.Code != wantCode {
		t.Errorf("observe status: exit code %d, want %d\n%s%s", o.Code, wantCode, o.Stderr, o.Stdout)
	}
	return decode(t, o.Stdout)
}

func decode(t *testing.T, text string) *report.Stack {
	t.Helper()
	var r report.Stack
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("the result is not one JSON document of the schema: %v\n%s", err, text)
	}
	if r.Schema != report.StackSchema {
		t.Errorf("the schema is %q", r.Schema)
	}
	return &r
}

func component(t *testing.T, r *report.Stack, name string) report.StackComponent {
	t.Helper()
	i := slices.IndexFunc(r.Components, func(c report.StackComponent) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("the result has no component %q: %+v", name, r.Components)
	}
	return r.Components[i]
}

func check(t *testing.T, r *report.Stack, name string) report.StackCheck {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c report.StackCheck) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("the result has no check %q: %+v", name, r.Checks)
	}
	return r.Checks[i]
}

// action fails the test unless a component's action is as wanted.
func action(t *testing.T, r *report.Stack, name, want string) report.StackComponent {
	t.Helper()
	c := component(t, r, name)
	if c.Action != want {
		t.Errorf("%s: %s (%s), want %s", name, c.Action, c.Note, want)
	}
	return c
}

// keys are objects as a Snapshot names them.
func keys(objects []report.StackObject) []string {
	var out []string
	for _, o := range objects {
		if o.Namespace == "" {
			out = append(out, o.Kind+" "+o.Name)
		} else {
			out = append(out, fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name))
		}
	}
	return out
}

// says fails the test unless a program ended with a code and said all of the
// words on standard error, and nothing that only its makers understand.
func says(t *testing.T, o harness.Outcome, code int, words ...string) {
	t.Helper()
	if o.Code != code {
		t.Errorf("exit code %d, want %d", o.Code, code)
	}
	text := strings.Join(strings.Fields(o.Stderr+" "+o.Stdout), " ")
	for _, w := range words {
		if !strings.Contains(text, strings.Join(strings.Fields(w), " ")) {
			t.Errorf("it does not say %q", w)
		}
	}
	for _, w := range []string{"goroutine ", "panic:", "0xc0", "%!"} {
		if strings.Contains(text, w) {
			t.Errorf("it says %q", w)
		}
	}
	if t.Failed() {
		t.Logf("exit code %d after %s\n%s%s", o.Code, o.Took, o.Stderr, o.Stdout)
	}
	last := o.Stderr[strings.LastIndex(strings.TrimSpace(o.Stderr), "\n")+1:]
	t.Logf("it says: %s", last)
}

// apply makes objects with the stock client; they are deleted when the test ends.
func apply(t *testing.T, manifests string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { withdraw(t, file) })
	sandbox.Must(t, "kubectl", "apply", "--server-side", "--force-conflicts", "-f", file)
}

func withdraw(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := sandbox.Command(ctx, "kubectl", nil, "delete", "--ignore-not-found", "--wait", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
