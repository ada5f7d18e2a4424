package stack

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	helmchart "helm.sh/helm/v3/pkg/chart"
)

var loadedOnce = func() func(testing.TB) *Package {
	var once sync.Once
	var p *Package
	return func(t testing.TB) *Package {
		once.Do(func() { p = loaded(t) })
		return p
	}
}()

func TestCheckKeys(t *testing.T) {
	for _, test := range []struct {
		name, values string
		unknown      []UnknownKey
	}{
		{"nothing", ``, nil},
		{"defaults of the chart and its subcharts", testFiles()["values.yaml"], nil},
		{"in an empty map", `operator: {storage: {a: {b: c}}}`, nil},
		{"in a free-form map", `operator: {resources: {requests: {cpu: 1}}}`, nil},
		{"in a map that is rendered whole", `operator: {whole: {two: 2}}`, nil},
		{"in a comment", `operator: {retentionSpec: {size: 1, other: 2}, customFilter: x}`, nil},
		{"read by a template", `operator: {secretSwitch: true}`, nil},
		{"read through a variable", `operator: {viaVariable: 1}`, nil},
		{"read through index", `operator: {viaIndex: 1}`, nil},
		{"read by a named template", `operator: {serviceMonitor: {sampleLimit: 5, nested: {depth: 1}}}`, nil},
		{"read by a template in the values", `{mine: {a: 1}, extraManifests: ["{{ .Values.mine.a }}"]}`, nil},
		{"the subchart's", `lamp: {enabled: true, global: {a: 1}, brightness: {lumen: 1}, labels: {x: y}}`, nil},
		{"a condition", `lampEnabled: false`, nil},
		{"global", `global: {a: {b: 1}}`, nil},
		{"null", `operator: null`, nil},
		{"a list where a map was", `operator: [a, {b: c}]`, nil},
		{"a map where a text was", `operator: {replicas: {a: 1}}`, nil},

		{"typo", `operater: {replicas: 1}`, []UnknownKey{{"operater", "operator"}}},
		{"swapped letters", `operator: {serviceMonitor: {itnerval: 1s}}`, []UnknownKey{{"operator.serviceMonitor.itnerval", "operator.serviceMonitor.interval"}}},
		{"letter case", `operator: {servicemonitor: {}}`, []UnknownKey{{"operator.servicemonitor", "operator.serviceMonitor"}}},
		{"a level too high", `operator: {scrapeTimeout: 5s}`, []UnknownKey{{"operator.scrapeTimeout", "operator.serviceMonitor.scrapeTimeout"}}},
		{"at the top", `lumen: 5`, []UnknownKey{{"lumen", "lamp.brightness.lumen"}}},
		{"like nothing", `operator: {zebra: 1}`, []UnknownKey{{"operator.zebra", ""}}},
		{"in the subchart", `lamp: {brightness: {lumens: 1}}`, []UnknownKey{{"lamp.brightness.lumens", "lamp.brightness.lumen"}}},
		{"in a text of the defaults", `operator: {notAKey: 1}`, []UnknownKey{{"operator.notAKey", ""}}},
		{"with a dot", `operator: {a.b: 1}`, []UnknownKey{{`operator.a\.b`, ""}}},
		{"two of them", `{zebra: 1, lamp: {color: blue}}`, []UnknownKey{{"lamp.color", "lamp.colour"}, {"zebra", ""}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := ParseValues([]byte(test.values), test.name)
			if err != nil {
				t.Fatal(err)
			}
			err = loadedOnce(t).CheckKeys(v)
			var got *UnknownKeysError
			if err != nil && !errors.As(err, &got) {
				t.Fatal(err)
			}
			var keys []UnknownKey
			if got != nil {
				keys = got.Keys
			}
			if diff := cmp.Diff(test.unknown, keys); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownKeysMessage(t *testing.T) {
	err := &UnknownKeysError{Chart: testChart(), Keys: []UnknownKey{{"a.b", "a.c"}}}
	if got, want := err.Error(), "chart beacon 1.4.0 does not know the key a.b (did you mean a.c?); it would ignore what is set there. Correct the values, or pass --skip-key-check if the chart does read it"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	err.Keys = append(err.Keys, UnknownKey{Path: "d"})
	want := `chart beacon 1.4.0 does not know these keys:
  a.b (did you mean a.c?)
  d
It would ignore what is set there. Correct the values, or pass --skip-key-check if the chart does read them`
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCommentedKeys(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"none", "a: 1\n# a comment\n", ""},
		{"top level", "# a: 1\n", "a"},
		{"without a space", "b:\n  #a: 1\n", "b.a"},
		{"sibling", "b:\n  c: 1\n  # a: 1\nd: 2\n", "b.a"},
		{"nested in the comment", "b:\n  # a:\n  #   x: 1\n  #   y:\n  #     z: 1\n  # w: 1\n", "b.a b.a.x b.a.y b.a.y.z b.w"},
		{"below an empty map", "b:\n  c: {}\n  #  x: 1\n", "b.c.x"},
		{"hash in the first column", "b:\n  c:\n    d: 1\n#   x: 1\n", "b.x b.c.x"},
		{"two hashes", "b:\n  ## a: 1\n", "b.a"},
		{"quoted", "b:\n  # \"a/b.c\": 1\n  # 'd': 1\n", "b.a/b.c b.d"},
		{"address", "# https://example.com\n", ""},
		{"list", "# - a\n# - b: 1\n", ""},
		{"block text", "b: |\n  # a: 1\n\n  c: 1\n  # d: 1\n# e: 1\n", "e"},
		{"block text in a list", "b:\n  - |-\n    # a: 1\n  # c: 1\n", "b.c"},
		{"deeper again", "a:\n  b:\n    c: 1\n  # d: 1\ne:\n  # f: 1\n", "a.d e.f"},
		{"windows", "a:\r\n  # b: 1\r\n", "a.b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, path := range commentedKeys([]byte(test.text)) {
				got = append(got, strings.Join(path, "."))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"interval", "itnerval", 1}, {"kitten", "sitting", 3}, {"größe", "grösse", 2}} {
		if got := editDistance(test.a, test.b); got != test.want || got != editDistance(test.b, test.a) {
			t.Errorf("%s to %s: %d, want %d both ways", test.a, test.b, got, test.want)
		}
	}
}

func FuzzCommentedKeys(f *testing.F) {
	f.Add([]byte(testFiles()["values.yaml"]))
	for _, seed := range []string{"#", "# a:", "a:\n#   b: |\n# c: 1", "a: >-\n\n  # x: 1\nb:\n", "#\ta: 1", "  # \"\": 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, path := range commentedKeys(data) {
			if len(path) == 0 || slices.Contains(path, "") {
				t.Errorf("an empty key: %q", path)
			}
			for _, key := range path {
				if !strings.Contains(string(data), key) {
					t.Errorf("key %q is not in the text", key)
				}
			}
		}
	})
}

func FuzzTemplates(f *testing.F) {
	files := testFiles()
	f.Add(files["templates/all.yaml"])
	f.Add(files["templates/_helpers.tpl"])
	for _, seed := range []string{"{{", "{{ index .Values }}", "{{ get .Values.a }}", `{{ define "a" }}{{ include "a" .Values.x }}{{ end }}{{ template "a" .Values.y }}`, "{{ (.Values.a).b }}", "{{ $x := .Values.a }}{{ $x.b.c }}", "{{ $.Values.a | get }}", "{{ range $i, $e := .Values.a }}{{ $e.x }}{{ end }}"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		learnTemplates(&keyTree{}, []*helmchart.File{{Name: "fuzz", Data: []byte(text)}})
	})
}
