package triton

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestChangeModel: the calls go out as the captured ones did, and the refusals
// of a real server are told apart.
func TestChangeModel(t *testing.T) {
	for _, c := range []struct {
		model, path string
		status      int
		body        string
		refused     bool
		problem     string
	}{
		{"simple", "/v2/repository/models/simple/load", 200, "", false, ""},
		{"a/b", "/v2/repository/models/a%2Fb/load", 200, "", false, ""},
		{"nope", "/v2/repository/models/nope/load", 500, `{"error":"failed to load 'nope', failed to poll from model repository"}`, false, "could not load model nope: Triton answered 500: failed to load 'nope'"},
		{"broken", "/v2/repository/models/broken/load", 400, `{"error":"load failed for model 'broken': version 1 is at UNAVAILABLE state: Invalid argument: unable to find backend library for backend 'nosuchbackend'\n"}`, false, "nosuchbackend"},
		{"simple", "/v2/repository/models/simple/load", 503, `{"error":"explicit model load / unload is not allowed if polling is enabled"}`, true, "503"},
		{"simple", "/v2/repository/models/simple/load", 403, `{"error":"This API is restricted, expecting header 'x-demo-key'"}`, false, "restricted"},
	} {
		t.Run(c.model+" "+http.StatusText(c.status), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.EscapedPath() != c.path || r.ContentLength != 0 {
					t.Errorf("%s %s with %d bytes", r.Method, r.URL.EscapedPath(), r.ContentLength)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			err := NewClient(server.Client(), server.URL).LoadModel(t.Context(), c.model)
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("error %v, want %q", err, c.problem)
			}
			if errors.Is(err, ErrModelControl) != c.refused {
				t.Errorf("refused for the control mode: %v", !c.refused)
			}
		})
	}
}

// TestUnloadModel: the other action goes to its own path.
func TestUnloadModel(t *testing.T) {
	called := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called = r.URL.Path }))
	defer server.Close()
	if err := NewClient(server.Client(), server.URL).UnloadModel(t.Context(), "simple"); err != nil || called != "/v2/repository/models/simple/unload" {
		t.Errorf("%v after %s", err, called)
	}
}
