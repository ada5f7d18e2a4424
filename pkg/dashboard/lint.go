package dashboard

import (
	"cmp"
	"fmt"
	"slices"
)

// Finding is one place where a dashboard departs from the conventions.
type Finding struct {
	Rule    string `json:"rule"`
	Panel   string `json:"panel,omitempty"`   // its title; "" for the whole dashboard
	PanelID int    `json:"panelId,omitempty"` // as in the file
	Query   string `json:"query,omitempty"`   // refId of the query
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
}

func (f Finding) String() string {
	where := ""
	if f.Panel != "" {
		where = fmt.Sprintf("panel %q", f.Panel)
		if f.Query != "" {
			where += " query " + f.Query
		}
		where += ": "
	}
	return fmt.Sprintf("%s%s (%s); %s", where, f.Problem, f.Rule, f.Fix)
}

// Rule is one convention.
type Rule struct {
	Name string
	Why  string

	dashboard func(*Dashboard, *report)
	panel     func(*Dashboard, *Panel, *report)
	query     func(*Dashboard, *Panel, *Target, *report)
}

// Rules are all conventions, in the order in which they are checked. Most have
// the meaning of the rules of the same name in Grafana's own dashboard-linter.
func Rules() []Rule {
	return slices.Concat(dashboardRules(), panelRules(), queryRules())
}

// Lint checks a dashboard against all rules. The findings are in the order of
// the panels in the file, those of the whole dashboard first.
func Lint(d *Dashboard) []Finding {
	r := &report{}
	for _, rule := range Rules() {
		r.rule = rule.Name
		if rule.dashboard != nil {
			r.panel, r.target = nil, nil
			rule.dashboard(d, r)
		}
		for i := range d.Panels {
			p := &d.Panels[i]
			r.at, r.panel, r.target = i+1, p, nil
			if rule.panel != nil {
				rule.panel(d, p, r)
			}
			for k := range p.Targets {
				if rule.query != nil && isPromQL(p, &p.Targets[k]) {
					r.target = &p.Targets[k]
					rule.query(d, p, r.target, r)
				}
			}
		}
		r.at = 0
	}
	slices.SortStableFunc(r.found, func(a, b located) int { return cmp.Compare(a.at, b.at) })
	findings := make([]Finding, len(r.found))
	for i, f := range r.found {
		findings[i] = f.Finding
	}
	return findings
}

// isPromQL tells whether a query goes to a Prometheus.
func isPromQL(p *Panel, t *Target) bool {
	source := t.DataSource
	if source == (DataSource{}) {
		source = p.DataSource
	}
	return t.Expr != "" && (source.Type == "" || source.Type == prometheusType)
}

type located struct {
	Finding
	at int
}

// report collects findings for the rule, panel and query at hand.
type report struct {
	rule   string
	at     int
	panel  *Panel
	target *Target
	found  []located
}

func (r *report) add(fix, problem string, args ...any) {
	f := Finding{Rule: r.rule, Problem: fmt.Sprintf(problem, args...), Fix: fix}
	at := 0
	if r.panel != nil {
		f.Panel, f.PanelID, at = r.panel.Title, r.panel.ID, r.at
		if f.Panel == "" {
			f.Panel = fmt.Sprintf("(%s without a title, id %d)", r.panel.Type, r.panel.ID)
		}
	}
	if r.target != nil {
		f.Query = r.target.RefID
	}
	r.found = append(r.found, located{f, at})
}
