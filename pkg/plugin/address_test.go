package plugin

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]address{
		"http://triton:8000":      {url: "http://triton:8000", host: "triton:8000", hostname: "triton", dial: "triton:8000"},
		"http://10.0.0.1/":        {url: "http://10.0.0.1", host: "10.0.0.1", hostname: "10.0.0.1", dial: "10.0.0.1:80"},
		"https://triton.example":  {url: "https://triton.example", host: "triton.example", hostname: "triton.example", dial: "triton.example:443", secure: true},
		"grpc://[::1]:8001":       {url: "grpc://[::1]:8001", host: "[::1]:8001", hostname: "::1", dial: "[::1]:8001", grpc: true},
		"grpcs://triton.test:443": {url: "grpcs://triton.test:443", host: "triton.test:443", hostname: "triton.test", dial: "triton.test:443", grpc: true, secure: true},
	} {
		got, err := parseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(address{})); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, text := range []string{"http://triton:8000", "grpcs://[::1]:8001", "localhost:8000", "http://u:p@h:1", "http://h:99999", "://"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		if err == nil && (a.hostname == "" || a.dial == "" || a.url == "") {
			t.Errorf("%q gave %+v", text, a)
		}
	})
}
