package dashboard

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good is a dashboard without findings; edit changes a copy of it.
const good = `{
  "uid": "good", "title": "Good", "schemaVersion": 42, "editable": false,
  "templating": {"list": [
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    {"name": "namespace", "type": "query", "query": {"query": "label_values(up, namespace)"}}
  ]},
  "panels": [
    {"id": 1, "type": "row", "title": "Row", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
    {"id": 2, "type": "timeseries", "title": "Rate", "description": "d", "datasource": {"type": "prometheus", "uid": "${datasource}"},
     "fieldConfig": {"defaults": {"unit": "reqps"}}, "gridPos": {"x": 0, "y": 1, "w": 12, "h": 8},
     "targets": [{"refId": "A", "expr": "sum(rate(nv_inference_request_success{namespace=~\"$namespace\"}[$__rate_interval]))"}]}
  ]
}`

func TestLint(t *testing.T) {
	type object = map[string]any
	panel := func(d object) object { return d["panels"].([]any)[1].(object) }
	expr := func(text string) func(object) {
		return func(d object) { panel(d)["targets"].([]any)[0].(object)["expr"] = text }
	}
	for _, c := range []struct {
		name  string
		edit  func(object)
		rules string // of the findings, in order
		says  string
	}{
		{"nothing wrong", func(object) {}, "", ""},
		{"no uid", func(d object) { delete(d, "uid") }, "uid", `uid is ""`},
		{"odd uid", func(d object) { d["uid"] = "a b" }, "uid", ""},
		{"old", func(d object) { d["schemaVersion"] = 16 }, "schema-version", "16"},
		{"for sharing", func(d object) { d["__inputs"] = []any{} }, "no-inputs", ""},
		{"editable", func(d object) { delete(d, "editable") }, "uneditable-dashboard", ""},
		{"no data source variable", func(d object) {
			d["templating"] = object{"list": []any{object{"name": "namespace", "type": "query"}}}
		}, "template-datasource-rule", ""},
		{"misnamed data source variable", func(d object) {
			d["templating"].(object)["list"].([]any)[0].(object)["name"] = "ds"
		}, "template-datasource-rule", `"ds"`},
		{"id twice", func(d object) { panel(d)["id"] = 1 }, "panel-id", `"Row" and "Rate"`},
		{"overlap", func(d object) { panel(d)["gridPos"].(object)["y"] = 0 }, "panel-grid", "overlap"},
		{"too wide", func(d object) { panel(d)["gridPos"].(object)["x"] = 13 }, "panel-grid", "outside"},
		{"graph", func(d object) { panel(d)["type"] = "graph" }, "panel-type", "graph"},
		{"fixed data source", func(d object) { panel(d)["datasource"] = object{"type": "prometheus", "uid": "abc"} }, "panel-datasource-rule", "fixed to prometheus abc"},
		{"default data source", func(d object) { delete(panel(d), "datasource") }, "panel-datasource-rule", "default"},
		{"fixed data source of a query", func(d object) {
			panel(d)["targets"].([]any)[0].(object)["datasource"] = "Prometheus"
		}, "panel-datasource-rule", "fixed to Prometheus"},
		{"no title", func(d object) { delete(panel(d), "title") }, "panel-title-description-rule", "timeseries without a title, id 2"},
		{"no description", func(d object) { delete(panel(d), "description") }, "panel-title-description-rule", "no description"},
		{"no unit", func(d object) { delete(panel(d), "fieldConfig") }, "panel-units-rule", ""},
		{"no query", func(d object) { delete(panel(d), "targets") }, "panel-no-targets-rule", ""},
		{"no PromQL", expr(`sum(`), "target-promql-rule", "not PromQL"},
		{"not even a metric", expr(`{}`), "target-promql-rule", "not PromQL"},
		{"unknown variable", expr(`sum(up{namespace=~"$namespace", pod="${pod:regex}"})`), "target-variables", "$pod"},
		{"fixed range", expr(`sum(rate(x_total{namespace=~"$namespace"}[5m]))`), "target-rate-interval-rule", "rate"},
		{"interval as range", expr(`sum(irate(x_total{namespace=~"$namespace"}[$__interval]))`), "target-rate-interval-rule", "irate"},
		{"increase over all that is shown", expr(`sum(increase(x_total{namespace=~"$namespace"}[$__range]))`), "", ""},
		{"raw counter", expr(`sum(nv_inference_count{namespace=~"$namespace"})`), "target-counter-agg-rule", "nv_inference_count"},
		{"which counters there are", expr(`count(group by (model) (nv_inference_count{namespace=~"$namespace"}))`), "", ""},
		{"rate without aggregation", expr(`rate(x_total{namespace=~"$namespace"}[$__rate_interval])`), "target-agg-rule", ""},
		{"everything there is", expr(`sum(up)`), "target-scope", "up"},
		{"everything there is, on one side", expr(`sum(up{namespace=~"$namespace"}) / sum(up{job="x"})`), "target-scope", "up"},
		{"1 + denominator", expr(`sum(up{namespace="$namespace"}) / (1 + sum(up{namespace="$namespace"}))`), "target-denominator", "constant"},
		{"clamped denominator", expr(`sum(up{namespace="$namespace"}) / clamp_min(sum(up{namespace="$namespace"}), 1)`), "target-denominator", "clamp_min"},
		{"a variable as number", expr(`topk($k, up{namespace="$namespace"})`), "target-variables", "$k"},
		{"a variable as label", expr(`sum by ($by) (up{namespace="$namespace"})`), "target-variables", "$by"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tree object
			if err := json.Unmarshal([]byte(good), &tree); err != nil {
				t.Fatal(err)
			}
			c.edit(tree)
			data, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			var rules, says []string
			for _, f := range Lint(d) {
				rules, says = append(rules, f.Rule), append(says, f.String())
				if f.Fix == "" || f.Problem == "" {
					t.Errorf("%+v says too little", f)
				}
			}
			if got := strings.Join(rules, " "); got != c.rules {
				t.Errorf("rules broken: %q, want %q\n%s", got, c.rules, strings.Join(says, "\n"))
			}
			if !strings.Contains(strings.Join(says, "\n"), c.says) {
				t.Errorf("%q does not say %q", says, c.says)
			}
		})
	}
}

// TestShippedDashboards: those that the plugin ships follow every convention,
// and are in the form that Clean writes.
func TestShippedDashboards(t *testing.T) {
	files, err := filepath.Glob("../../assets/grafana-dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(d.Panels) < 10 {
			t.Errorf("%s has %d panels", file, len(d.Panels))
		}
		for _, f := range Lint(d) {
			t.Errorf("%s: %s", filepath.Base(file), f)
		}
		clean, err := Clean(data)
		if err != nil {
			t.Fatal(err)
		}
		if string(clean) != string(data) {
			t.Errorf("%s is not as Clean writes it:\n%s", file, cmp.Diff(string(data), string(clean)))
		}
	}
}
