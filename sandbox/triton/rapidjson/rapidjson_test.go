package rapidjson

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"testing"
)

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct{ doc, want string }{
		{"", "The document is empty. at 0"},
		{"hello", "Invalid value. at 0"},
		{"{", "Missing a name for object member. at 1"},
		{`{"inputs":[{"name":"INPUT0", `, "Missing a name for object member. at 29"},
		{`{"a" 1}`, "Missing a colon after a name of object member. at 5"},
		{`[1 2]`, "Missing a comma or ] after an array element. at 3"},
		{`{"a":1 "b":2}`, "Missing a comma or } after an object member. at 7"},
		{`"abc`, "Missing a closing quotation mark in string. at 0"},
		{`"a\x"`, "Invalid escape character in string. at 2"},
		{`{} {}`, "The document root must not be followed by other values. at 3"},
		{`1.`, "Miss fraction part in number. at 2"},
		{`1e`, "Miss exponent in number. at 2"},
		{`tru`, "Invalid value. at 0"},
	} {
		_, err := Parse([]byte(tc.doc))
		if err == nil || err.Error() != tc.want {
			t.Errorf("Parse(%q) = %v, want %s", tc.doc, err, tc.want)
		}
	}
}

func TestReading(t *testing.T) {
	root, err := Parse([]byte(` { "a" : [ 1 , -2.5 , NaN , -Infinity ] , "s" : "x\u00e9\ud83d\ude00\"" , "o" : { "b" : true } , "a" : 0 } `))
	if err != nil {
		t.Fatal(err)
	}
	members := root.Members()
	if len(members) != 4 {
		t.Fatalf("%d members, want 4", len(members))
	}
	list, _ := members.Find("a")
	var numbers []float64
	list.Each(func(v Value) bool {
		f, ok := v.Float64()
		if !ok {
			t.Errorf("%s is no number", v.Text())
		}
		numbers = append(numbers, f)
		return true
	})
	if len(numbers) != 4 || numbers[0] != 1 || numbers[1] != -2.5 || !math.IsNaN(numbers[2]) || !math.IsInf(numbers[3], -1) {
		t.Errorf("read %v", numbers)
	}
	text, _ := members.Find("s")
	if s, ok := text.Str(); !ok || s != "xé😀\"" {
		t.Errorf("read %q", s)
	}
	nested, _ := members.Find("o")
	if b, ok := nested.Members().Find("b"); !ok {
		t.Error("nested member is missing")
	} else if v, ok := b.Bool(); !v || !ok {
		t.Error("nested member is not true")
	}
	for _, v := range []string{"1.0", "1e2", `"1"`, "true", "99999999999999999999"} {
		parsed, err := Parse([]byte(v))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := parsed.Int64(); ok {
			t.Errorf("%s reads as an integer", v)
		}
	}
}

func TestAppendFloat(t *testing.T) {
	for f, want := range map[float64]string{
		1: "1.0", 2.5: "2.5", -3: "-3.0", 1e308: "1e308", 0.1: "0.1", 1e21: "1e21", 1e20: "100000000000000000000.0",
		float64(float32(1e-7)): "1.0000000116860974e-7", float64(float32(3.4e38)): "3.3999999521443642e38",
		0.000001: "0.000001", 0: "0.0", 123.123: "123.123", 1234567: "1234567.0",
	} {
		if got := string(AppendFloat(nil, f)); got != want {
			t.Errorf("AppendFloat(%v) = %s, want %s", f, got, want)
		}
	}
	if got := string(AppendFloat(nil, math.NaN())); got != "NaN" {
		t.Errorf("NaN is written as %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2,{"b":"c\n"}],"d":null}`, `[NaN,-Inf]`, `"\u12`, "{", "", `{"a":1}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		root, err := Parse(doc)
		if err != nil {
			if json.Valid(doc) {
				var depth any
				if json.Unmarshal(doc, &depth) == nil && err.Error() != "" && !tooDeep(err) {
					t.Fatalf("valid JSON %q is refused: %v", doc, err)
				}
			}
			return
		}
		walk(root)
	})
}

func tooDeep(err error) bool {
	var syntax *SyntaxError
	return errors.As(err, &syntax) && syntax.Reason == "Terminate parsing due to Handler error."
}

func walk(v Value) {
	v.Each(func(e Value) bool { walk(e); return true })
	for _, m := range v.Members() {
		walk(m.Value)
	}
	v.Str()
	v.Float64()
	v.Int64()
	v.Uint64()
}

func FuzzFloatReadsBack(f *testing.F) {
	f.Add(1.5)
	f.Add(1e-320)
	f.Fuzz(func(t *testing.T, x float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return
		}
		got, err := strconv.ParseFloat(string(AppendFloat(nil, x)), 64)
		if err != nil || got != x {
			t.Fatalf("%v is written as %s", x, AppendFloat(nil, x))
		}
	})
}
