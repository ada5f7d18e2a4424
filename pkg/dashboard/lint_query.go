package dashboard

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

func queryRules() []Rule {
	return []Rule{
		{Name: "target-promql-rule", Why: "a query that doesn't parse shows nothing", query: func(_ *Dashboard, _ *Panel, t *Target, r *report) {
			if _, err := ParseExpr(t.Expr); err != nil {
				r.add("correct the expression", "its expression is not PromQL: %v", err)
			}
		}},
		{Name: "target-variables", Why: "an unknown variable stays in the query as it is", query: func(d *Dashboard, _ *Panel, t *Target, r *report) {
			for _, name := range Uses(t.Expr + " " + t.Interval) {
				if !builtin(name) && !slices.ContainsFunc(d.Variables, func(v Variable) bool { return v.Name == name }) {
					r.add("add the variable or correct its name", "it uses $%s, which the dashboard doesn't have", name)
				}
			}
		}},
		{Name: "target-rate-interval-rule", Why: "a fixed range is empty with rare scrapes and blurred with frequent ones", query: fixedRanges},
		{Name: "target-counter-agg-rule", Why: "a counter's height says when the process began, not how fast it is", query: rule(rawCounters)},
		{Name: "target-agg-rule", Why: "a line per pod and container is unreadable and breaks at each restart", query: rule(unaggregatedRates)},
		{Name: "target-scope", Why: "without a variable in it, a query shows every namespace and pod", query: func(d *Dashboard, _ *Panel, t *Target, r *report) { unscoped(d, t, r) }},
		{Name: "target-denominator", Why: "a guarded denominator is wrong by far at low rates", query: rule(guardedDenominators)},
	}
}

// ParseExpr parses a query after its variables were replaced by something that
// can stand in their place.
func ParseExpr(query string) (parser.Expr, error) {
	p := parser.NewParser(parser.Options{})
	var first error
	for _, form := range parsable(query) {
		expr, err := p.ParseExpr(form)
		if err == nil {
			return expr, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// rule makes a rule of a check of the syntax tree; what doesn't parse is the
// matter of another rule.
func rule(check func(node parser.Node, path []parser.Node, r *report)) func(*Dashboard, *Panel, *Target, *report) {
	return func(_ *Dashboard, _ *Panel, t *Target, r *report) {
		expr, err := ParseExpr(t.Expr)
		if err != nil {
			return
		}
		parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
			if node != nil {
				check(node, path, r)
			}
			return nil
		})
	}
}

// fixedRanges finds rates over another range than $__rate_interval. An increase
// may be over the whole time that is shown.
func fixedRanges(_ *Dashboard, _ *Panel, t *Target, r *report) {
	const rateInterval, whole = 7919 * time.Second, 7907 * time.Second // no one's choice
	marked := Interpolate(t.Expr, func(name, _ string) (string, bool) {
		switch name {
		case "__rate_interval":
			return "7919s", true
		case "__range":
			return "7907s", true
		}
		return "", false
	})
	expr, err := ParseExpr(marked)
	if err != nil {
		return
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		call, ok := node.(*parser.Call)
		if !ok || len(call.Args) != 1 {
			return nil
		}
		over, ok := call.Args[0].(*parser.MatrixSelector)
		if !ok {
			return nil
		}
		switch name := call.Func.Name; name {
		case "rate", "irate", "increase":
			if over.Range != rateInterval && (name != "increase" || over.Range != whole) {
				r.add("use [$__rate_interval]", "%s has a range of its own", name)
			}
		}
		return nil
	})
}

// isCounter knows the usual suffixes, and the counters of Triton and of
// dcgm-exporter, whose names don't say so.
func isCounter(name string) bool {
	for _, suffix := range []string{"_total", "_bucket", "_sum"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	switch name {
	case "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
		"nv_inference_request_duration_us", "nv_inference_queue_duration_us",
		"nv_inference_compute_input_duration_us", "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us",
		"nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model", "nv_cache_hit_duration_per_model", "nv_cache_miss_duration_per_model",
		"nv_energy_consumption",
		"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
		"DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_THERMAL_VIOLATION":
		return true
	}
	return false
}

func rawCounters(node parser.Node, path []parser.Node, r *report) {
	selector, ok := node.(*parser.VectorSelector)
	if !ok || !isCounter(selector.Name) || len(path) == 0 {
		return
	}
	for i := len(path) - 1; i >= 0; i-- {
		switch p := path[i].(type) {
		case *parser.MatrixSelector, *parser.SubqueryExpr:
			return
		case *parser.AggregateExpr:
			if p.Op == parser.GROUP || p.Op == parser.COUNT {
				return // asks which series there are, not for their values
			}
		case *parser.Call:
			if p.Func.Name == "absent" || p.Func.Name == "timestamp" {
				return
			}
		}
	}
	r.add("put it in rate(…[$__rate_interval])", "%s is a counter and is used as it is", selector.Name)
}

func unaggregatedRates(node parser.Node, path []parser.Node, r *report) {
	call, ok := node.(*parser.Call)
	if !ok {
		return
	}
	switch call.Func.Name {
	case "rate", "irate", "increase":
	default:
		return
	}
	for _, p := range path {
		if _, ok := p.(*parser.AggregateExpr); ok {
			return
		}
	}
	r.add("aggregate it, as in sum by (model) (rate(…))", "%s is not aggregated", call.Func.Name)
}

// unscoped finds selectors without a matcher that comes from a variable.
func unscoped(d *Dashboard, t *Target, r *report) {
	if len(d.Variables) < 2 {
		return // there is nothing to choose but the data source
	}
	// A mark takes the place of the variables, so that the parsed matchers tell
	// which of them came from one.
	const mark = "variable"
	marked := Interpolate(t.Expr, func(name, _ string) (string, bool) { return mark, !builtin(name) })
	expr, err := ParseExpr(marked)
	if err != nil {
		return
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if ok && !slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool { return strings.Contains(m.Value, mark) }) {
			r.add(`add matchers such as namespace=~"$namespace"`, "%s is selected without any variable", selectorName(selector))
		}
		return nil
	})
}

func selectorName(s *parser.VectorSelector) string {
	if s.Name != "" {
		return s.Name
	}
	return s.String()
}

// guardedDenominators finds x / (1 + y) and x / clamp_min(y, 1).
func guardedDenominators(node parser.Node, _ []parser.Node, r *report) {
	division, ok := node.(*parser.BinaryExpr)
	if !ok || division.Op != parser.DIV {
		return
	}
	const fix = "divide by (… > 0): without traffic there is no mean, and no value is the right answer"
	switch d := bare(division.RHS).(type) {
	case *parser.BinaryExpr:
		if d.Op == parser.ADD && (isNumber(d.LHS) || isNumber(d.RHS)) {
			r.add(fix, "its denominator has a constant added to it")
		}
	case *parser.Call:
		if d.Func.Name == "clamp_min" && len(d.Args) == 2 && isNumber(d.Args[1]) {
			r.add(fix, "its denominator is held up by clamp_min")
		}
	}
}

func bare(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

func isNumber(e parser.Expr) bool {
	_, ok := bare(e).(*parser.NumberLiteral)
	return ok
}
