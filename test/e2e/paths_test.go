//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sandbox runs the sandbox's own program; TMPDIR is where its instances live.
func sandbox(t *testing.T, tmp string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "sandbox"), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	return finish(t, cmd)
}

// TestDownAll ends every instance and leaves no process and no file.
func TestDownAll(t *testing.T) {
	tmp := t.TempDir()
	names := []string{"all-a", "all-b"}
	t.Cleanup(func() {
		for _, n := range names {
			sandbox(t, tmp, "down", "--name", n)
		}
	})
	for _, n := range names {
		if o := sandbox(t, tmp, "up", "--name", n, "--stack=false", "--gpu-nodes", "1", "--nodes", "1", "--triton-replicas", "1"); o.code != 0 {
			t.Fatal(o.stderr)
		}
	}
	o := sandbox(t, tmp, "status", "-o", "json")
	var answer struct {
		Instances []struct {
			Name string `json:"name"`
			PID  int    `json:"pid"`
		} `json:"instances"`
	}
	err := json.Unmarshal([]byte(o.stdout), &answer)
	running := answer.Instances
	if err != nil || len(running) != 2 || running[0].PID == 0 || running[1].PID == 0 {
		t.Fatalf("the status is %s, %v", o.stdout, err)
	}
	o = sandbox(t, tmp, "down", "--all")
	for _, n := range names {
		if o.code != 0 || !strings.Contains(o.stderr, "the sandbox "+n+" has ended") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	}
	for _, r := range running {
		// A process that has ended and that no one has waited for has no command.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PID)); err == nil && len(line) > 0 {
			t.Errorf("the daemon %d of %s is still there: %q", r.PID, r.Name, line)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if o = sandbox(t, tmp, "down", "--all"); o.code != 0 {
		t.Errorf("with nothing to end: exit code %d: %s", o.code, o.stderr)
	}
}

// TestOutsideTheCluster: a Prometheus and a Grafana that are given by their
// addresses, here through local forwards, serve as those in the cluster do.
func TestOutsideTheCluster(t *testing.T) {
	const token = "glsa_e2e_of_the_outside"
	grafanaWithToken(t, token)
	prometheus := open(t, nil, "prometheus", "--port", "0")
	grafana := open(t, nil, "grafana", "--service", "e2e-token", "--port", "0")
	prometheusURL := strings.TrimSuffix(prometheus.url(t), "/")
	grafanaURL := "http://" + hostOf(t, grafana.url(t))
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for file, text := range map[string]string{good: token + "\n", bad: "glsa_wrong"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Namespaces without a stack show that nothing in the cluster is used.
	args := []string{"queueing", "--concurrency", "4", "--duration", "6s", "--warmup", "0", "--stack-namespace", "default"}
	r := benchJSON(t, 0, append(args, "--prometheus-url", prometheusURL, "--grafana-url", grafanaURL, "--grafana-token-file", good)...)
	onlyMissing(t, r)
	if r.GPU == nil || r.GPU.Source != "Prometheus (DCGM)" || len(r.GPU.Devices) != 1 || r.GPU.Devices[0].Insufficient {
		t.Errorf("GPU figures are %+v", r.GPU)
	}
	if r.Grafana == nil || r.Grafana.AnnotationID == 0 || !strings.HasPrefix(r.Grafana.URL, grafanaURL+"/") || r.Grafana.Reach != "" {
		t.Errorf("Grafana is %+v", r.Grafana)
	}
	for _, c := range []struct {
		name string
		args []string
		part string
		want []string
	}{
		{"wrong token", []string{"--no-prometheus", "--grafana-url", grafanaURL, "--grafana-token-file", bad}, "Grafana annotation", []string{"401", "--grafana-token-file"}},
		{"no token", []string{"--no-prometheus", "--grafana-url", grafanaURL}, "Grafana annotation", []string{"--grafana-token-file"}},
		{"no such file", []string{"--no-prometheus", "--grafana-url", grafanaURL, "--grafana-token-file", filepath.Join(dir, "none")}, "Grafana annotation", []string{"--grafana-token-file"}},
		{"nobody at the address", []string{"--prometheus-url", "http://" + deadAddress(t)}, "GPU figures from Prometheus", []string{"refused", "--prometheus-url"}},
		{"not a Prometheus", []string{"--prometheus-url", grafanaURL}, "GPU figures from Prometheus", []string{"--prometheus-url"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := plugin(t, append([]string{"bench", "queueing", "--requests", "20", "--warmup", "0", "-o", "json"}, c.args...)...)
			if o.code != 0 || strings.Contains(o.stdout+o.stderr, token) || strings.Contains(o.stdout+o.stderr, "glsa_wrong") {
				t.Fatalf("exit code %d, or the token shows: %s%s", o.code, o.stdout, o.stderr)
			}
			r := decode(t, o.stdout)
			onlyMissing(t, r, c.part)
			for _, w := range c.want {
				if len(r.Missing) == 1 && !strings.Contains(r.Missing[0].Why+" "+r.Missing[0].Fix, w) {
					t.Errorf("%q is not in %+v", w, r.Missing[0])
				}
			}
		})
	}
}

// grafanaWithToken runs a second Grafana that knows a service account's token.
func grafanaWithToken(t *testing.T, token string) {
	t.Helper()
	from := readyPod(t, grafanaPod.namespace, grafanaPod.selector)
	c := from.Spec.Containers[slices.IndexFunc(from.Spec.Containers, func(c corev1.Container) bool { return strings.Contains(c.Image, "grafana/grafana") })]
	c.VolumeMounts = nil
	c.Env = append(slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return strings.HasPrefix(e.Name, "GF_PATHS_") }),
		corev1.EnvVar{Name: "GRAFANA_SERVICE_ACCOUNT_TOKENS", Value: token + "=Editor"})
	off := false
	must(t, func() error {
		_, err := client.CoreV1().Pods("monitoring").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "e2e-token", Labels: map[string]string{"app": "e2e-token"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{c}, AutomountServiceAccountToken: &off},
		}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		now := int64(0)
		_ = client.CoreV1().Pods("monitoring").Delete(context.Background(), "e2e-token", metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	serve(t, "monitoring", "e2e-token", nil, map[string]string{"app": "e2e-token"}, 80, 3000)
	readyPod(t, "monitoring", "app=e2e-token")
}

const (
	darkBackground  = "rgb:0000/0000/0000"
	lightBackground = "rgb:ffff/ffff/ffff"
)

// TestColours: labels are darker on a light terminal, there is no colour at all
// under NO_COLOR, and the report is the same text everywhere.
func TestColours(t *testing.T) {
	const onLight, onDark = "\x1b[38;5;240m", "\x1b[38;5;245m"
	for _, c := range []struct {
		name, background string
		env              []string
		want, not        string
	}{
		{"dark", darkBackground, nil, onDark, onLight},
		{"light", lightBackground, nil, onLight, onDark},
		{"light by COLORFGBG", "", []string{"COLORFGBG=0;15"}, onLight, onDark},
		{"no colour", lightBackground, []string{"NO_COLOR=1"}, "Triton load test: queueing", "\x1b[38"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := command(ctx, "kubectl-triton", c.env, "bench", "queueing", "--requests", "20", "--warmup", "0", "--no-grafana", "--no-prometheus")
			_, screen := terminal(t, cmd, 80, c.background)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			eventually(t, 10*time.Second, "the report", func() bool { return strings.Contains(screen.String(), "network, tunnel") })
			if text := screen.String(); !strings.Contains(text, c.want) || strings.Contains(text, c.not) {
				t.Errorf("%q is missing or %q is there:\n%q", c.want, c.not, text)
			}
		})
	}
}
