package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Clean writes a dashboard as it is kept in a repository and provisioned: no
// ids and versions of one Grafana's database, no state of one person's session,
// data sources by variable, not editable in place, keys in alphabetical order,
// two spaces of indent. Cleaning what is clean changes nothing.
func Clean(data []byte) ([]byte, error) {
	// Parse refuses what would be cleaned into nonsense.
	d, err := Parse(data)
	if err != nil {
		return nil, err
	}
	tree := d.tree
	c := &cleaner{inputs: prometheusInputs(tree["__inputs"])}
	for _, key := range []string{"id", "version", "iteration", "gnetId", "__inputs", "__requires", "__elements"} {
		delete(tree, key)
	}
	tree["editable"] = false
	c.references(tree)
	c.panels(tree["panels"])
	c.variables(tree)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(tree); err != nil {
		return nil, fmt.Errorf("write the cleaned dashboard: %w", err)
	}
	return out.Bytes(), nil
}

const prometheusType = "prometheus"

// dataSourceVariable is the variable that queries take their data source from.
const dataSourceVariable = "datasource"

type cleaner struct {
	inputs []string // that stand for a Prometheus in a dashboard exported for sharing
	// usesVariable is set when a data source is taken from the variable.
	usesVariable bool
}

// prometheusInputs are the names of the inputs that ask for a Prometheus.
func prometheusInputs(inputs any) []string {
	var names []string
	list, _ := inputs.([]any)
	for _, item := range list {
		if input, ok := item.(map[string]any); ok && input["pluginId"] == prometheusType {
			if name, ok := input["name"].(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// references makes every reference to a Prometheus portable.
func (c *cleaner) references(node any) {
	switch v := node.(type) {
	case map[string]any:
		for key, child := range v {
			if key == "datasource" {
				if portable, ok := c.portable(child); ok {
					v[key] = portable
					continue
				}
			}
			c.references(child)
		}
	case []any:
		for _, child := range v {
			c.references(child)
		}
	}
}

// portable is a reference by variable instead of ref, if ref is a Prometheus of
// one Grafana.
func (c *cleaner) portable(ref any) (any, bool) {
	switch v := ref.(type) {
	case string: // by name, as Grafana wrote it before version 8.3
		if !c.isPrometheus(v) && !strings.Contains(strings.ToLower(v), prometheusType) {
			return nil, false
		}
	case map[string]any:
		uid, _ := v["uid"].(string)
		if v["type"] != prometheusType && (v["type"] != nil || !c.isPrometheus(uid)) {
			return nil, false
		}
	default:
		return nil, false
	}
	c.usesVariable = true
	return map[string]any{"type": prometheusType, "uid": "${" + dataSourceVariable + "}"}, true
}

// isPrometheus tells whether a reference is the variable or an input that
// stands for a Prometheus.
func (c *cleaner) isPrometheus(ref string) bool {
	names := Uses(ref)
	return len(names) == 1 && (names[0] == dataSourceVariable || slices.Contains(c.inputs, names[0]))
}

// panels drops what Grafana writes about itself.
func (c *cleaner) panels(list any) {
	panels, _ := list.([]any)
	for _, p := range panels {
		if panel, ok := p.(map[string]any); ok {
			delete(panel, "pluginVersion")
			c.panels(panel["panels"])
		}
	}
}

// variables drops values that somebody chose, and options, which Grafana looks
// up again. All stays chosen where there is an All: without a choice Grafana
// would take the first option.
func (c *cleaner) variables(tree map[string]any) {
	templating, _ := tree["templating"].(map[string]any)
	list, _ := templating["list"].([]any)
	known := false
	for _, item := range list {
		v, ok := item.(map[string]any)
		if !ok {
			continue
		}
		known = known || v["name"] == dataSourceVariable
		kind, _ := v["type"].(string)
		switch kind {
		case "query", "datasource", "custom", "interval", "textbox":
		default:
			continue
		}
		v["current"] = map[string]any{}
		if all, _ := v["includeAll"].(bool); all {
			v["current"] = map[string]any{"text": "All", "value": "$__all"}
			if multi, _ := v["multi"].(bool); multi {
				v["current"] = map[string]any{"text": []any{"All"}, "value": []any{"$__all"}}
			}
		}
		v["options"] = []any{}
	}
	if known || !c.usesVariable {
		return
	}
	if templating == nil {
		templating = map[string]any{}
		tree["templating"] = templating
	}
	templating["list"] = append([]any{map[string]any{
		"current": map[string]any{}, "hide": json.Number("0"), "includeAll": false, "label": "Data source", "multi": false,
		"name": dataSourceVariable, "options": []any{}, "query": prometheusType, "refresh": json.Number("1"), "regex": "", "type": "datasource",
	}}, list...)
}
