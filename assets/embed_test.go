package assets

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestFixedNames: the uids and file names that other parts rely on.
func TestFixedNames(t *testing.T) {
	var got []string
	for _, d := range Dashboards() {
		got = append(got, d.File+" "+d.UID)
		if d.Title == "" || len(d.JSON) == 0 {
			t.Errorf("%s: title %q, %d bytes", d.File, d.Title, len(d.JSON))
		}
	}
	want := []string{"gpu-dashboard.json gpu-dashboard", "loadtest-annotated.json loadtest-annotated", "triton-latency.json triton-latency"}
	if !slices.Equal(got, want) {
		t.Errorf("dashboards are %q, want %q", got, want)
	}
	for _, c := range []struct{ got, want []string }{
		{Profiles(), []string{"full", "lite", "standard"}},
		{Platforms(), []string{"aks", "eks", "gke"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestValues: each layer is YAML and says what the charts' defaults get wrong.
func TestValues(t *testing.T) {
	type tree = map[string]any
	parse := func(name string, data []byte) tree {
		var v tree
		if err := yaml.UnmarshalStrict(data, &v); err != nil || len(v) == 0 {
			t.Fatalf("%s: %d keys, %v", name, len(v), err)
		}
		return v
	}
	at := func(v tree, path string) any {
		var x any = v
		for key := range strings.SplitSeq(path, ".") {
			m, ok := x.(tree)
			if !ok {
				return nil
			}
			if x, ok = m[key]; !ok {
				return "missing"
			}
		}
		return x
	}
	prometheus, dcgm := parse("prometheus", PrometheusValues()), parse("dcgm", DCGMValues())
	for _, c := range []struct {
		in   tree
		path string
		want any
	}{
		{prometheus, "prometheus.prometheusSpec.serviceMonitorSelectorNilUsesHelmValues", false},
		{prometheus, "prometheus.prometheusSpec.podMonitorSelectorNilUsesHelmValues", false},
		{prometheus, "prometheus.prometheusSpec.probeSelectorNilUsesHelmValues", false},
		{prometheus, "prometheus.prometheusSpec.ruleSelectorNilUsesHelmValues", false},
		{prometheus, "prometheus.prometheusSpec.scrapeConfigSelectorNilUsesHelmValues", false},
		{prometheus, "grafana.sidecar.dashboards.folderAnnotation", "grafana_folder"},
		{prometheus, "grafana.sidecar.dashboards.provider.foldersFromFilesStructure", true},
		{prometheus, "grafana.sidecar.dashboards.searchNamespace", "ALL"},
		{prometheus, "prometheusOperator.admissionWebhooks.enabled", false},
		{dcgm, "resources.limits.cpu", nil},
		{dcgm, "serviceMonitor.interval", "2s"},
		{dcgm, "serviceMonitor.scrapeTimeout", "2s"},
		{dcgm, "serviceMonitor.additionalLabels.release", "prom-operator"},
		{dcgm, "runtimeClassName", ""},
	} {
		if got := at(c.in, c.path); got != c.want {
			t.Errorf("%s is %v, want %v", c.path, got, c.want)
		}
	}
	if args, _ := dcgm["arguments"].([]any); !slices.Contains(args, any("--collect-interval=1000")) {
		t.Errorf("arguments are %v", args)
	}
	for _, name := range Profiles() {
		data, err := Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		parse(name, data)
	}
	for _, name := range Platforms() {
		data, err := Platform(name)
		if err != nil {
			t.Fatal(err)
		}
		v := parse(name, data)
		for _, part := range []string{"kubeEtcd", "kubeScheduler", "kubeControllerManager"} {
			if got := at(v, part+".enabled"); got != false {
				t.Errorf("platform %s: %s.enabled is %v", name, part, got)
			}
		}
	}
	if _, err := Profile("../rules/gpu"); err == nil || !strings.Contains(err.Error(), "choose full, lite, standard") {
		t.Errorf("an unknown profile: %v", err)
	}
}

// TestRules: each alert says what it means and where its page is.
func TestRules(t *testing.T) {
	pages, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(Rules()) < 2 {
		t.Fatalf("%d files", len(Rules()))
	}
	for _, file := range Rules() {
		var parsed struct {
			Groups []struct {
				Name  string `json:"name"`
				Rules []struct {
					Record, Alert, Expr, For string
					Labels, Annotations      map[string]string
				} `json:"rules"`
			} `json:"groups"`
		}
		if err := yaml.UnmarshalStrict(file.YAML, &parsed); err != nil {
			t.Fatalf("%s: %v", file.Name, err)
		}
		alerts := 0
		for _, g := range parsed.Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					continue
				}
				alerts++
				if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
					t.Errorf("%s lacks a severity, summary or description", r.Alert)
				}
				if !strings.Contains(string(pages), "\n### "+r.Alert+"\n") {
					t.Errorf("docs/alerts.md has no section on %s", r.Alert)
				}
				if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/alerts.md#"+strings.ToLower(r.Alert)) {
					t.Errorf("%s: runbook_url is %q", r.Alert, r.Annotations["runbook_url"])
				}
			}
		}
		if alerts == 0 {
			t.Errorf("%s has no alerts", file.Name)
		}
	}
}

// TestDashboardsBelongTogether: each shows the regions of load tests, by the tags
// that they are posted with, links to the other two, and asks for no coarser
// resolution than the measured one.
func TestDashboardsBelongTogether(t *testing.T) {
	for _, d := range Dashboards() {
		var parsed struct {
			Annotations struct {
				List []struct {
					Enable bool
					Target struct {
						Tags     []string
						Type     string
						MatchAny bool
					}
				}
			}
			Links      []struct{ URL string }
			Templating struct{ List []struct{ Name string } }
			Panels     []struct {
				Title, Type, Interval string
				Targets               []struct{ Interval string }
			}
		}
		if err := json.Unmarshal(d.JSON, &parsed); err != nil {
			t.Fatal(err)
		}
		shown := false
		for _, a := range parsed.Annotations.List {
			shown = shown || a.Enable && a.Target.Type == "tags" && !a.Target.MatchAny && slices.Equal(a.Target.Tags, []string{"kubectl-triton", "loadtest"})
		}
		if !shown {
			t.Errorf("%s does not show load tests", d.UID)
		}
		var links []string
		for _, l := range parsed.Links {
			links = append(links, strings.TrimPrefix(l.URL, "/d/"))
		}
		for _, other := range Dashboards() {
			if slices.Contains(links, other.UID) == (other.UID == d.UID) {
				t.Errorf("%s links to %q", d.UID, links)
			}
		}
		var variables []string
		for _, v := range parsed.Templating.List {
			variables = append(variables, v.Name)
		}
		for _, want := range []string{"datasource", "cluster", "namespace", "pod", "gpu", "resolution"} {
			if !slices.Contains(variables, want) {
				t.Errorf("%s has the variables %q, not %s", d.UID, variables, want)
			}
		}
		for _, p := range parsed.Panels {
			if p.Type != "row" && p.Interval != "1s" {
				t.Errorf("%s, panel %q: interval %q", d.UID, p.Title, p.Interval)
			}
			for _, q := range p.Targets {
				if q.Interval != "${resolution}s" {
					t.Errorf("%s, panel %q: a query's interval is %q", d.UID, p.Title, q.Interval)
				}
			}
		}
	}
}
