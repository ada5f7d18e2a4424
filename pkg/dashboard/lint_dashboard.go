package dashboard

import (
	"regexp"
	"slices"
	"strings"
)

// oldestSchema is that of Grafana 10.
const oldestSchema = 37

var validUID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,40}$`)

func dashboardRules() []Rule {
	return []Rule{
		{Name: "uid", Why: "links and re-imports find a dashboard by its uid", dashboard: func(d *Dashboard, r *report) {
			if !validUID.MatchString(d.UID) {
				r.add("give it a uid of at most 40 letters, digits, - and _", "its uid is %q", d.UID)
			}
		}},
		{Name: "schema-version", Why: "older models are migrated on load, which can go wrong", dashboard: func(d *Dashboard, r *report) {
			if d.SchemaVersion < oldestSchema {
				r.add("save it in a current Grafana and export it again", "its schemaVersion is %d", d.SchemaVersion)
			}
		}},
		{Name: "no-inputs", Why: "a provisioned dashboard has nobody who fills in inputs", dashboard: func(d *Dashboard, r *report) {
			if d.Shared {
				r.add("export it with 'kubectl triton dashboards export', not for sharing externally", "it has __inputs, which nobody fills in when it is provisioned")
			}
		}},
		{Name: "uneditable-dashboard", Why: "changes to a provisioned dashboard are lost", dashboard: func(d *Dashboard, r *report) {
			if d.Editable {
				r.add("set editable to false", "it can be edited in place, and such edits are lost with the next provisioning")
			}
		}},
		{Name: "template-datasource-rule", Why: "the data source's uid differs from one Grafana to the next", dashboard: func(d *Dashboard, r *report) {
			i := slices.IndexFunc(d.Variables, func(v Variable) bool { return v.Type == "datasource" })
			switch {
			case i < 0:
				r.add("add a variable named datasource of type datasource for prometheus", "it has no variable for the data source")
			case d.Variables[i].Name != dataSourceVariable && d.Variables[i].Query == prometheusType:
				r.add("name it datasource", "its data source variable is named %q", d.Variables[i].Name)
			}
		}},
		{Name: "panel-id", Why: "links to a panel go by its id", dashboard: func(d *Dashboard, r *report) {
			seen := map[int]string{}
			for _, p := range d.Panels {
				if other, twice := seen[p.ID]; twice {
					r.add("number the panels anew", "panels %q and %q both have the id %d", other, p.Title, p.ID)
				}
				seen[p.ID] = p.Title
			}
		}},
		{Name: "panel-grid", Why: "panels that overlap are moved by Grafana as it likes", dashboard: checkGrid},
	}
}

// columns is the width of Grafana's grid.
const columns = 24

func checkGrid(d *Dashboard, r *report) {
	for i := range d.Panels {
		p := &d.Panels[i]
		g := p.Grid
		if g.W < 1 || g.H < 1 || g.X < 0 || g.Y < 0 || g.X+g.W > columns {
			r.add("keep x + w within 24 columns, w and h above 0", "panel %q is at x=%d y=%d with w=%d h=%d, outside of the grid", p.Title, g.X, g.Y, g.W, g.H)
		}
		for k := range d.Panels[:i] {
			q := &d.Panels[k]
			if p.Nested == q.Nested && g.overlaps(q.Grid) {
				r.add("move one of them", "panels %q and %q overlap", q.Title, p.Title)
			}
		}
	}
}

func (g Grid) overlaps(o Grid) bool {
	return g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H
}

// showsData tells whether a panel is of a kind that shows numbers.
func showsData(p *Panel) bool {
	switch p.Type {
	case "stat", "timeseries", "gauge", "bargauge", "table", "barchart", "heatmap", "histogram", "piechart", "state-timeline":
		return true
	}
	return false
}

func panelRules() []Rule {
	return []Rule{
		{Name: "panel-type", Why: "Grafana has removed its old panels", panel: func(_ *Dashboard, p *Panel, r *report) {
			switch p.Type {
			case "graph", "singlestat", "table-old", "grafana-singlestat-panel", "grafana-piechart-panel", "grafana-worldmap-panel":
				r.add("use timeseries, stat or table", "panels of type %q are no longer part of Grafana", p.Type)
			case "":
				r.add("give it a type", "it has no type")
			}
		}},
		{Name: "panel-datasource-rule", Why: "a fixed data source exists in one Grafana only", panel: func(_ *Dashboard, p *Panel, r *report) {
			if !showsData(p) {
				return
			}
			const fix = `set it to {"type":"prometheus","uid":"${datasource}"}`
			if !portableSource(p.DataSource) {
				r.add(fix, "its data source is %s", describe(p.DataSource))
				return
			}
			for i := range p.Targets {
				if source := p.Targets[i].DataSource; source != (DataSource{}) && !portableSource(source) {
					r.target = &p.Targets[i]
					r.add(fix, "its data source is %s", describe(source))
				}
			}
			r.target = nil
		}},
		{Name: "panel-title-description-rule", Why: "a figure that nobody explains is guessed at", panel: func(_ *Dashboard, p *Panel, r *report) {
			if p.Title == "" {
				r.add("give it a title", "it has no title")
			}
			if p.Description == "" && p.Type != "row" && p.Type != "text" {
				r.add("say what it shows and what to do about it", "it has no description")
			}
		}},
		{Name: "panel-units-rule", Why: "a number without a unit is no number", panel: func(_ *Dashboard, p *Panel, r *report) {
			if showsData(p) && p.Unit == "" {
				r.add("set one; \"none\" for a plain count", "it has no unit")
			}
		}},
		{Name: "panel-no-targets-rule", Why: "a panel without a query is always empty", panel: func(_ *Dashboard, p *Panel, r *report) {
			if showsData(p) && len(p.Targets) == 0 {
				r.add("add a query or remove the panel", "it has no query")
			}
		}},
	}
}

func portableSource(s DataSource) bool {
	return strings.HasPrefix(s.UID, "$") || strings.HasPrefix(s.UID, "-- ")
}

func describe(s DataSource) string {
	if s == (DataSource{}) {
		return "Grafana's default one"
	}
	return "fixed to " + strings.TrimSpace(s.Type+" "+s.UID)
}
