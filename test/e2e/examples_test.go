//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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

// exampleRun runs the lines of examples as a person in a shell would: in a
// directory and with a home of its own.
type exampleRun struct {
	dir, config, charts string
}

// newExampleRun starts a sandbox for examples.
func newExampleRun(t *testing.T, name string, args ...string) *exampleRun {
	t.Helper()
	tmp := t.TempDir()
	t.Cleanup(func() { sandbox(t, tmp, "down", "--all") })
	if o := sandbox(t, tmp, append([]string{"up", "--name", name}, args...)...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	e := &exampleRun{dir: t.TempDir()}
	e.config = strings.TrimSpace(sandbox(t, tmp, "kubeconfig", "--name", name).stdout)
	e.charts = strings.TrimSpace(sandbox(t, tmp, "charts", "--name", name).stdout)
	return e
}

func (e *exampleRun) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir = e.dir
	cmd.Env = []string{"PATH=" + binDir + ":" + os.Getenv("PATH"), "HOME=" + e.dir, "KUBECONFIG=" + e.config}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// must runs a line that has to succeed.
func (e *exampleRun) must(ctx context.Context, t *testing.T, line string) outcome {
	t.Helper()
	o := finish(t, e.command(ctx, line))
	if o.code != 0 || strings.Contains(o.stderr, "error") {
		t.Errorf("%s: exit code %d: %s%s", line, o.code, o.stdout, o.stderr)
	}
	return o
}

// stackExamples are the commands whose examples install the stack from charts or
// need what was installed, in the order in which they make sense.
var stackExamples = []string{
	"observe pull", "observe render", "observe up", "observe", "observe status",
	"dashboards import", "dashboards export", "dashboards lint", "observe down",
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
	e := newExampleRun(t, "examples")
	for _, words := range slices.Sorted(maps.Keys(all)) {
		if slices.Contains(stackExamples, words) {
			continue // TestStackExamples runs them
		}
		for _, line := range all[words] {
			t.Run(line, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				through := func(line string) *exec.Cmd { return e.command(ctx, "exec "+line) }
				switch words {
				case "bench":
					if strings.Contains(line, "--url ") {
						t.Skip("it names an address that only its reader's network has; test/direct is about those")
					}
					benchExample(t, line, through)
				case "observe open":
					openExample(t, line, through)
				case "models load", "models unload":
					if strings.HasSuffix(line, "models unload resnet50") {
						line += " --yes"
					}
					explicitControl(t, e.command)
					e.must(ctx, t, line)
					// A Triton without one of its models is not ready.
					e.must(ctx, t, "kubectl triton models load resnet50 && kubectl -n triton wait --for condition=Ready pod -l app=triton-infer --timeout 30s")
				case "completion", "completion kubectl":
					if err := os.MkdirAll(filepath.Join(e.dir, ".local", "bin"), 0o755); err != nil {
						t.Fatal(err)
					}
					e.must(ctx, t, line)
				case "check", "dashboards", "dashboards list", "nodes", "nodes label", "models", "models list", "version":
					e.must(ctx, t, line)
				default:
					t.Fatalf("how are the examples of %q to be run?", words)
				}
			})
		}
	}
	// What the examples wrote works.
	if info, err := os.Stat(filepath.Join(e.dir, ".local", "bin", "kubectl_complete-triton")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("the completion was not installed: %v", err)
	}
}

// TestStackExamples runs those that install charts, look at what was installed and
// remove it. The charts' own repositories are out of reach: a further flag names
// that of the sandbox, except where the charts are in a directory already.
func TestStackExamples(t *testing.T) {
	all := map[string][]string{}
	examplesOf(t, all)
	e := newExampleRun(t, "stack-examples", "--stack=false")
	for _, words := range stackExamples {
		if len(all[words]) == 0 {
			t.Fatalf("%q has no examples", words)
		}
		if words == "dashboards import" {
			e.dashboards(t)
		}
		for _, line := range all[words] {
			t.Run(line, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				switch {
				case line == "kubectl triton dashboards import --folder Triton":
					// It is for a Grafana that loads no ConfigMaps; this one has them.
					if o := finish(t, e.command(ctx, line)); o.code != 1 || !strings.Contains(o.stderr, "gpu-dashboard.json is not imported: Grafana provisions") {
						t.Errorf("%s: exit code %d: %s%s", line, o.code, o.stdout, o.stderr)
					}
					return
				case strings.Contains(line, "observe open"):
					openExample(t, line, func(line string) *exec.Cmd { return e.command(ctx, "exec "+line) })
					return
				case strings.Contains(line, "observe pull"), strings.Contains(line, "observe render"),
					strings.Contains(line, "observe up") && !strings.Contains(line, "--chart-dir"):
					line += " --chart-repo " + e.charts
				}
				e.must(ctx, t, line)
			})
		}
	}
	for file, want := range map[string]string{"stack.yaml": "kind: DaemonSet", "dashboards/mine.json": `"triton-latency-mine"`, "charts/dcgm-exporter-4.8.2.tgz": ""} {
		if text, err := os.ReadFile(filepath.Join(e.dir, file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %d bytes without %s", file, err, len(text), want)
		}
	}
	// The namespace is the sandbox's own.
	if left := e.must(t.Context(), t, "kubectl get crds -o name && kubectl -n monitoring get deployments,statefulsets,daemonsets,pods -o name").stdout; left != "" {
		t.Errorf("the examples of 'observe down' left %s", left)
	}
}

// dashboards writes the files that examples name: a dashboard of somebody's own.
func (e *exampleRun) dashboards(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(e.dir, "dashboards"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "assets", "grafana-dashboards", "triton-latency.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	d["uid"], d["title"] = "triton-latency-mine", "My latencies"
	if text, err = json.Marshal(d); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dashboards/mine.json", "my-dashboard.json"} {
		if err := os.WriteFile(filepath.Join(e.dir, name), text, 0o644); err != nil {
			t.Fatal(err)
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
