package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
)

// UnknownKey is a key of given values that the chart has no use for.
type UnknownKey struct {
	Path       string // as --set has it: dots between keys
	Suggestion string // the path of a known key that may be meant; "" for none
}

// UnknownKeysError names all unknown keys of some values. A chart without a
// schema would ignore them silently.
type UnknownKeysError struct {
	Chart Chart
	Keys  []UnknownKey
}

func (e *UnknownKeysError) Error() string {
	const format = "chart %s does not know %s would ignore what is set there. Correct the values, or pass --skip-key-check if the chart does read %s"
	if len(e.Keys) == 1 {
		return fmt.Sprintf(format, e.Chart, "the key "+e.Keys[0].String()+"; it", "it")
	}
	list := "these keys:"
	for _, k := range e.Keys {
		list += "\n  " + k.String()
	}
	return fmt.Sprintf(format, e.Chart, list+"\nIt", "them")
}

func (k UnknownKey) String() string {
	if k.Suggestion == "" {
		return k.Path
	}
	return fmt.Sprintf("%s (did you mean %s?)", k.Path, k.Suggestion)
}

// CheckKeys refuses keys that the chart can't know: those that neither its
// default values, nor the comments there, nor its templates mention. Maps that
// are empty by default or that templates hand on whole take any key; lists are
// not looked into. The error is an *UnknownKeysError.
func (p *Package) CheckKeys(v Values) error {
	known := knownKeys(p.chart)
	learnGiven(known, p.chart, v)
	var unknown []UnknownKey
	known.check(v, nil, func(path []string, among *keyTree) {
		unknown = append(unknown, UnknownKey{Path: joinKeys(path), Suggestion: suggest(known, among, path)})
	})
	if len(unknown) == 0 {
		return nil
	}
	return &UnknownKeysError{Chart: p.Chart, Keys: unknown}
}

// keyTree holds the keys that may be set, level by level.
type keyTree struct {
	below map[string]*keyTree
	open  bool // anything goes here and below
}

// at is the place of a path, made if it is not there.
func (t *keyTree) at(path ...string) *keyTree {
	for _, name := range path {
		next := t.below[name]
		if next == nil {
			next = &keyTree{}
			t.put(name, next)
		}
		t = next
	}
	return t
}

func (t *keyTree) put(name string, key *keyTree) {
	if t.below == nil {
		t.below = map[string]*keyTree{}
	}
	t.below[name] = key
}

// find is the place of a path; nil if it is not there.
func (t *keyTree) find(path []string) *keyTree {
	for _, name := range path {
		if t = t.below[name]; t == nil {
			return nil
		}
	}
	return t
}

// addValues learns from defaults. What is no filled map takes anything: the
// chart doesn't say what belongs there.
func (t *keyTree) addValues(defaults map[string]any) {
	for name, value := range defaults {
		key := t.at(name)
		if table, ok := value.(map[string]any); ok && len(table) > 0 && !freeForm(name) {
			key.addValues(table)
		} else {
			key.open = true
		}
	}
}

// freeForm names are of maps whose keys are the user's or Kubernetes' own,
// whichever of them the defaults show.
func freeForm(name string) bool {
	name = strings.ToLower(name)
	for _, suffix := range []string{"labels", "annotations", "selector", "affinity", "resources", "securitycontext", "env"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// knownKeys gathers the keys of a chart and its subcharts.
func knownKeys(c *helmchart.Chart) *keyTree {
	known := &keyTree{}
	known.addValues(c.Values)
	for _, sub := range subcharts(c) {
		// The parent's defaults for a subchart are settings, not its keys.
		own := knownKeys(sub.chart)
		if set, ok := c.Values[sub.name].(map[string]any); ok {
			own.addValues(set)
		}
		known.put(sub.name, own)
		own.at("enabled").open = true
		if sub.declared != nil {
			for condition := range strings.SplitSeq(sub.declared.Condition, ",") {
				if condition = strings.TrimSpace(condition); condition != "" {
					known.at(strings.Split(condition, ".")...).open = true
				}
			}
			if len(sub.declared.Tags) > 0 {
				known.at("tags").open = true
			}
		}
	}
	known.at("global").open = true
	for _, f := range c.Raw {
		if f.Name == "values.yaml" {
			for _, path := range commentedKeys(f.Data) {
				// An example only: more may go there than it shows.
				if known.find(path) == nil {
					known.at(path...).open = true
				}
			}
		}
	}
	learnTemplates(known, c.Templates)
	known.openLeaves()
	return known
}

// learnGiven adds the keys that templates within the values read: charts have
// texts, such as extra manifests, that they run as templates.
func learnGiven(known *keyTree, c *helmchart.Chart, given map[string]any) {
	isSubchart := map[string]*helmchart.Chart{}
	for _, sub := range subcharts(c) {
		isSubchart[sub.name] = sub.chart
	}
	var texts []*helmchart.File
	for name, value := range given {
		below, isTable := value.(map[string]any)
		if sub := isSubchart[name]; sub != nil && isTable {
			learnGiven(known.at(name), sub, below)
			continue
		}
		eachText(value, func(text string) {
			if strings.Contains(text, "{{") {
				texts = append(texts, &helmchart.File{Name: fmt.Sprint(name, len(texts)), Data: []byte(text)})
			}
		})
	}
	learnTemplates(known, texts)
	known.openLeaves()
}

func eachText(value any, visit func(string)) {
	switch v := value.(type) {
	case string:
		visit(v)
	case []any:
		for _, e := range v {
			eachText(e, visit)
		}
	case map[string]any:
		for name, e := range v {
			visit(name)
			eachText(e, visit)
		}
	}
}

// openLeaves: of a key that only templates mention the shape is not known.
func (t *keyTree) openLeaves() {
	if len(t.below) == 0 {
		t.open = true
	}
	for _, key := range t.below {
		key.openLeaves()
	}
}

// check reports each key of values that the tree lacks, in order.
func (t *keyTree) check(values map[string]any, path []string, unknown func(path []string, among *keyTree)) {
	if t.open {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := append(slices.Clone(path), name)
		key := t.below[name]
		if key == nil {
			unknown(at, t)
			continue
		}
		if table, ok := values[name].(map[string]any); ok {
			key.check(table, at, unknown)
		}
	}
}

// suggest looks for what may be meant by an unknown key: a similar key beside
// it, else the same key elsewhere in the same part of the chart.
func suggest(root, among *keyTree, path []string) string {
	parent, name := path[:len(path)-1], path[len(path)-1]
	best, distance := "", 1+max(1, len(name)/3)
	for _, known := range slices.Sorted(maps.Keys(among.below)) {
		if d := editDistance(strings.ToLower(name), strings.ToLower(known)); d < distance {
			best, distance = known, d
		}
	}
	if best != "" {
		return joinKeys(append(slices.Clone(parent), best))
	}
	// Nearest first: below the parent, then below its parent, and so on; in
	// the whole chart only where no other key is called so.
	for depth := len(parent); depth >= 0; depth-- {
		found := findKey(root.find(parent[:depth]), name)
		if len(found) > 0 && (depth > 0 || len(found) == 1) {
			return joinKeys(append(slices.Clone(parent[:depth]), found[0]...))
		}
	}
	return ""
}

// findKey gives the paths to the keys of that name below t, shortest first.
func findKey(t *keyTree, name string) [][]string {
	type place struct {
		path []string
		tree *keyTree
	}
	var found [][]string
	for level := []place{{tree: t}}; len(level) > 0; {
		var next []place
		for _, p := range level {
			for _, key := range slices.Sorted(maps.Keys(p.tree.below)) {
				path := append(slices.Clone(p.path), key)
				if strings.EqualFold(key, name) {
					found = append(found, path)
				}
				// What is open is the user's: its keys are no more than examples.
				if below := p.tree.below[key]; !below.open {
					next = append(next, place{path, below})
				}
			}
		}
		level = next
	}
	return found
}

// joinKeys writes a path as --set has it.
func joinKeys(path []string) string {
	escaped := make([]string, len(path))
	for i, name := range path {
		escaped[i] = strings.ReplaceAll(name, ".", `\.`)
	}
	return strings.Join(escaped, ".")
}

// editDistance counts the characters to add, drop, replace or swap with their
// neighbour to make a into b.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			replace := rows[i-1][j-1]
			if x[i-1] != y[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
