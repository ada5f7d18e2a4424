package modelconfig

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServiceTimeHasItsMean(t *testing.T) {
	for _, distribution := range []string{"constant", "uniform", "exponential", "normal", "lognormal"} {
		s := ServiceTime{Distribution: distribution, Base: Duration(4 * time.Millisecond), PerItem: Duration(time.Millisecond), Spread: 0.3}
		rng := rand.New(rand.NewPCG(1, 2))
		const n = 20000
		sum, squares := 0.0, 0.0
		for range n {
			x := s.Sample(2, rng).Seconds()
			sum += x
			squares += x * x
		}
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		if math.Abs(mean-0.006) > 0.0002 {
			t.Errorf("%s: mean %v s, want 0.006", distribution, mean)
		}
		if (deviation < 1e-7) != (distribution == "constant") {
			t.Errorf("%s: standard deviation %v s", distribution, deviation)
		}
	}
}

func TestStalls(t *testing.T) {
	s := Stalls{Every: Duration(100 * time.Millisecond), For: Duration(20 * time.Millisecond)} // rests from 80 to 100
	for _, tc := range []struct{ start, work, want int }{
		{0, 10, 10}, {0, 80, 80}, {75, 10, 105}, {80, 1, 101}, {99, 1, 101}, {100, 80, 180}, {70, 100, 210}, {0, 161, 201},
	} {
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		if got := s.End(ms(tc.start), ms(tc.work)); got != ms(tc.want) {
			t.Errorf("%d ms of work from %d ms end at %v, want %d ms", tc.work, tc.start, got, tc.want)
		}
	}
	if got := (Stalls{}).End(5, 7); got != 12 {
		t.Errorf("without stalls %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	const valid = "input: [{name: I, data_type: TYPE_FP32, dims: [1]}]\noutput: [{name: O, data_type: TYPE_FP32, dims: [1]}]\n"
	if _, err := Parse("m", []byte(valid)); err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{
		"max_batch_size: -1":                                  "max_batch_size is -1",
		"nope: 1":                                             "nope",
		"sim: {behavor: identity}":                            "behavor",
		"sim: {behaviour: magic}":                             "known are identity",
		"sim: {service_time: {base: 5}}":                      "a duration is written as",
		"sim: {service_time: {base: -5ms}}":                   "negative",
		"sim: {service_time: {distribution: pareto}}":         "known are constant",
		"sim: {service_time: {spread: -1}}":                   "can't be negative",
		"sim: {failures: {ratio: 1.5}}":                       "from 0 to 1",
		"sim: {stalls: {every: 1s, for: 1s}}":                 "shorter",
		"sim: {versions: [0]}":                                "versions begin at 1",
		"sim: {gpu_memory: lots}":                             "sim section",
		"sim: [":                                              "neither YAML nor JSON",
		"input: [{name: I, data_type: TYPE_FP32, dims: [0]}]": "already",
		"parameters: {execute_delay_ms: {string_value: 5}}":   "model configuration",
	} {
		_, err := Parse("m", []byte(valid+change))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", change, err, want)
		}
	}
	for file, want := range map[string]string{
		"max_batch_size: 1":                                    "no output",
		"output: [{name: O, dims: [1]}]":                       "no data_type",
		"output: [{data_type: TYPE_FP32, dims: [1]}]":          "has no name",
		"output: [{name: O, data_type: TYPE_FP32}]":            "no dims",
		"output: [{name: O, data_type: TYPE_FP32, dims: [0]}]": "dimension 0",
	} {
		if _, err := Parse("m", []byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", file, err, want)
		}
	}
}

// A mounted ConfigMap is a directory of links, beside hidden directories.
func TestRepositoryOfAConfigMap(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "..2026_11_23")
	file := []byte("output: [{name: O, data_type: TYPE_FP32, dims: [1]}]\n")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.yaml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(data, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..2026_11_23", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	models, err := ReadRepository(dir)
	if err != nil || len(models) != 1 || models["a"] == nil {
		t.Errorf("%v %v", models, err)
	}
	if _, err := ReadRepository(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a repository that isn't there is read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("output: [{name: O, data_type: TYPE_FP32, dims: [1]}]\nsim: {service_time: {base: 1ms}}"))
	f.Add([]byte("{"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if m, err := Parse("m", data); err == nil {
			completed, err := m.Complete(nil)
			if err == nil {
				AppendJSON(nil, completed)
			}
		}
	})
}
