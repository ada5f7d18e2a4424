//go:build e2e

// Package e2e runs the built plugin against the sandbox, through its real API
// server. It needs bin/kubectl-triton, bin/sandbox and what the sandbox runs:
// "make e2e" builds them.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

var (
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
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binDir = filepath.Join(wd, "..", "..", "bin")
	name := fmt.Sprintf("e2e-%d", os.Getpid())
	up := exec.Command(filepath.Join(binDir, "sandbox"), "up", "--name", name, "--models", filepath.Join(wd, "testdata", "models"), "--triton-replicas", "1")
	up.Stderr = os.Stderr
	defer func() {
		down := exec.Command(filepath.Join(binDir, "sandbox"), "down", "--name", name)
		down.Stderr = os.Stderr
		if err := down.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "the sandbox could not be ended:", err)
		}
	}()
	if err := up.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the sandbox did not come up:", err)
		return 1
	}
	out, err := exec.Command(filepath.Join(binDir, "sandbox"), "kubeconfig", "--name", name).Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "no kubeconfig:", err)
		return 1
	}
	kubeconfig = strings.TrimSpace(string(out))
	if restConfig, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err == nil {
		client, err = kubernetes.NewForConfig(restConfig)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
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
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, program), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "KUBECONFIG=" + kubeconfig}, env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return o
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
	d, err := portforward.New(portforward.Config{REST: restConfig, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	tr := &http.Transport{DialContext: d.Pod(namespace, pod, port).DialContext, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func fetch(t *testing.T, hc *http.Client, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return string(text)
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
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
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
