//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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

// helpSection returns the lines of one section of a command's help.
func helpSection(help, title string) []string {
	_, rest, found := strings.Cut("\n"+help, "\n"+title+":\n")
	if !found {
		return nil
	}
	var lines []string
	for line := range strings.Lines(rest) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "  ") {
			break
		}
		lines = append(lines, line)
	}
	return lines
}

// examplesOf collects the examples in the help of a command and all below it,
// by the command's words.
func examplesOf(t *testing.T, into map[string][]string, words ...string) {
	t.Helper()
	o := finish(t, command(t.Context(), "kubectl-triton", nil, append(slices.Clone(words), "--help")...))
	if o.code != 0 {
		t.Fatalf("%v --help: %s", words, o.stderr)
	}
	text := strings.ReplaceAll(strings.Join(helpSection(o.stdout, "Examples"), "\n"), "\\\n", "")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			key := strings.Join(words, " ")
			into[key] = append(into[key], line)
		}
	}
	for _, line := range helpSection(o.stdout, "Available Commands") {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "help" {
			examplesOf(t, into, append(slices.Clone(words), f[0])...)
		}
	}
}

// TestExamples runs the examples of every command's help as they stand, through
// stock kubectl, on a sandbox with its own models. Only a long duration is
// shortened, by a further flag. How a command's examples end must be known here.
func TestExamples(t *testing.T) {
	all := map[string][]string{}
	examplesOf(t, all)
	if len(all["bench"]) < 3 || len(all["observe open"]) < 3 {
		t.Fatalf("the examples are %v", all)
	}
	tmp := t.TempDir()
	t.Cleanup(func() { sandbox(t, tmp, "down", "--all") })
	if o := sandbox(t, tmp, "up", "--name", "examples"); o.code != 0 {
		t.Fatal(o.stderr)
	}
	config := strings.TrimSpace(sandbox(t, tmp, "kubeconfig", "--name", "examples").stdout)
	run := func(ctx context.Context, line string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Env = []string{"PATH=" + binDir + ":" + os.Getenv("PATH"), "HOME=" + tmp, "KUBECONFIG=" + config}
		cmd.WaitDelay = 10 * time.Second
		return cmd
	}
	for _, words := range slices.Sorted(maps.Keys(all)) {
		for _, line := range all[words] {
			t.Run(line, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				switch words {
				case "bench":
					if strings.Contains(line, "--url ") {
						t.Skip("it names an address of its reader's; test/direct is about those")
					}
					benchExample(t, line, func(line string) *exec.Cmd { return run(ctx, "exec "+line) })
				case "observe open":
					openExample(t, line, func(line string) *exec.Cmd { return run(ctx, "exec "+line) })
				case "models load", "models unload":
					if strings.HasSuffix(line, "models unload resnet50") {
						line += " --yes"
					}
					explicitControl(t, run)
					// A Triton without one of its models is not ready.
					back := "kubectl triton models load resnet50 && kubectl -n triton wait --for condition=Ready pod -l app=triton-infer --timeout 30s"
					for _, line := range []string{line, back} {
						if o := finish(t, run(ctx, line)); o.code != 0 {
							t.Errorf("%s: exit code %d: %s%s", line, o.code, o.stdout, o.stderr)
						}
					}
				case "completion":
					if strings.Contains(line, "~/.local/bin") || strings.HasPrefix(line, "source ") {
						t.Skip("it is for a person's home directory and shell: test/docs runs it")
					}
				case "check", "dashboards", "dashboards list", "nodes", "nodes label", "models", "models list", "version":
					if _, err := exec.LookPath("jq"); err != nil && strings.Contains(line, "| jq ") {
						t.Skip("the example needs jq")
					}
					if o := finish(t, run(ctx, line)); o.code != 0 || strings.Contains(o.stderr, "error") {
						t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
					}
				case "observe", "observe up", "observe down", "observe status", "observe pull", "observe render":
					t.Skip("it installs charts, or needs what was installed: test/docs runs it")
				case "dashboards export", "dashboards import", "dashboards lint":
					t.Skip("it names a dashboard or a file of its reader's: test/docs runs it")
				default:
					t.Fatalf("how are the examples of %q to be run?", words)
				}
			})
		}
	}
}

// explicitControl has the Triton of the examples load models by request.
func explicitControl(t *testing.T, run func(context.Context, string) *exec.Cmd) {
	t.Helper()
	const args = `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["tritonserver","--model-repository=/models","--model-control-mode=explicit","--load-model=*"]}]`
	for _, line := range []string{
		"kubectl -n triton patch deployment triton-infer --type json -p '" + args + "'",
		"kubectl -n triton rollout status deployment triton-infer --timeout 60s",
		"until [ $(kubectl -n triton get pods -l app=triton-infer -o name | wc -l) = 1 ]; do sleep 0.2; done",
	} {
		if o := finish(t, run(t.Context(), line)); o.code != 0 {
			t.Fatalf("%s: %s%s", line, o.stdout, o.stderr)
		}
	}
}

// benchExample loads as the example says, for 3 s where it says how long.
func benchExample(t *testing.T, line string, run func(string) *exec.Cmd) {
	t.Helper()
	if !strings.Contains(line, "--requests") {
		line += " --duration 3s"
	}
	o := finish(t, run(line))
	if o.code != 0 {
		t.Fatalf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if strings.Contains(line, "-o json") {
		if r := decode(t, o.stdout); r.Client.Succeeded != r.Load.Requests || r.Client.Succeeded == 0 {
			t.Errorf("%d of %d requests succeeded", r.Client.Succeeded, r.Load.Requests)
		}
	} else if !strings.Contains(o.stdout, " 0 failed (0 %)") {
		t.Errorf("the report is %s", o.stdout)
	}
}

// openExample forwards as the example says, on any free port, until Ctrl-C.
func openExample(t *testing.T, line string, run func(string) *exec.Cmd) {
	t.Helper()
	if strings.Contains(line, "--dashboard gpu-dashboard") {
		provideDashboard(t, run("kubectl triton observe open --port 0 --show-password --no-browser"), "gpu-dashboard")
	}
	cmd := run(line + " --port 0")
	var stdout, stderr shown
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, 30*time.Second, "the forward", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v: %s", err, stderr.String())
		default:
		}
		return strings.Contains(stderr.String(), "until Ctrl-C")
	})
	interrupt(t, cmd)
	if err := <-ended; err != nil || !strings.Contains(stdout.String(), "127.0.0.1:") {
		t.Errorf("%v: %s%s", err, stdout.String(), stderr.String())
	}
}

// provideDashboard saves a dashboard through a forward to Grafana, unless
// Grafana has one of that uid.
func provideDashboard(t *testing.T, forward *exec.Cmd, uid string) {
	t.Helper()
	var stdout shown
	forward.Stdout = &stdout
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "Grafana's login", func() bool { return strings.Contains(stdout.String(), "password") })
	words := strings.Fields(stdout.String()) // address, user U, password P
	if len(words) != 5 {
		t.Fatalf("it printed %d words", len(words))
	}
	host := hostOf(t, words[0])
	login := [2]string{words[2], words[4]}
	if grafanaCallAs(t, login, host, "GET", "/api/dashboards/uid/"+uid, nil) != 200 {
		if code := grafanaCallAs(t, login, host, "POST", "/api/dashboards/db", map[string]any{"dashboard": map[string]any{"uid": uid, "title": uid}}); code != 200 {
			t.Errorf("saving dashboard %s: %d", uid, code)
		}
	}
	interrupt(t, forward)
	if err := forward.Wait(); err != nil {
		t.Error(err)
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
