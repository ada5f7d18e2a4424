package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Dashboard is what the checks need of a dashboard in classic JSON (the model
// with panels and gridPos, schemaVersion 42 in Grafana 12 and 13).
type Dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Editable      bool // true where the file doesn't say
	Shared        bool // made by "export for sharing": has __inputs to be filled in by hand
	Variables     []Variable
	Panels        []Panel // rows, and what is in collapsed rows, included

	tree map[string]any
}

// Variable is one template variable.
type Variable struct {
	Name  string
	Type  string // query, datasource, custom, …
	Query string
	Regex string

	AllValue   string // what stands for All, instead of the list of all options
	IncludeAll bool
}

// Panel is one panel or row.
type Panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	DataSource  DataSource
	Unit        string
	Interval    string // smallest $__interval
	Grid        Grid
	Nested      bool // in a collapsed row, whose positions are its own
	Targets     []Target
}

// Grid is a panel's place on the grid of 24 columns.
type Grid struct{ X, Y, W, H int }

// Target is one query of a panel.
type Target struct {
	RefID      string
	Expr       string // PromQL with Grafana's variables in it
	Interval   string // smallest step, and the base of $__rate_interval
	DataSource DataSource
	Hidden     bool
}

// DataSource is a reference to a data source; the zero value is Grafana's
// default one.
type DataSource struct{ Type, UID string }

// UnmarshalJSON reads a reference by uid, or an old one by name.
func (d *DataSource) UnmarshalJSON(data []byte) error {
	var name string
	if json.Unmarshal(data, &name) == nil {
		*d = DataSource{UID: name}
		return nil
	}
	var ref struct{ Type, UID string }
	if err := json.Unmarshal(data, &ref); err != nil {
		return err
	}
	*d = DataSource{ref.Type, ref.UID}
	return nil
}

type wire struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Editable      *bool  `json:"editable"`
	Templating    struct {
		List []wireVariable `json:"list"`
	} `json:"templating"`
	Panels []wirePanel `json:"panels"`
}

type wireVariable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Query      json.RawMessage `json:"query"`
	Regex      string          `json:"regex"`
	AllValue   string          `json:"allValue"`
	IncludeAll bool            `json:"includeAll"`
}

type wirePanel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	DataSource  DataSource `json:"datasource"`
	Interval    string     `json:"interval"`
	GridPos     Grid       `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID      string     `json:"refId"`
		Expr       string     `json:"expr"`
		Interval   string     `json:"interval"`
		DataSource DataSource `json:"datasource"`
		Hide       bool       `json:"hide"`
	} `json:"targets"`
	Panels []wirePanel `json:"panels"`
}

// Parse reads a dashboard in classic JSON. It refuses what is JSON but no such
// dashboard, and says what it is instead.
func Parse(data []byte) (*Dashboard, error) {
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", position(data, err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows after the JSON object of the dashboard")
	}
	if err := classic(tree); err != nil {
		return nil, err
	}
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("it is not a dashboard in classic JSON: %w", position(data, err))
	}
	if w.Title == "" {
		return nil, errors.New("it has no title, so it is not a dashboard")
	}
	_, shared := tree["__inputs"]
	d := &Dashboard{UID: w.UID, Title: w.Title, SchemaVersion: w.SchemaVersion, Editable: w.Editable == nil || *w.Editable, Shared: shared, tree: tree}
	for _, v := range w.Templating.List {
		d.Variables = append(d.Variables, Variable{Name: v.Name, Type: v.Type, Query: queryText(v.Query), Regex: v.Regex, AllValue: v.AllValue, IncludeAll: v.IncludeAll})
	}
	d.addPanels(w.Panels, false)
	return d, nil
}

// classic tells a classic dashboard from the other things that Grafana writes
// as JSON.
func classic(tree map[string]any) error {
	_, panels := tree["panels"]
	if _, ok := tree["dashboard"].(map[string]any); ok && !panels {
		return errors.New("it is an answer of Grafana's API; the dashboard is its field \"dashboard\"")
	}
	if _, ok := tree["apiVersion"]; ok && !panels {
		return errors.New("it is a dashboard in Grafana's newer resource format; export it in classic format")
	}
	if _, ok := tree["rows"]; ok && !panels {
		return errors.New("it has rows instead of panels, as before Grafana 5; open and save it in a current Grafana first")
	}
	return nil
}

func (d *Dashboard) addPanels(list []wirePanel, nested bool) {
	for _, w := range list {
		p := Panel{ID: w.ID, Type: w.Type, Title: w.Title, Description: w.Description, DataSource: w.DataSource,
			Unit: w.FieldConfig.Defaults.Unit, Interval: w.Interval, Grid: w.GridPos, Nested: nested}
		for _, t := range w.Targets {
			p.Targets = append(p.Targets, Target{RefID: t.RefID, Expr: t.Expr, Interval: t.Interval, DataSource: t.DataSource, Hidden: t.Hide})
		}
		d.Panels = append(d.Panels, p)
		d.addPanels(w.Panels, true)
	}
}

// queryText is a variable's query, which is a text or an object with one.
func queryText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct {
		Query string `json:"query"`
	}
	_ = json.Unmarshal(raw, &object) // other data sources have other objects
	return object.Query
}

// position adds the line to an error of encoding/json.
func position(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(0)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("it ends in the middle")
	default:
		return err
	}
	before := data[:min(max(offset, 0), int64(len(data)))]
	if kind != nil {
		return fmt.Errorf("line %d: %s can't be a %s", bytes.Count(before, []byte("\n"))+1, strings.TrimPrefix(kind.Field, "."), kind.Value)
	}
	return fmt.Errorf("line %d: %w", bytes.Count(before, []byte("\n"))+1, err)
}
