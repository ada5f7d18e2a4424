package dashboard

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	d, err := Parse([]byte(`{
	  "title": "T", "uid": "u", "schemaVersion": 42,
	  "templating": {"list": [
	    {"name": "ds", "type": "datasource", "query": "prometheus"},
	    {"name": "pod", "type": "query", "query": {"query": "label_values(up, pod)", "qryType": 1}, "regex": "/(.*)/", "includeAll": true, "allValue": ".*"}]},
	  "panels": [
	    {"id": 1, "type": "row", "title": "R", "collapsed": true, "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}, "panels": [
	      {"id": 2, "type": "stat", "title": "S", "description": "D", "datasource": "Prometheus", "interval": "1s",
	       "fieldConfig": {"defaults": {"unit": "s"}}, "gridPos": {"x": 0, "y": 1, "w": 4, "h": 4},
	       "targets": [{"refId": "A", "expr": "up", "hide": true, "interval": "5s", "datasource": {"type": "prometheus", "uid": "x"}}]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d.tree = nil
	want := &Dashboard{UID: "u", Title: "T", SchemaVersion: 42, Editable: true,
		Variables: []Variable{{Name: "ds", Type: "datasource", Query: "prometheus"},
			{Name: "pod", Type: "query", Query: "label_values(up, pod)", Regex: "/(.*)/", AllValue: ".*", IncludeAll: true}},
		Panels: []Panel{{ID: 1, Type: "row", Title: "R", Grid: Grid{W: 24, H: 1}},
			{ID: 2, Type: "stat", Title: "S", Description: "D", DataSource: DataSource{UID: "Prometheus"}, Unit: "s", Interval: "1s", Grid: Grid{Y: 1, W: 4, H: 4}, Nested: true,
				Targets: []Target{{RefID: "A", Expr: "up", Interval: "5s", Hidden: true, DataSource: DataSource{Type: "prometheus", UID: "x"}}}}}}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(Dashboard{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                       "it ends in the middle",
		`{"title": "T"`:                          "it ends in the middle",
		`[]`:                                     "can't be a array",
		"{\n\"title\": x}":                       "line 2",
		`{"title": "T"} {}`:                      "more follows",
		`{}`:                                     "no title",
		`{"dashboard": {"title": "T"}}`:          "answer of Grafana's API",
		`{"apiVersion": "x", "spec": {}}`:        "resource format",
		`{"title": "T", "rows": []}`:             "before Grafana 5",
		`{"title": "T", "panels": {}}`:           "panels can't be a object",
		`{"title": "T", "panels": [{"id":"x"}]}`: "panels.id can't be a string",
		`null`:                                   "no title",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestInterpolate(t *testing.T) {
	values := map[string]string{"a": "1", "b": "2"}
	for query, want := range map[string]string{
		`x{p="$a"}[${b}s]`:          `x{p="1"}[2s]`,
		`[[a]] ${a:regex} $ab $__a`: `1 1(regex) $ab $__a`,
		`$1 ${a.field} $`:           `$1 1 $`,
	} {
		got := Interpolate(query, func(name, format string) (string, bool) {
			v, ok := values[name]
			if format != "" {
				v += "(" + format + ")"
			}
			return v, ok
		})
		if got != want {
			t.Errorf("%s became %s, want %s", query, got, want)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, Uses(`$a ${b:csv} [[c]]`)); diff != "" {
		t.Error(diff)
	}
}

// TestParsable: what a variable can stand for in PromQL.
func TestParsable(t *testing.T) {
	for _, query := range []string{
		`sum by ($group) (rate(x{a=~"$a", b='${b:regex}'}[$__rate_interval]))`,
		`topk($n, x)`,
		`x > $threshold`,
		`avg_over_time(x[${window}m:$__interval])`,
		`x offset $__range`,
		`$metric{a="b"}`,
		"x{a=\"[$a\", b=`]`}",
		`increase(x[$__range]) / $__range_s`,
		`label_replace(x, "a", "$1", "b", "(.*)")`,
	} {
		if _, err := ParseExpr(query); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"title":"T","panels":[{"panels":[{}]}],"templating":{"list":[null,{"query":[]}]}}`))
	f.Add([]byte(`{"title":"T","datasource":"${DS}","__inputs":[{"name":"DS","pluginId":"prometheus"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without a text")
			}
			return
		}
		Lint(d)
		once, err := Clean(data)
		if err != nil {
			t.Fatalf("what parses can't be cleaned: %v", err)
		}
		twice, err := Clean(once)
		if err != nil {
			t.Fatalf("the cleaned dashboard can't be cleaned: %v\n%s", err, once)
		}
		if string(once) != string(twice) {
			t.Errorf("cleaning twice differs:\n%s\n%s", once, twice)
		}
	})
}
