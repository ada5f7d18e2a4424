package harness

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
)

// Viewer fills in a dashboard's variables and runs its queries as Grafana does
// when somebody opens it with All chosen everywhere.
type Viewer struct {
	t          testing.TB
	prometheus promv1.API
	since      time.Time // begin of what is shown
	values     map[string]string
}

// NewViewer opens a dashboard: what is shown begins at since.
func NewViewer(t testing.TB, prometheus promv1.API, d *dashboard.Dashboard, since time.Time) *Viewer {
	t.Helper()
	v := &Viewer{t: t, prometheus: prometheus, since: since, values: map[string]string{"__interval": "1s"}}
	for _, variable := range d.Variables {
		if variable.Type != "query" {
			continue
		}
		options := v.options(variable)
		switch {
		case !variable.IncludeAll && len(options) > 0:
			v.values[variable.Name] = options[0]
		case variable.AllValue != "":
			v.values[variable.Name] = variable.AllValue
		default:
			for i := range options {
				options[i] = regexp.QuoteMeta(options[i])
			}
			v.values[variable.Name] = "(" + strings.Join(options, "|") + ")"
		}
		t.Logf("$%s: %d options, %s", variable.Name, len(options), v.values[variable.Name])
		// There is no label cluster here, as in most clusters.
		if len(options) == 0 && variable.Name != "cluster" {
			t.Errorf("the variable %s of %s has no options", variable.Name, d.UID)
		}
	}
	var seconds int
	if _, err := fmt.Sscan(v.values["resolution"], &seconds); err != nil || seconds < 1 || seconds > 2 {
		t.Fatalf("the measured scrape interval is %q s; the sandbox scrapes every second or two", v.values["resolution"])
	}
	v.values["__rate_interval"] = fmt.Sprintf("%ds", 4*seconds)
	return v
}

func (v *Viewer) fill(query string) string {
	return dashboard.Interpolate(query, func(name, _ string) (string, bool) {
		value, ok := v.values[name]
		if !ok {
			v.t.Errorf("%s uses $%s, which has no value", query, name)
		}
		return value, ok
	})
}

// options runs a variable's query: label_values(selector, label) or
// query_result(expression), and what its regular expression takes from that.
func (v *Viewer) options(variable dashboard.Variable) []string {
	query := v.fill(variable.Query)
	var found []string
	if inner, ok := strings.CutPrefix(query, "label_values("); ok {
		i := strings.LastIndexByte(inner, ',')
		selector, label := inner[:i], strings.TrimSuffix(strings.TrimSpace(inner[i+1:]), ")")
		values, _, _, err := v.prometheus.LabelValues(v.t.Context(), label, []string{selector}, time.Now().Add(-time.Minute), time.Now())
		if err != nil {
			v.t.Fatalf("$%s: %s: %v", variable.Name, query, err)
		}
		for _, value := range values {
			found = append(found, string(value))
		}
	} else {
		expression := strings.TrimSuffix(strings.TrimPrefix(query, "query_result("), ")")
		result, _, _, err := v.prometheus.Query(v.t.Context(), expression, time.Now())
		if err != nil {
			v.t.Fatalf("$%s: %s: %v", variable.Name, expression, err)
		}
		for _, s := range result.(model.Vector) {
			found = append(found, fmt.Sprintf("%s %s %d", s.Metric, s.Value, s.Timestamp))
		}
	}
	if variable.Regex == "" {
		return found
	}
	expression := regexp.MustCompile(strings.Trim(variable.Regex, "/"))
	var options []string
	for _, text := range found {
		if m := expression.FindStringSubmatch(text); m != nil {
			value := m[1]
			if i := expression.SubexpIndex("value"); i > 0 {
				value = m[i]
			}
			if !slices.Contains(options, value) {
				options = append(options, value)
			}
		}
	}
	return options
}

// Numbers are what a query of a panel shows.
func (v *Viewer) Numbers(expr string) (numbers []float64, err error) {
	query := v.fill(expr)
	result, _, _, err := v.prometheus.QueryRange(v.t.Context(), query, promv1.Range{Start: v.since, End: time.Now(), Step: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	for _, series := range result.(model.Matrix) {
		for _, p := range series.Values {
			if x := float64(p.Value); !math.IsNaN(x) && !math.IsInf(x, 0) {
				numbers = append(numbers, x)
			}
		}
	}
	return numbers, nil
}

// Empty lists the queries of the dashboard that give no number. highest receives
// the largest number of each that has some.
func (v *Viewer) Empty(d *dashboard.Dashboard, highest map[string]float64) []string {
	t := v.t
	t.Helper()
	var empty []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			numbers, err := v.Numbers(target.Expr)
			if err != nil {
				t.Errorf("%s, panel %q, query %s: %v", d.UID, p.Title, target.RefID, err)
				continue
			}
			if len(numbers) == 0 {
				empty = append(empty, fmt.Sprintf("%s %s", p.Title, target.RefID))
				t.Logf("%s, panel %q, query %s has no data:\n%s", d.UID, p.Title, target.RefID, v.fill(target.Expr))
				continue
			}
			highest[fmt.Sprintf("%s, panel %q, query %s", d.UID, p.Title, target.RefID)] = slices.Max(numbers)
			if low, high := slices.Min(numbers), slices.Max(numbers); p.Unit == "percentunit" && (low < 0 || high > 1.0001) {
				t.Errorf("%s, panel %q, query %s: a share between %g and %g", d.UID, p.Title, target.RefID, low, high)
			}
		}
	}
	return empty
}
