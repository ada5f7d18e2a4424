package grafana

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDashboardLife(t *testing.T) {
	c := newClient(t, nil)
	c.object(http.MethodPost, "/api/folders", `{"title":"GPU things","uid":"gpu"}`, http.StatusOK)
	wantBody(t, c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"id":null,"uid":"triton","title":"Triton: latency","tags":["triton"],"panels":[]},"folderUid":"gpu"}`, http.StatusOK),
		`{"id":2,"uid":"triton","url":"/d/triton/triton-latency","slug":"triton-latency","status":"success","version":1,"folderUid":"gpu"}`)
	got := c.object(http.MethodGet, "/api/dashboards/uid/triton", "", http.StatusOK)
	meta, model := got["meta"].(map[string]any), got["dashboard"].(map[string]any)
	if meta["folderTitle"] != "GPU things" || meta["url"] != "/d/triton/triton-latency" || meta["provisioned"] != false || meta["canEdit"] != true {
		t.Errorf("meta %v", meta)
	}
	if model["version"] != 1.0 || model["id"] != 2.0 || model["title"] != "Triton: latency" {
		t.Errorf("model %v", model)
	}
	mismatch := c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"uid":"triton","title":"New","version":7}}`, http.StatusPreconditionFailed)
	if mismatch["status"] != "version-mismatch" {
		t.Errorf("%v", mismatch)
	}
	if saved := c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"uid":"triton","title":"New"},"overwrite":true}`, http.StatusOK); saved["version"] != 2.0 || saved["id"] != 2.0 {
		t.Errorf("%v", saved)
	}
	if viewer := c.as(bearer(viewerToken)).object(http.MethodGet, "/api/dashboards/uid/triton", "", http.StatusOK); viewer["meta"].(map[string]any)["canEdit"] != false {
		t.Errorf("a viewer may edit: %v", viewer)
	}
	wantBody(t, c.object(http.MethodDelete, "/api/dashboards/uid/triton", "", http.StatusOK), `{"title":"New","message":"Dashboard New deleted","id":2,"uid":"triton"}`)
	if gone := c.object(http.MethodGet, "/api/dashboards/uid/triton", "", http.StatusNotFound); gone["message"] != "Dashboard not found" {
		t.Errorf("%v", gone)
	}
}

func TestDashboardRefusals(t *testing.T) {
	c := newClient(t, nil)
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		message            string
	}{
		"no title":         {"POST", "/api/dashboards/db", `{"dashboard":{"uid":"x"}}`, 400, "Dashboard title cannot be empty"},
		"no dashboard":     {"POST", "/api/dashboards/db", `{}`, 400, "Dashboard title cannot be empty"},
		"blank title":      {"POST", "/api/dashboards/db", `{"dashboard":{"title":"  "}}`, 400, "Dashboard title cannot be empty"},
		"not JSON":         {"POST", "/api/dashboards/db", `{"dashboard"`, 400, "bad request data"},
		"long uid":         {"POST", "/api/dashboards/db", `{"dashboard":{"title":"x","uid":"` + strings.Repeat("u", 41) + `"}}`, 400, "uid too long, max 40 characters"},
		"uid with a slash": {"POST", "/api/dashboards/db", `{"dashboard":{"title":"x","uid":"a/b"}}`, 400, "uid contains illegal characters"},
		"unknown folder":   {"POST", "/api/dashboards/db", `{"dashboard":{"title":"x"},"folderUid":"nope"}`, 400, "folder not found"},
		"delete unknown":   {"DELETE", "/api/dashboards/uid/nope", "", 404, "Dashboard not found"},
		"folder no title":  {"POST", "/api/folders", `{"uid":"x"}`, 400, "folder title cannot be empty"},
		"folder unknown":   {"GET", "/api/folders/nope", "", 404, "folder not found"},
		"folder delete":    {"DELETE", "/api/folders/nope", "", 404, "folder not found"},
		"search limit":     {"GET", "/api/search?limit=5001", "", 422, "Limit is above maximum allowed (5000), use page parameter to access hits beyond limit"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			if refusal := c.object(tc.method, tc.path, tc.body, tc.status); refusal["message"] != tc.message {
				t.Errorf("%v, want the message %q", refusal, tc.message)
			}
		})
	}
	c.object(http.MethodPost, "/api/folders", `{"title":"x","uid":"same"}`, http.StatusOK)
	c.object(http.MethodPost, "/api/folders", `{"title":"y","uid":"same"}`, http.StatusConflict)
}

func provisioned(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"gpu.json":                 `{"uid":"gpu-dash","title":"GPU","tags":["gpu","triton"],"schemaVersion":42}`,
		"Triton/latency.json":      `{"uid":"triton-latency","title":"Triton latency","tags":["triton"]}`,
		"Triton/no-uid.json":       `{"title":"No UID"}`,
		"broken.json":              `{"uid":`,
		"no-title.json":            `{"uid":"x"}`,
		"notes.txt":                `not a dashboard`,
		"..2026_01_01/hidden.json": `{"uid":"hidden","title":"Hidden"}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProvisionedDashboards(t *testing.T) {
	dir, data := provisioned(t), t.TempDir()
	start := func() *client {
		return newClient(t, func(cfg *Config) { cfg.DashboardsDir, cfg.DataDir = dir, data })
	}
	c := start()
	meta := c.object(http.MethodGet, "/api/dashboards/uid/triton-latency", "", http.StatusOK)["meta"].(map[string]any)
	if meta["provisioned"] != true || meta["folderTitle"] != "Triton" {
		t.Errorf("meta %v", meta)
	}
	if refusal := c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"uid":"gpu-dash","title":"mine"},"overwrite":true}`, http.StatusBadRequest); refusal["message"] != "Cannot save provisioned dashboard" {
		t.Errorf("%v", refusal)
	}
	c.object(http.MethodDelete, "/api/dashboards/uid/gpu-dash", "", http.StatusBadRequest)

	for query, want := range map[string]string{
		"":                                 "Triton/GPU/No UID/Triton latency",
		"?type=dash-db":                    "GPU/No UID/Triton latency",
		"?type=dash-folder":                "Triton",
		"?query=LATENCY":                   "Triton latency",
		"?tag=triton":                      "GPU/Triton latency",
		"?tag=triton&tag=gpu":              "GPU",
		"?dashboardUIDs=gpu-dash":          "GPU",
		"?folderUIDs=general&type=dash-db": "GPU",
		"?limit=1&page=2":                  "GPU",
		"?page=9":                          "",
		"?starred=true":                    "",
		"?query=hidden":                    "",
	} {
		var titles []string
		for _, h := range c.list("/api/search" + query) {
			titles = append(titles, h["title"].(string))
		}
		if got := strings.Join(titles, "/"); got != want {
			t.Errorf("search %s: %s, want %s", query, got, want)
		}
	}

	if err := os.Remove(filepath.Join(dir, "gpu.json")); err != nil {
		t.Fatal(err)
	}
	c = start()
	c.object(http.MethodGet, "/api/dashboards/uid/gpu-dash", "", http.StatusNotFound)
	if hits := c.list("/api/search"); len(hits) != 3 {
		t.Errorf("after a restart without one file: %v", hits)
	}
	if _, err := New(Config{DashboardsDir: filepath.Join(dir, "nowhere")}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("missing directory: %v", err)
	}
}
