package dashboard

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	got, err := Clean([]byte(`{"version": 7, "id": 12, "iteration": 1, "title": "a <b> & c", "uid": "u", "editable": true, "schemaVersion": 42, "pi": 3.10,
	  "__inputs": [{"name": "DS_P", "pluginId": "prometheus"}, {"name": "DS_L", "pluginId": "loki"}], "__requires": [],
	  "annotations": {"list": [{"datasource": {"type": "grafana", "uid": "-- Grafana --"}}, {"datasource": "-- Grafana --"}]},
	  "templating": {"list": [
	    {"name": "pod", "type": "query", "multi": true, "includeAll": true, "datasource": {"type": "prometheus", "uid": "abc"}, "current": {"text": "x", "value": "x"}, "options": [{"text": "x"}]},
	    {"name": "one", "type": "custom", "includeAll": true, "query": "a,b", "current": {"text": "a", "value": "a"}, "options": [{"text": "a", "selected": true}]},
	    {"name": "c", "type": "constant", "query": "k", "current": {"text": "k", "value": "k"}}]},
	  "panels": [
	    {"id": 1, "type": "row", "panels": [{"id": 2, "pluginVersion": "13.2.0", "datasource": "Prometheus", "targets": [{"datasource": {"uid": "${DS_P}"}, "version": 1}]}]},
	    {"id": 3, "datasource": "${DS_L}", "targets": [{"datasource": {"type": "loki", "uid": "x"}}]},
	    {"id": 4, "datasource": null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "annotations": {
    "list": [
      {
        "datasource": {
          "type": "grafana",
          "uid": "-- Grafana --"
        }
      },
      {
        "datasource": "-- Grafana --"
      }
    ]
  },
  "editable": false,
  "panels": [
    {
      "id": 1,
      "panels": [
        {
          "datasource": {
            "type": "prometheus",
            "uid": "${datasource}"
          },
          "id": 2,
          "targets": [
            {
              "datasource": {
                "type": "prometheus",
                "uid": "${datasource}"
              },
              "version": 1
            }
          ]
        }
      ],
      "type": "row"
    },
    {
      "datasource": "${DS_L}",
      "id": 3,
      "targets": [
        {
          "datasource": {
            "type": "loki",
            "uid": "x"
          }
        }
      ]
    },
    {
      "datasource": null,
      "id": 4
    }
  ],
  "pi": 3.10,
  "schemaVersion": 42,
  "templating": {
    "list": [
      {
        "current": {},
        "hide": 0,
        "includeAll": false,
        "label": "Data source",
        "multi": false,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource"
      },
      {
        "current": {
          "text": [
            "All"
          ],
          "value": [
            "$__all"
          ]
        },
        "datasource": {
          "type": "prometheus",
          "uid": "${datasource}"
        },
        "includeAll": true,
        "multi": true,
        "name": "pod",
        "options": [],
        "type": "query"
      },
      {
        "current": {
          "text": "All",
          "value": "$__all"
        },
        "includeAll": true,
        "name": "one",
        "options": [],
        "query": "a,b",
        "type": "custom"
      },
      {
        "current": {
          "text": "k",
          "value": "k"
        },
        "name": "c",
        "query": "k",
        "type": "constant"
      }
    ]
  },
  "title": "a <b> & c",
  "uid": "u"
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestCleanProperties: whatever the dashboard, cleaning twice is cleaning once,
// what Grafana's database and one session add makes no difference, and nothing
// else is lost.
func TestCleanProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		tree := randomDashboard(random)
		plain := marshal(t, tree)
		once := clean(t, plain)
		if twice := clean(t, once); string(twice) != string(once) {
			t.Fatalf("cleaning twice differs: %s", cmp.Diff(string(once), string(twice)))
		}
		tree["id"], tree["version"], tree["iteration"] = random.IntN(100), random.IntN(100), random.IntN(1e6)
		for _, v := range tree["templating"].(map[string]any)["list"].([]any) {
			v.(map[string]any)["current"] = map[string]any{"text": fmt.Sprint(random.IntN(9)), "value": fmt.Sprint(random.IntN(9))}
		}
		if lived := clean(t, marshal(t, tree)); string(lived) != string(once) {
			t.Fatalf("the life in a Grafana shows: %s", cmp.Diff(string(once), string(lived)))
		}
		before, err := Parse(plain)
		if err != nil {
			t.Fatal(err)
		}
		after, err := Parse(once)
		if err != nil {
			t.Fatal(err)
		}
		if len(before.Panels) != len(after.Panels) {
			t.Fatalf("%d panels became %d", len(before.Panels), len(after.Panels))
		}
		for i, p := range before.Panels {
			q := after.Panels[i]
			if p.Title != q.Title || len(p.Targets) != len(q.Targets) || (len(p.Targets) > 0 && p.Targets[0].Expr != q.Targets[0].Expr) {
				t.Fatalf("panel %+v became %+v", p, q)
			}
		}
	}
}

func randomDashboard(r *rand.Rand) map[string]any {
	source := func() any {
		return []any{nil, "Prometheus", "-- Mixed --", "$datasource", map[string]any{"type": "prometheus", "uid": fmt.Sprint(r.IntN(99))}, map[string]any{"type": "loki", "uid": "l"}}[r.IntN(6)]
	}
	var panels func(depth int) []any
	panels = func(depth int) []any {
		list := []any{}
		for i := range r.IntN(5) {
			p := map[string]any{"id": i, "title": strings.Repeat("t<&>", r.IntN(3)), "type": []any{"stat", "timeseries", "row"}[r.IntN(3)], "datasource": source(),
				"targets": []any{map[string]any{"expr": fmt.Sprintf("up{a=~\"$b\"} * %g", r.Float64()), "datasource": source()}}}
			if depth < 2 && p["type"] == "row" {
				p["panels"] = panels(depth + 1)
			}
			list = append(list, p)
		}
		return list
	}
	variables := []any{}
	for i := range r.IntN(4) {
		variables = append(variables, map[string]any{"name": []any{"datasource", "pod", "x"}[r.IntN(3)], "type": []any{"query", "datasource", "custom", "textbox"}[r.IntN(4)], "includeAll": r.IntN(2) == 0, "multi": r.IntN(2) == 0, "query": fmt.Sprint(i), "datasource": source()})
	}
	return map[string]any{"title": "T", "uid": "u", "schemaVersion": 42, "panels": panels(0), "templating": map[string]any{"list": variables}}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func clean(t *testing.T, data []byte) []byte {
	t.Helper()
	out, err := Clean(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return out
}
