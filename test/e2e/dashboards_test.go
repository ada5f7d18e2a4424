//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

func newViewer(t *testing.T, d *dashboard.Dashboard, since time.Time) *harness.Viewer {
	return harness.NewViewer(t, prometheusAPI(t), d, since)
}

// TestDashboardsHaveData: under load, every query of every panel of the three
// dashboards has data, with the names of both generations of the GPU exporter.
func TestDashboardsHaveData(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	// "queueing" queues and batches; a fifth of the requests to "flaky" fails.
	for _, name := range []string{"queueing", "flaky"} {
		cmd := command(ctx, "kubectl-triton", nil, "bench", name, "--concurrency", "6", "--duration", "10m", "--warmup", "0", "--max-error-rate", "100%", "--no-grafana", "--no-prometheus")
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		load.Go(func() { _ = cmd.Wait() })
	}
	defer load.Wait()
	defer stop()
	restoreExporter(t)

	highest := map[string]map[string]float64{"4.8": {}, "4.9": {}}
	for _, c := range []struct {
		generation   string
		marker, gone string // a series of this generation, and one of the other
		empty        map[string][]string
	}{
		// With the fields of dcgm-values.yaml nothing is left without data.
		{"4.8", "DCGM_FI_DEV_THERMAL_VIOLATION", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", nil},
		// The exporter's own default fields leave the violation counters out.
		{"4.9", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_THERMAL_VIOLATION", map[string][]string{"gpu-dashboard": {"Throttled by heat A", "Throttled A", "Throttled B"}}},
	} {
		t.Run(c.generation, func(t *testing.T) {
			configureExporter(t, c.generation)
			eventually(t, 2*time.Minute, "rates of requests, failures and "+c.marker, func() bool {
				return len(promVector(t, `sum(rate(nv_inference_request_failure{model="flaky"}[8s])) > 0`)) > 0 &&
					len(promVector(t, `sum(rate(nv_inference_count{model="queueing"}[8s])) > 0`)) > 0 &&
					len(promVector(t, fmt.Sprintf(`count(count_over_time(%s[15s]) >= 5)`, c.marker))) > 0 &&
					len(promVector(t, fmt.Sprintf(`absent_over_time(%s[10s])`, c.gone))) > 0
			})
			since := time.Now()
			for _, file := range assets.Dashboards() {
				t.Run(file.UID, func(t *testing.T) {
					d, err := dashboard.Parse(file.JSON)
					if err != nil {
						t.Fatal(err)
					}
					for _, p := range d.Panels {
						for _, target := range p.Targets {
							if _, err := dashboard.ParseExpr(target.Expr); err != nil {
								t.Errorf("panel %q: %v", p.Title, err)
							}
						}
					}
					if got, want := newViewer(t, d, since).Empty(d, highest[c.generation]), c.empty[file.UID]; !slices.Equal(got, want) {
						t.Errorf("without data are %q, want %q", got, want)
					}
				})
			}
		})
	}
	// The same load gives figures of the same order, whatever the names: a wrong
	// unit would be off by 100 or more.
	compared := 0
	for query, old := range highest["4.8"] {
		if renamed, ok := highest["4.9"][query]; ok && old > 0 && strings.HasPrefix(query, "gpu-dashboard") {
			compared++
			if ratio := renamed / old; ratio < 0.05 || ratio > 20 {
				t.Errorf("%s: %g with the names of 4.8, %g with those of 4.9", query, old, renamed)
			}
		}
	}
	if compared < 15 {
		t.Errorf("only %d figures could be compared", compared)
	}
}

// TestGPUPanelsWithoutExporter: without a GPU exporter, the Triton dashboards
// show what Triton itself knows of its GPUs.
func TestGPUPanelsWithoutExporter(t *testing.T) {
	for _, file := range assets.Dashboards() {
		if file.UID == "gpu-dashboard" {
			continue
		}
		// Names that no exporter has.
		d, err := dashboard.Parse([]byte(strings.ReplaceAll(string(file.JSON), "DCGM_FI_", "ABSENT_")))
		if err != nil {
			t.Fatal(err)
		}
		v := newViewer(t, d, time.Now())
		shown := 0
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if !strings.Contains(target.Expr, "ABSENT_") || strings.Contains(p.Title, "per inference") {
					continue
				}
				shown++
				if numbers, err := v.Numbers(target.Expr); err != nil || len(numbers) == 0 {
					t.Errorf("%s, panel %q: %d numbers, %v", d.UID, p.Title, len(numbers), err)
				}
			}
		}
		if shown < 4 {
			t.Errorf("%s has %d GPU queries", d.UID, shown)
		}
	}
}

const exporterFields = "exporter-fields"

// configureExporter restarts the GPU exporter with metric names of one
// generation; of 4.8 with the fields of dcgm-values.yaml.
func configureExporter(t *testing.T, generation string) {
	t.Helper()
	var values struct{ CustomMetrics string }
	if err := yaml.Unmarshal(assets.DCGMValues(), &values); err != nil || values.CustomMetrics == "" {
		t.Fatalf("customMetrics: %v", err)
	}
	maps := client.CoreV1().ConfigMaps("monitoring")
	_ = maps.Delete(t.Context(), exporterFields, metav1.DeleteOptions{})
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: exporterFields}, Data: map[string]string{"fields.csv": values.CustomMetrics}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changeExporter(t, func(spec *corev1.PodSpec) {
		c := &spec.Containers[0]
		c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool {
			return e.Name == "DCGM_EXPORTER_FIELD_NAMES" || e.Name == "DCGM_EXPORTER_COLLECTORS"
		})
		c.Env = append(c.Env, corev1.EnvVar{Name: "DCGM_EXPORTER_FIELD_NAMES", Value: generation})
		if generation == "4.8" {
			c.Env = append(c.Env, corev1.EnvVar{Name: "DCGM_EXPORTER_COLLECTORS", Value: "/etc/fields/fields.csv"})
		}
		if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == "fields" }) {
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "fields", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: exporterFields}}}})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "fields", MountPath: "/etc/fields"})
		}
	})
}

// restoreExporter puts the exporter back when the test ends.
func restoreExporter(t *testing.T) {
	t.Helper()
	set, err := client.AppsV1().DaemonSets("monitoring").Get(t.Context(), "dcgm-exporter", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		changeExporter(t, func(spec *corev1.PodSpec) { *spec = set.Spec.Template.Spec })
		_ = client.CoreV1().ConfigMaps("monitoring").Delete(context.Background(), exporterFields, metav1.DeleteOptions{})
	})
}

func changeExporter(t *testing.T, change func(*corev1.PodSpec)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sets := client.AppsV1().DaemonSets("monitoring")
	set, err := sets.Get(ctx, "dcgm-exporter", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(&set.Spec.Template.Spec)
	if set, err = sets.Update(ctx, set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	generation := set.Generation
	ready := func(s *appsv1.DaemonSet) bool {
		st := s.Status
		return st.ObservedGeneration >= generation && st.UpdatedNumberScheduled == st.DesiredNumberScheduled && st.NumberAvailable == st.DesiredNumberScheduled && st.DesiredNumberScheduled > 0
	}
	eventually(t, 2*time.Minute, "the restarted GPU exporters", func() bool {
		set, err := sets.Get(ctx, "dcgm-exporter", metav1.GetOptions{})
		return err == nil && ready(set)
	})
}

// TestDashboardsRoundTrip: import, list, edit in Grafana, export.
func TestDashboardsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, d := range assets.Dashboards() {
		file := filepath.Join(dir, d.File)
		if err := os.WriteFile(file, d.JSON, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if o := plugin(t, append([]string{"dashboards", "lint"}, files...)...); o.code != 0 || !strings.Contains(o.stdout, "no findings (3 files)") {
		t.Errorf("lint: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := plugin(t, "dashboards", "list"); o.code != 0 || strings.Count(o.stdout, "missing") != 3 {
		t.Fatalf("before the import: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	imported := plugin(t, append([]string{"dashboards", "import", "--folder", "Imported", "-o", "json"}, files...)...)
	t.Cleanup(func() { deleteDashboards(t) })
	var result struct {
		Schema   string
		Imported []struct {
			File, UID, Title, Action string
			Version                  int
		}
	}
	if err := json.Unmarshal([]byte(imported.stdout), &result); err != nil || imported.code != 0 || len(result.Imported) != 3 || result.Imported[0].Action != "created" || result.Schema != "kubectl-triton/dashboards-import/v1" {
		t.Fatalf("import: %d, %v\n%s%s", imported.code, err, imported.stdout, imported.stderr)
	}
	if o := plugin(t, "dashboards", "list", "-o", "yaml"); o.code != 0 || strings.Count(o.stdout, "state: current") != 3 || strings.Count(o.stdout, "folder: Imported") != 3 {
		t.Errorf("after the import: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := plugin(t, append([]string{"dashboards", "import"}, files...)...); o.code != 1 || !strings.Contains(o.stderr, "--overwrite") {
		t.Errorf("a second import: %d\n%s%s", o.code, o.stdout, o.stderr)
	}

	// What comes back is what went in, to the byte.
	out := filepath.Join(dir, "exported.json")
	for _, d := range assets.Dashboards() {
		if o := plugin(t, "dashboards", "export", d.UID, "-f", out); o.code != 0 {
			t.Fatalf("export %s: %d\n%s", d.UID, o.code, o.stderr)
		}
		if got, err := os.ReadFile(out); err != nil || string(got) != string(d.JSON) {
			t.Errorf("%s comes back changed (%v)", d.UID, err)
		}
	}

	// Somebody edits the title in Grafana: the list shows it, the export takes it.
	edited := strings.Replace(string(assets.Dashboards()[0].JSON), "\n  \"title\": \"GPUs\",", "\n  \"title\": \"GPUs of mine\",", 1)
	if err := os.WriteFile(out, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := plugin(t, "dashboards", "import", out, "--overwrite"); o.code != 0 || !strings.Contains(o.stdout, "updated") {
		t.Errorf("overwrite: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	// It stays in its folder.
	if o := plugin(t, "dashboards", "list"); o.code != 0 || strings.Count(o.stdout, "differs") != 1 || !strings.Contains(o.stdout, "GPUs of mine") || strings.Count(o.stdout, "Imported") != 3 {
		t.Errorf("after the edit: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for line := range strings.Lines(plugin(t, "dashboards", "list").stdout) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 80 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	if o := plugin(t, "dashboards", "export", "gpu-dashboard"); o.code != 0 || o.stdout != edited {
		t.Errorf("the export of the edited one differs (%d)\n%s", o.code, o.stderr)
	}
}

// TestDashboardsTrouble: one sentence and the next step for each thing that can
// go wrong.
func TestDashboardsTrouble(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	sloppy := write("sloppy.json", `{"title": "Sloppy", "uid": "sloppy", "panels": [{"id": 1, "type": "graph", "targets": [{"refId": "A", "expr": "rate(x[5m])"}]}]}`)
	broken := write("broken.json", `{"title": `)
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no such dashboard", []string{"export", "nope"}, 1, []string{`"nope"`, "dashboards list"}},
		{"no such file", []string{"import", filepath.Join(dir, "absent.json")}, 1, []string{"absent.json"}},
		{"no JSON", []string{"import", broken}, 1, []string{"broken.json", "ends in the middle"}},
		{"the same uid twice", []string{"import", sloppy, sloppy}, 1, []string{"same uid"}},
		{"no Grafana", []string{"list", "--stack-namespace", "default"}, 1, []string{"no Grafana in namespace default"}},
		{"no token", []string{"list", "--grafana-url", "http://127.0.0.1:1"}, 2, []string{"--grafana-token-file"}},
		{"wrong output", []string{"list", "-o", "xml"}, 2, []string{"table or json or yaml"}},
		{"no file", []string{"lint"}, 2, []string{"--help"}},
		{"findings", []string{"lint", sloppy}, 1, []string{"findings"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := plugin(t, append([]string{"dashboards"}, c.args...)...)
			if o.code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", o.code, c.code, o.stdout, o.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(o.stderr, s) {
					t.Errorf("%q does not say %q", o.stderr, s)
				}
			}
		})
	}
	lint := plugin(t, "dashboards", "lint", sloppy)
	for _, want := range []string{"panel-type", "target-rate-interval-rule", "panel-title-description-rule", "uneditable-dashboard"} {
		if !strings.Contains(lint.stdout, want) {
			t.Errorf("lint does not find %s:\n%s", want, lint.stdout)
		}
	}

	// Grafana refuses.
	pod := readyPod(t, "monitoring", "app.kubernetes.io/name=grafana")
	hc := dialPod(t, "monitoring", pod.Name, "3001")
	fetch(t, hc, http.MethodPut, "http://sim/sim/behaviour", `[{"path_prefix":"/api/","status":401}]`)
	o := plugin(t, "dashboards", "list")
	fetch(t, hc, http.MethodDelete, "http://sim/sim/behaviour", "")
	if o.code != 1 || !strings.Contains(o.stderr, "401") || strings.Count(o.stdout, "unknown") != 3 {
		t.Errorf("an unauthorised list: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// deleteDashboards removes what the tests have imported.
func deleteDashboards(t *testing.T) {
	secret, err := client.CoreV1().Secrets("monitoring").Get(context.Background(), "prom-operator-grafana", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.CoreV1().Pods("monitoring").List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=grafana"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("no Grafana pod: %v", err)
	}
	hc := dialPod(t, "monitoring", list.Items[0].Name, "3000")
	for _, d := range assets.Dashboards() {
		req, err := http.NewRequest(http.MethodDelete, "http://grafana/api/dashboards/uid/"+d.UID, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(string(secret.Data["admin-user"]), string(secret.Data["admin-password"]))
		if resp, err := hc.Do(req); err == nil {
			resp.Body.Close()
		}
	}
}
