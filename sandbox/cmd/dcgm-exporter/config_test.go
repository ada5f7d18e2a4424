package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want func(config) bool
	}{
		"defaults": {nil, nil, func(c config) bool {
			return c.collectInterval == 30*time.Second && c.port == "9400" && c.collectorsFile == defaultCollectorsFile && !c.kubernetes && c.generation == names48 && c.hostname != ""
		}},
		"the chart's arguments": {[]string{"-f", "/x.csv"}, map[string]string{"DCGM_EXPORTER_KUBERNETES": "true", "DCGM_EXPORTER_LISTEN": ":9401", "NODE_NAME": "n"}, func(c config) bool {
			return c.collectorsFile == "/x.csv" && c.kubernetes && c.port == "9401" && c.hostname == "n"
		}},
		"interval by flag":     {[]string{"--collect-interval=1000"}, map[string]string{"DCGM_EXPORTER_INTERVAL": "5000"}, func(c config) bool { return c.collectInterval == time.Second }},
		"interval by variable": {nil, map[string]string{"DCGM_EXPORTER_INTERVAL": "5000"}, func(c config) bool { return c.collectInterval == 5*time.Second }},
		"short spellings": {[]string{"-c", "100", "-k", "-n", "-a", "[::]:9500", "-rbmn"}, nil, func(c config) bool {
			return c.collectInterval == 100*time.Millisecond && c.kubernetes && c.hostname == "" && c.port == "9500" && c.replaceBlanksInModel
		}},
		"collectors variable": {nil, map[string]string{"DCGM_EXPORTER_COLLECTORS": "/y.csv"}, func(c config) bool { return c.collectorsFile == "/y.csv" }},
		"newer names":         {[]string{"--field-names=4.9"}, nil, func(c config) bool { return c.generation == names49 }},
		"newer names by env":  {nil, map[string]string{envFieldNames: "4.9"}, func(c config) bool { return c.generation == names49 }},
		"kubernetes off":      {[]string{"--kubernetes=false"}, map[string]string{"DCGM_EXPORTER_KUBERNETES": "true"}, func(c config) bool { return !c.kubernetes }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parseConfig(tc.args, func(k string) string { return tc.env[k] }, io.Discard)
			if err != nil || !tc.want(cfg) {
				t.Errorf("%+v, %v", cfg, err)
			}
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"unknown flag":             {[]string{"--collect-intervall=1000"}, nil, "not defined"},
		"flag not simulated":       {[]string{"--enable-dcgm-log"}, nil, "not defined"},
		"an argument":              {[]string{"-k", "true"}, nil, "unexpected argument"},
		"no interval":              {[]string{"-c", "0"}, nil, "positive number of milliseconds"},
		"interval with unit":       {[]string{"-c", "1s"}, nil, "invalid value"},
		"interval variable":        {nil, map[string]string{"DCGM_EXPORTER_INTERVAL": "1s"}, "DCGM_EXPORTER_INTERVAL"},
		"kubernetes variable":      {nil, map[string]string{"DCGM_EXPORTER_KUBERNETES": "yes"}, "true or false"},
		"address without port":     {[]string{"-a", "localhost"}, nil, "host:port"},
		"address with a word":      {[]string{"-a", ":http"}, nil, "port from 1 to 65535"},
		"address with port 0":      {[]string{"-a", ":0"}, nil, "port from 1 to 65535"},
		"unknown names":            {[]string{"--field-names=5"}, nil, "4.8 or 4.9"},
		"interval value missing":   {[]string{"-c"}, nil, "needs an argument"},
		"kubernetes wrong literal": {[]string{"--kubernetes=maybe"}, nil, "invalid boolean"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig(tc.args, func(k string) string { return tc.env[k] }, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"no driver":       {nil, nil, "GPU nodes only"},
		"empty driver":    {nil, map[string]string{envGPUDir: t.TempDir()}, "no GPU inventory"},
		"no metrics file": {[]string{"-f", "/nowhere/metrics.csv"}, nil, "/nowhere/metrics.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(context.Background(), tc.args, func(k string) string { return tc.env[k] }, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestCounters(t *testing.T) {
	for name, tc := range map[string]struct {
		csv   string
		names []string // in the order of the field numbers
		fails string
	}{
		"a selection":         {"# comment\nDCGM_FI_DEV_FB_USED, gauge, used\n\nDCGM_FI_DEV_SM_CLOCK , gauge,clock\n", []string{"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_FB_USED"}, ""},
		"off by default":      {"DCGM_FI_PROF_SM_ACTIVE, gauge, x\nDCGM_FI_DEV_ECC_DBE_AGG_TOTAL, counter, y", []string{"DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "DCGM_FI_PROF_SM_ACTIVE"}, ""},
		"nothing":             {"", nil, ""},
		"a name from a guide": {"DCGM_FI_DEV_MEM_USED, gauge, used", nil, `could not find DCGM field "DCGM_FI_DEV_MEM_USED"`},
		"other generation":    {"DCGM_FI_DEV_FB_USED_BYTES, gauge, used", nil, "could not find DCGM field"},
		"two columns":         {"DCGM_FI_DEV_FB_USED, gauge", nil, "line 1 has 2 fields"},
		"four columns":        {"\nDCGM_FI_DEV_FB_USED, gauge, used, really", nil, "line 2 has 4 fields"},
		"unknown type":        {"DCGM_FI_DEV_FB_USED, gague, used", nil, `"gague" is not a Prometheus metric type`},
		"given twice":         {"DCGM_FI_DEV_FB_USED, gauge, a\nDCGM_FI_DEV_FB_USED, gauge, b", nil, "second time"},
		"quote in the middle": {"DCGM_FI_DEV_FB_USED, \"gauge, used", nil, "malformed CSV"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "metrics.csv")
			if err := os.WriteFile(path, []byte(tc.csv), 0o600); err != nil {
				t.Fatal(err)
			}
			counters, err := loadCounters(path, names48)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want an error with %q and the file", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range counters {
				names = append(names, c.name)
			}
			if strings.Join(names, " ") != strings.Join(tc.names, " ") {
				t.Errorf("got %v, want %v", names, tc.names)
			}
		})
	}
}

func TestFieldsAreUnique(t *testing.T) {
	for _, g := range []generation{names48, names49} {
		ids, names := map[int]bool{}, map[string]bool{}
		for _, f := range fieldsOf(g) {
			if ids[f.id] || names[f.name] {
				t.Errorf("%s: field %d %s is given twice", g, f.id, f.name)
			}
			ids[f.id], names[f.name] = true, true
		}
	}
}

func FuzzCounters(f *testing.F) {
	f.Add("DCGM_FI_DEV_FB_USED, gauge, used")
	f.Add("# only a comment\n")
	f.Add("a,\"b\nc\",d\n,,")
	f.Fuzz(func(t *testing.T, text string) {
		counters, err := parseCounters(strings.NewReader(text), names48)
		if err != nil && counters != nil {
			t.Error("counters and an error")
		}
	})
}
