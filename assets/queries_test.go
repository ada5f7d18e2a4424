package assets_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
)

// What promtool is asked to test.
type (
	sample     struct{ labels, value string }
	seriesTest struct {
		name, interval, values string
		series                 []string
		queries                []queryTest
	}
	queryTest struct {
		query string
		want  []sample
	}
)

// TestQueries runs the dashboards' less obvious queries in Prometheus's own
// engine: which GPUs belong to which pod, whichever labels the exporter's
// series have, and how often a target is scraped.
func TestQueries(t *testing.T) {
	promtool, err := filepath.Abs("../bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(promtool); err != nil {
		t.Skip("bin/promtool is not built: run 'make promtool', as 'make unit' does")
	}
	all := map[string]string{"cluster": ".*", "namespace": ".*", "pod": ".*", "model": ".*", "gpu": ".*"}
	with := func(name, value string) map[string]string {
		values := map[string]string{name: value}
		for k, v := range all {
			if k != name {
				values[k] = v
			}
		}
		return values
	}
	one := func(labels ...string) []sample {
		var want []sample
		for _, l := range labels {
			want = append(want, sample{l, "1"})
		}
		return want
	}

	const triton = `nv_pinned_memory_pool_total_bytes{namespace="triton",pod="t-0"}`
	var tests []seriesTest
	for name, series := range map[string][]string{
		"honorLabels: true, label Hostname": {
			`DCGM_FI_DEV_GPU_TEMP{Hostname="n1",gpu="0",UUID="A",modelName="M",namespace="triton",pod="t-0"}`,
			`DCGM_FI_DEV_GPU_TEMP{Hostname="n1",gpu="1",UUID="B",modelName="M",namespace="monitoring",pod="dcgm-exporter-x"}`,
			`DCGM_FI_DEV_GPU_TEMP{Hostname="n1",gpu="2",UUID="C",modelName="M",namespace="other",pod="o-0"}`,
		},
		"honorLabels: false, label hostname, names of 4.9": {
			`DCGM_FI_DEV_GPU_TEMP_CELSIUS{hostname="n1",gpu="0",UUID="A",modelName="M",namespace="monitoring",pod="dcgm-exporter-x",exported_namespace="triton",exported_pod="t-0"}`,
			`DCGM_FI_DEV_GPU_TEMP_CELSIUS{hostname="n1",gpu="1",UUID="B",modelName="M",namespace="monitoring",pod="dcgm-exporter-x"}`,
			`DCGM_FI_DEV_GPU_TEMP_CELSIUS{hostname="n1",gpu="2",UUID="C",modelName="M",namespace="monitoring",pod="dcgm-exporter-x",exported_namespace="other",exported_pod="o-0"}`,
		},
	} {
		a, b, c := `{UUID="A",name="n1 gpu 0"}`, `{UUID="B",name="n1 gpu 1"}`, `{UUID="C",name="n1 gpu 2"}`
		tests = append(tests, seriesTest{name, "15s", "1x40", append(series, triton), []queryTest{
			{variable(t, "triton-latency", "gpu", all), one(a)},
			{variable(t, "loadtest-annotated", "gpu", all), one(a)},
			{variable(t, "gpu-dashboard", "gpu", all), one(a, b, c)},
			{variable(t, "gpu-dashboard", "gpu", with("namespace", "other")), one(c)},
			{variable(t, "gpu-dashboard", "gpu", with("pod", "(t-0)")), one(a)},
			{variable(t, "gpu-dashboard", "namespace", all), one(`{namespace="monitoring"}`, `{namespace="other"}`, `{namespace="triton"}`)},
			{variable(t, "gpu-dashboard", "pod", with("namespace", "triton")), one(`{pod="t-0"}`)},
			{panel(t, "gpu-dashboard", "GPUs", all), one(
				`{UUID="A",node="n1",gpu="0",modelName="M",holder="triton/t-0"}`,
				`{UUID="B",node="n1",gpu="1",modelName="M"}`,
				`{UUID="C",node="n1",gpu="2",modelName="M",holder="other/o-0"}`)},
		}})
	}
	tests = append(tests, seriesTest{"no exporter: the GPUs that Triton itself reports", "15s", "1x40",
		[]string{`nv_gpu_utilization{namespace="triton",pod="t-0",gpu_uuid="A"}`, triton},
		[]queryTest{{variable(t, "triton-latency", "gpu", all), one(`{UUID="A",name="t-0"}`)}}})
	for interval, values := range map[string]string{"1s": "1x400", "2s": "1x200", "15s": "1x40", "30s": "1x20", "60s": "1x10"} {
		seconds := strings.TrimSuffix(interval, "s")
		tests = append(tests, seriesTest{"scraped every " + interval, interval, values, []string{triton},
			[]queryTest{{variable(t, "triton-latency", "resolution", all), []sample{{"{}", seconds}}}}})
	}
	tests = append(tests,
		seriesTest{"three samples so far", "2s", "_x147 1x3", []string{triton}, []queryTest{{variable(t, "triton-latency", "resolution", all), []sample{{"{}", "2"}}}}},
		seriesTest{"no sample at all", "15s", "1x40", []string{"up"}, []queryTest{{variable(t, "triton-latency", "resolution", all), []sample{{"{}", "30"}}}}})

	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, encode(t, tests), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// variable is the expression in query_result(…) of a variable.
func variable(t *testing.T, uid, name string, values map[string]string) string {
	t.Helper()
	for _, v := range load(t, uid).Variables {
		if v.Name == name {
			inner, ok := strings.CutPrefix(v.Query, "query_result(")
			if !ok {
				t.Fatalf("$%s of %s is %s", name, uid, v.Query)
			}
			return fill(t, strings.TrimSuffix(inner, ")"), values)
		}
	}
	t.Fatalf("%s has no $%s", uid, name)
	return ""
}

// panel is the first query of a panel.
func panel(t *testing.T, uid, title string, values map[string]string) string {
	t.Helper()
	for _, p := range load(t, uid).Panels {
		if p.Title == title && len(p.Targets) > 0 {
			return fill(t, p.Targets[0].Expr, values)
		}
	}
	t.Fatalf("%s has no panel %q", uid, title)
	return ""
}

func load(t *testing.T, uid string) *dashboard.Dashboard {
	t.Helper()
	for _, file := range assets.Dashboards() {
		if file.UID == uid {
			d, err := dashboard.Parse(file.JSON)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("no dashboard %s", uid)
	return nil
}

func fill(t *testing.T, query string, values map[string]string) string {
	t.Helper()
	return dashboard.Interpolate(query, func(name, _ string) (string, bool) {
		v, ok := values[name]
		if !ok {
			t.Errorf("$%s has no value", name)
		}
		return v, ok
	})
}

// encode writes promtool's test file.
func encode(t *testing.T, tests []seriesTest) []byte {
	t.Helper()
	type object = map[string]any
	list := []object{}
	for _, c := range tests {
		input, queries := []object{}, []object{}
		for _, s := range c.series {
			input = append(input, object{"series": s, "values": c.values})
		}
		for _, q := range c.queries {
			want := []object{}
			for _, s := range q.want {
				var value float64
				if _, err := fmt.Sscan(s.value, &value); err != nil {
					t.Fatal(err)
				}
				want = append(want, object{"labels": s.labels, "value": value})
			}
			queries = append(queries, object{"expr": q.query, "eval_time": "5m", "exp_samples": want})
		}
		list = append(list, object{"name": c.name, "interval": c.interval, "input_series": input, "promql_expr_test": queries})
	}
	data, err := yaml.Marshal(object{"evaluation_interval": "15s", "tests": list})
	if err != nil {
		t.Fatal(err)
	}
	return data
}
