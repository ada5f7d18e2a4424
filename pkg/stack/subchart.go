package stack

import (
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
)

// subchart is one dependency of a chart under the name that its values have.
type subchart struct {
	name  string
	chart *helmchart.Chart
	// declared is nil for a chart that only lies in charts/.
	declared *helmchart.Dependency
}

// subcharts pairs what Chart.yaml declares with what the package holds: a
// chart may appear twice under two aliases.
func subcharts(c *helmchart.Chart) []subchart {
	var all []subchart
	paired := map[*helmchart.Chart]bool{}
	for _, dep := range c.Metadata.Dependencies {
		for _, sub := range c.Dependencies() {
			if sub.Name() != dep.Name {
				continue
			}
			name := dep.Name
			if dep.Alias != "" {
				name = dep.Alias
			}
			paired[sub] = true
			all = append(all, subchart{name: name, chart: sub, declared: dep})
			break
		}
	}
	for _, sub := range c.Dependencies() {
		if !paired[sub] {
			all = append(all, subchart{name: sub.Name(), chart: sub})
		}
	}
	return all
}

// coalesce gives the values that a chart's templates see, its subcharts' under
// their names: what is given wins over the parent chart's, which wins over the
// subchart's own; a null that is given removes a default.
func coalesce(c *helmchart.Chart, given Values) Values {
	values := over(c.Values, given)
	for _, sub := range subcharts(c) {
		below, _ := values[sub.name].(map[string]any)
		values[sub.name] = map[string]any(coalesce(sub.chart, below))
	}
	return values
}

// over lays given over defaults; a null takes a default away.
func over(defaults, given map[string]any) Values {
	merged := make(Values, len(defaults)+len(given))
	for k, v := range defaults {
		merged[k] = clone(v)
	}
	for k, v := range given {
		below, hasDefault := merged[k]
		table, isTable := v.(map[string]any)
		switch {
		case v == nil && hasDefault:
			delete(merged, k)
		case isTable:
			belowTable, _ := below.(map[string]any)
			merged[k] = map[string]any(over(belowTable, table))
		default:
			merged[k] = clone(v)
		}
	}
	return merged
}

// eachEnabled visits a chart and the subcharts that its coalesced values enable.
func eachEnabled(c *helmchart.Chart, values map[string]any, visit func(*helmchart.Chart) error) error {
	if err := visit(c); err != nil {
		return err
	}
	for _, sub := range subcharts(c) {
		if sub.declared != nil && !enabled(sub.declared, values) {
			continue
		}
		below, _ := values[sub.name].(map[string]any)
		if err := eachEnabled(sub.chart, below, visit); err != nil {
			return err
		}
	}
	return nil
}

// enabled follows Helm's rules: the first condition that is set decides, else
// the tags (one true suffices, else one false disables), else it is enabled.
func enabled(dep *helmchart.Dependency, values map[string]any) bool {
	for condition := range strings.SplitSeq(dep.Condition, ",") {
		if on, ok := lookUp(values, strings.Split(strings.TrimSpace(condition), ".")).(bool); ok {
			return on
		}
	}
	tags, _ := values["tags"].(map[string]any)
	result := true
	for _, tag := range dep.Tags {
		on, ok := tags[tag].(bool)
		if ok && on {
			return true
		}
		if ok {
			result = false
		}
	}
	return result
}

// lookUp is the value at a path; nil where there is none.
func lookUp(values map[string]any, path []string) any {
	var at any = values
	for _, name := range path {
		table, _ := at.(map[string]any)
		at = table[name]
	}
	return at
}
