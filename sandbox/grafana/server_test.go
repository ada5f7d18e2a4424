package grafana

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	viewerToken = "glsa_viewer"
	editorToken = "glsa_editor"
)

// client speaks to one server without a network.
type client struct {
	t       *testing.T
	handler http.Handler
	auth    func(*http.Request)
	clock   *time.Time
}

func newClient(t *testing.T, change func(*Config)) *client {
	t.Helper()
	clock := time.UnixMilli(1_700_000_000_000)
	cfg := Config{
		AdminUser: "admin", AdminPassword: "secret", Tokens: map[string]Role{viewerToken: Viewer, editorToken: Editor},
		Now: func() time.Time { return clock },
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, handler: s.Handler(), auth: basic("admin", "secret"), clock: &clock}
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func (c *client) as(auth func(*http.Request)) *client {
	other := *c
	other.auth = auth
	return &other
}

// do sends a request and decodes the answer's body.
func (c *client) do(method, path, body string, wantStatus int) any {
	c.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.auth != nil {
		c.auth(r)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	if w.Code != wantStatus {
		c.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, wantStatus, w.Body)
	}
	if media := w.Header().Get("Content-Type"); !strings.HasPrefix(media, "application/json") {
		c.t.Fatalf("%s %s: content type %q", method, path, media)
	}
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		c.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	return v
}

func (c *client) object(method, path, body string, wantStatus int) map[string]any {
	c.t.Helper()
	v, ok := c.do(method, path, body, wantStatus).(map[string]any)
	if !ok {
		c.t.Fatalf("%s %s: not an object", method, path)
	}
	return v
}

func (c *client) list(path string) []map[string]any {
	c.t.Helper()
	items, ok := c.do(http.MethodGet, path, "", http.StatusOK).([]any)
	if !ok {
		c.t.Fatalf("GET %s: not a list", path)
	}
	var objects []map[string]any
	for _, item := range items {
		objects = append(objects, item.(map[string]any))
	}
	return objects
}

func wantBody(t *testing.T, got map[string]any, want string) {
	t.Helper()
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if normal, _ := json.Marshal(w); string(g) != string(normal) {
		t.Errorf("got %s, want %s", g, normal)
	}
}

func TestAuthentication(t *testing.T) {
	c := newClient(t, nil)
	for name, tc := range map[string]struct {
		auth func(*http.Request)
		want string
	}{
		"nobody":            {nil, `{"extra":null,"message":"Unauthorized","messageId":"auth.unauthorized","statusCode":401,"traceID":""}`},
		"wrong password":    {basic("admin", "admin"), `{"extra":null,"message":"Invalid username or password","messageId":"password-auth.failed","statusCode":401,"traceID":""}`},
		"wrong user":        {basic("root", "secret"), `{"extra":null,"message":"Invalid username or password","messageId":"password-auth.failed","statusCode":401,"traceID":""}`},
		"unknown token":     {bearer("glsa_x"), `{"extra":null,"message":"Invalid API key","messageId":"api-key.invalid","statusCode":401,"traceID":""}`},
		"empty token":       {bearer(""), `{"extra":null,"message":"Invalid API key","messageId":"api-key.invalid","statusCode":401,"traceID":""}`},
		"a scheme of sorts": {func(r *http.Request) { r.Header.Set("Authorization", "Negotiate x") }, `{"extra":null,"message":"Unauthorized","messageId":"auth.unauthorized","statusCode":401,"traceID":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			for _, path := range []string{"/api/org", "/api/annotations", "/api/search", "/api/user"} {
				wantBody(t, c.as(tc.auth).object(http.MethodGet, path, "", http.StatusUnauthorized), tc.want)
			}
		})
	}
	for name, auth := range map[string]func(*http.Request){"admin": basic("admin", "secret"), "editor": bearer(editorToken), "viewer": bearer(viewerToken)} {
		if org := c.as(auth).object(http.MethodGet, "/api/org", "", http.StatusOK); org["name"] != "Main Org." {
			t.Errorf("%s: organisation %v", name, org)
		}
	}
	if user := c.object(http.MethodGet, "/api/user", "", http.StatusOK); user["login"] != "admin" || user["isGrafanaAdmin"] != true {
		t.Errorf("user %v", user)
	}
}

func TestPermissions(t *testing.T) {
	c := newClient(t, nil)
	c.object(http.MethodPost, "/api/annotations", `{"text":"x"}`, http.StatusOK)
	viewer, editor := c.as(bearer(viewerToken)), c.as(bearer(editorToken))
	for _, tc := range []struct{ method, path, body, needed string }{
		{"POST", "/api/annotations", `{"text":"x"}`, "annotations:create"},
		{"PATCH", "/api/annotations/1", `{"text":"x"}`, "annotations:write"},
		{"PUT", "/api/annotations/1", `{"text":"x"}`, "annotations:write"},
		{"DELETE", "/api/annotations/1", "", "annotations:delete"},
		{"POST", "/api/dashboards/db", `{"dashboard":{"title":"x"}}`, "any of dashboards:create, dashboards:write"},
		{"DELETE", "/api/dashboards/uid/x", "", "dashboards:delete"},
		{"POST", "/api/folders", `{"title":"x"}`, "folders:create"},
		{"GET", "/api/datasources", "", "datasources:read"},
	} {
		refusal := viewer.object(tc.method, tc.path, tc.body, http.StatusForbidden)
		if refusal["message"] != "You'll need additional permissions to perform this action. Permissions needed: "+tc.needed || refusal["title"] != "Access denied" || !strings.HasPrefix(refusal["accessErrorId"].(string), "ACE") {
			t.Errorf("%s %s as viewer: %v", tc.method, tc.path, refusal)
		}
	}
	if found := viewer.list("/api/annotations"); len(found) != 1 {
		t.Errorf("a viewer sees %d annotations", len(found))
	}
	editor.object(http.MethodPatch, "/api/annotations/1", `{"text":"y"}`, http.StatusOK)
	editor.object(http.MethodGet, "/api/datasources", "", http.StatusForbidden)
	if sources := c.list("/api/datasources"); len(sources) != 1 || sources[0]["uid"] != "prometheus" {
		t.Errorf("data sources %v", sources)
	}
	c.object(http.MethodGet, "/api/datasources/uid/prometheus", "", http.StatusOK)
	c.object(http.MethodGet, "/api/datasources/uid/loki", "", http.StatusNotFound)
}

func TestPagesWithoutSignIn(t *testing.T) {
	c := newClient(t, nil).as(nil)
	if health := c.object(http.MethodGet, "/api/health", "", http.StatusOK); health["database"] != "ok" || health["version"] != Version {
		t.Errorf("health %v", health)
	}
	c.object(http.MethodGet, "/api/health/", "", http.StatusOK)
	c.object(http.MethodGet, "/api/nothing", "", http.StatusNotFound)
	c.object(http.MethodDelete, "/api/org", "", http.StatusNotFound)
	for path, want := range map[string]int{"/login": http.StatusOK, "/": http.StatusFound, "/d/uid/slug": http.StatusFound, "/healthz": http.StatusOK} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
}

// In memory everything is lost at a restart; with a data directory it stays,
// and so does the first password.
func TestRestart(t *testing.T) {
	c := newClient(t, nil)
	c.object(http.MethodPost, "/api/annotations", `{"text":"x"}`, http.StatusOK)
	if found := newClient(t, nil).list("/api/annotations"); len(found) != 0 {
		t.Errorf("a new server in memory has %d annotations", len(found))
	}

	dir := t.TempDir()
	c = newClient(t, func(cfg *Config) { cfg.DataDir = dir })
	c.object(http.MethodPost, "/api/annotations", `{"text":"kept","tags":["a"],"time":5,"timeEnd":9}`, http.StatusOK)
	c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"title":"T","uid":"u"}}`, http.StatusOK)
	c = newClient(t, func(cfg *Config) { cfg.DataDir, cfg.AdminPassword = dir, "rotated" })
	found := c.list("/api/annotations")
	if len(found) != 1 || found[0]["text"] != "kept" || found[0]["timeEnd"] != 9.0 {
		t.Errorf("after the restart: %v", found)
	}
	c.as(basic("admin", "rotated")).object(http.MethodGet, "/api/org", "", http.StatusUnauthorized)
	c.object(http.MethodGet, "/api/dashboards/uid/u", "", http.StatusOK)
	if id := c.object(http.MethodPost, "/api/annotations", `{"text":"x"}`, http.StatusOK)["id"]; id != 3.0 {
		t.Errorf("the next identifier is %v, want 3", id)
	}

	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged state: %v", err)
	}
}
