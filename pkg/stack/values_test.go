package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadValues(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, map[string]string{
		"a.yaml": "x: {w: 1, z: [1, 2]}\nkept: yes\ndropped: 1\n",
		"b.json": `{"x":{"z":[3]},"dropped":null}`,
		"c.yaml": "# nothing\n",
		"secret": "line one\nline two\n",
	})
	got, err := ReadValues(
		[]string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.json"), filepath.Join(dir, "c.yaml")},
		[]string{"x.w=2,number=5", `dotted\.key.a=b`, "list[1]=last", "gone=null"},
		[]string{"text=5"},
		[]string{"file=" + filepath.Join(dir, "secret")},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := Values{
		"x":          map[string]any{"w": int64(2), "z": []any{float64(3)}},
		"kept":       true,
		"dropped":    nil,
		"number":     int64(5),
		"dotted.key": map[string]any{"a": "b"},
		"list":       []any{nil, "last"},
		"gone":       nil,
		"text":       "5",
		"file":       "line one\nline two\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadValuesRefuses(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	unpack(t, dir, map[string]string{"list.yaml": "- a\n", "word.yaml": "word", "broken.yaml": "a:\n\t- b", "twice.yaml": "a: 1\na: 2\n", "two.yaml": "a: 1\n---\nb: 2\n", "large.yaml": ""})
	if err := os.Truncate(large, maxValuesBytes+1); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name               string
		files, sets, fileS []string
		want               string
	}{
		{"standard input", []string{"-"}, nil, nil, "can't be read from standard input"},
		{"absent", []string{filepath.Join(dir, "absent.yaml")}, nil, nil, "absent.yaml: no such file"},
		{"directory", []string{dir}, nil, nil, "it is a directory"},
		{"address", []string{"https://example.com/values.yaml"}, nil, nil, "download it"},
		{"too large", []string{large}, nil, nil, "at most 4194304"},
		{"list", []string{filepath.Join(dir, "list.yaml")}, nil, nil, "its top level is a list"},
		{"word", []string{filepath.Join(dir, "word.yaml")}, nil, nil, "its top level is a text"},
		{"tab", []string{filepath.Join(dir, "broken.yaml")}, nil, nil, "broken.yaml is not a values file"},
		{"key twice", []string{filepath.Join(dir, "twice.yaml")}, nil, nil, `"a" already set`},
		{"no value", nil, []string{"password"}, nil, "--set password=… can't be used"},
		{"not a table", nil, []string{"a=1", "a.b=hunter2"}, nil, "--set a.b=…"},
		{"huge index", nil, []string{"a[99999999]=hunter2"}, nil, "--set a[99999999]=…"},
		{"file of a setting absent", nil, nil, []string{"a=" + filepath.Join(dir, "absent")}, "--set-file a=… can't be used"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadValues(test.files, test.sets, nil, test.fileS)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want …%s…", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a value: %v", err)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	a := Values{"map": map[string]any{"a": 1, "b": map[string]any{"c": 2}}, "list": []any{map[string]any{"x": 1}}, "scalar": 1, "limit": map[string]any{"cpu": 1}}
	b := Values{"map": Values{"b": Values{"d": 3}}, "list": []any{2}, "scalar": map[string]any{"now": "map"}, "limit": nil}
	c := Values{"map": map[string]any{"a": nil}}
	beforeA, beforeB := clone(a), clone(b)
	got := Merge(a, nil, b, c)
	want := Values{
		"map":    map[string]any{"a": nil, "b": map[string]any{"c": 2, "d": 3}},
		"list":   []any{2},
		"scalar": map[string]any{"now": "map"},
		"limit":  nil, // for Helm, to take the chart's default away
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got["map"].(map[string]any)["b"].(map[string]any)["c"] = "changed"
	got["scalar"].(map[string]any)["now"] = "changed"
	if diff := cmp.Diff(beforeA, clone(a)); diff != "" {
		t.Error("the first layer was changed:", diff)
	}
	if diff := cmp.Diff(beforeB, clone(b)); diff != "" {
		t.Error("the second layer was changed:", diff)
	}
	if got := Merge(Values{"limit": nil}, Values{"limit": 5}); got["limit"] != 5 {
		t.Error("a value does not win over an earlier null:", got)
	}
}

func FuzzParseValues(f *testing.F) {
	for _, seed := range []string{"", "a: 1", "a: {b: [1, null, x]}", "- 1", "a: &x {b: *x}", "? [a]\n: b", "1: 2", "a: !!binary aGk=", "<<: {a: 1}", "{\"a\": 1e400}", "a:\n  b: |\n    c"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ParseValues(data, "fuzz")
		if err != nil {
			if v != nil {
				t.Error("values beside an error")
			}
			return
		}
		if v == nil {
			t.Fatal("no values and no error")
		}
		if diff := cmp.Diff(v, Merge(v)); diff != "" && !strings.Contains(diff, "NaN") {
			t.Errorf("merging with nothing changes values: %s", diff)
		}
		_ = loadedOnce(t).CheckKeys(v)
	})
}
