//go:build e2e

// Package e2e runs the built plugin against the sandbox, through its real API
// server. It needs bin/kubectl-triton, bin/sandbox and what the sandbox runs:
// "make e2e" builds them.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

var (
	bed        *harness.Sandbox // of all tests
	binDir     string
	kubeconfig string
	client     kubernetes.Interface
	restConfig *rest.Config
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	wd, err := os.Getwd()
	if err == nil {
		bed, err = harness.Start(filepath.Join(wd, "..", "..", "bin"), "e2e", "--models", filepath.Join(wd, "testdata", "models"), "--triton-replicas", "1")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := bed.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	binDir, kubeconfig, client, restConfig = bed.Bin, bed.Kubeconfig, bed.Client, bed.REST
	return m.Run()
}

// outcome is what one run of a program left behind.
type outcome struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// command prepares the plugin; env entries replace those of the test's own.
func command(ctx context.Context, program string, env []string, args ...string) *exec.Cmd {
	return bed.Command(ctx, program, env, args...)
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	o := harness.Finish(t, cmd)
	return outcome{stdout: o.Stdout, stderr: o.Stderr, code: o.Code, took: o.Took}
}

func plugin(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(t, command(t.Context(), "kubectl-triton", nil, args...))
}

// benchJSON runs "bench … -o json" and reads its result back.
func benchJSON(t *testing.T, wantCode int, args ...string) *report.Bench {
	t.Helper()
	o := plugin(t, append(append([]string{"bench"}, args...), "-o", "json")...)
	if o.code != wantCode {
		t.Fatalf("bench %v: exit code %d, want %d\n%s", args, o.code, wantCode, o.stderr)
	}
	return decode(t, o.stdout)
}

func decode(t *testing.T, text string) *report.Bench {
	t.Helper()
	var r report.Bench
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("the result is not one JSON document of the schema: %v\n%s", err, text)
	}
	return &r
}

// dialPod gives an HTTP client for one port of a pod, over a tunnel of its own.
func dialPod(t *testing.T, namespace, pod, port string) *http.Client {
	t.Helper()
	return bed.DialPod(t, namespace, pod, port)
}

func fetch(t *testing.T, hc *http.Client, method, url, body string) string {
	t.Helper()
	return harness.Fetch(t, hc, method, url, body)
}

// readyPod returns the ready pod of a label selector, waiting for one.
func readyPod(t *testing.T, namespace, selector string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, time.Minute, "a ready pod "+selector, func() bool {
		list, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp != nil {
				continue
			}
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					found = &p
					return true
				}
			}
		}
		return false
	})
	return found
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	harness.Eventually(t, limit, what, ok)
}

func interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

func tokenRequest() *authenticationv1.TokenRequest {
	hour := int64(3600)
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}
}
