package grafana

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretPassword = "pa55-word"
	secretToken    = "glsa_t0ken"
)

// fakeGrafana keeps annotations as Grafana does and checks credentials.
type fakeGrafana struct {
	t *testing.T

	mu          sync.Mutex
	annotations []map[string]any
	requests    []string // method, path and body
	auth        []string
}

func (g *fakeGrafana) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	g.requests = append(g.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	g.auth = append(g.auth, r.Header.Get("Authorization"))
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			g.t.Error(err)
		}
	}
	path := strings.TrimPrefix(r.URL.Path, "/grafana")
	if path == "/api/health" {
		answer(map[string]string{"database": "ok", "version": "13.2.0", "commit": "abc"})
		return
	}
	user, password, _ := r.BasicAuth()
	if r.Header.Get("Authorization") != "Bearer "+secretToken && (user != "admin" || password != secretPassword) {
		w.WriteHeader(http.StatusUnauthorized)
		answer(map[string]string{"message": "Invalid username or password"})
		return
	}
	var sent map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			g.t.Error(err)
		}
	}
	id, _ := strconv.Atoi(strings.TrimPrefix(path, "/api/annotations/"))
	switch {
	case path == "/api/annotations" && r.Method == http.MethodPost:
		sent["id"] = float64(len(g.annotations) + 1)
		if sent["timeEnd"] == nil {
			sent["timeEnd"] = sent["time"]
		}
		g.annotations = append(g.annotations, sent)
		answer(map[string]any{"id": sent["id"], "message": "Annotation added"})
	case path == "/api/annotations" && r.Method == http.MethodGet:
		answer(g.annotations)
	case id > 0 && id <= len(g.annotations) && r.Method == http.MethodPatch:
		for k, v := range sent {
			g.annotations[id-1][k] = v
		}
		answer(map[string]string{"message": "Annotation patched"})
	case id > 0 && id <= len(g.annotations) && r.Method == http.MethodDelete:
		g.annotations = append(g.annotations[:id-1], g.annotations[id:]...)
		answer(map[string]string{"message": "Annotation deleted"})
	case path == "/api/search":
		answer([]map[string]any{{"uid": "triton-latency", "title": "Triton latency", "type": "dash-db", "folderTitle": "Triton", "tags": []string{"triton"}}})
	case path == "/api/dashboards/uid/triton-latency":
		answer(map[string]any{"dashboard": map[string]any{"uid": "triton-latency", "title": "Triton latency", "version": 4, "panels": []any{}},
			"meta": map[string]any{"folderTitle": "Triton", "provisioned": true}})
	default:
		w.WriteHeader(http.StatusNotFound)
		answer(map[string]string{"message": "not found"})
	}
}

func connect(t *testing.T, address string, auth Auth) *Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := New(address, transport, auth)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestRegion(t *testing.T) {
	g := &fakeGrafana{t: t}
	c := connect(t, serve(t, g)+"/grafana/", Auth{User: "admin", Password: secretPassword})
	begin := time.UnixMilli(1_700_000_000_123)
	tags := []string{"kubectl-triton", "load-test"}

	id, err := c.StartRegion(t.Context(), Annotation{Time: begin, End: begin.Add(time.Hour), Tags: tags, Text: "Load Test Start"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.EndRegion(t.Context(), id, begin.Add(30*time.Second), "Load Test Stop: 99 % done"); err != nil {
		t.Fatal(err)
	}
	moment, err := c.StartRegion(t.Context(), Annotation{Time: begin.Add(time.Minute), Tags: tags, Text: "Load Test Start"})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := c.PostRegion(t.Context(), Annotation{Time: begin, End: begin.Add(time.Second), Tags: tags, Text: "Load Test"})
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.FindAnnotations(t.Context(), tags, begin, begin.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := []Annotation{
		{ID: id, Time: begin, End: begin.Add(30 * time.Second), Tags: tags, Text: "Load Test Stop: 99 % done"},
		{ID: moment, Time: begin.Add(time.Minute), Tags: tags, Text: "Load Test Start"},
		{ID: whole, Time: begin, End: begin.Add(time.Second), Tags: tags, Text: "Load Test"},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if err := c.DeleteAnnotation(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	wantRequests := []string{
		`POST /grafana/api/annotations {"time":1700000000123,"tags":["kubectl-triton","load-test"],"text":"Load Test Start"}`,
		`PATCH /grafana/api/annotations/1 {"timeEnd":1700000030123,"text":"Load Test Stop: 99 % done"}`,
		`POST /grafana/api/annotations {"time":1700000060123,"tags":["kubectl-triton","load-test"],"text":"Load Test Start"}`,
		`POST /grafana/api/annotations {"time":1700000000123,"timeEnd":1700000001123,"tags":["kubectl-triton","load-test"],"text":"Load Test"}`,
		`GET /grafana/api/annotations?from=1700000000123&limit=1000&tags=kubectl-triton&tags=load-test&to=1700003600123&type=annotation`,
		`DELETE /grafana/api/annotations/3`,
	}
	if diff := cmp.Diff(wantRequests, g.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	var gone *StatusError
	if err := c.EndRegion(t.Context(), 99, begin, ""); !errors.As(err, &gone) || gone.Status != 404 || !strings.Contains(err.Error(), "may have been deleted") {
		t.Errorf("a deleted annotation: got %v", err)
	}
	if _, err := c.PostRegion(t.Context(), Annotation{Time: begin, End: begin, Text: "x"}); err == nil {
		t.Error("an empty region: no error")
	}
	if _, err := c.StartRegion(t.Context(), Annotation{Time: begin}); err == nil {
		t.Error("no text: no error")
	}
}

func TestFindAnnotationsOpenBounds(t *testing.T) {
	g := &fakeGrafana{t: t}
	c := connect(t, serve(t, g), Auth{Token: secretToken})
	for _, bounds := range [][2]time.Time{{}, {time.UnixMilli(5), {}}, {{}, time.UnixMilli(9)}} {
		if _, err := c.FindAnnotations(t.Context(), []string{"a"}, bounds[0], bounds[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got := g.requests[0]; strings.Contains(got, "from=") {
		t.Error(got)
	}
	if got := g.requests[1]; !strings.Contains(got, "from=5&") || !strings.Contains(got, "&to=") {
		t.Error(got)
	}
	if got := g.requests[2]; !strings.Contains(got, "from=1&") || !strings.Contains(got, "&to=9&") {
		t.Error(got)
	}
}

func TestAuth(t *testing.T) {
	g := &fakeGrafana{t: t}
	address := serve(t, g)
	for name, auth := range map[string]Auth{"basic": {User: "admin", Password: secretPassword}, "token": {Token: secretToken}, "token before password": {User: "x", Password: "y", Token: secretToken}} {
		if _, err := connect(t, address, auth).SearchDashboards(t.Context(), "", "triton"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	inAddress := strings.Replace(address, "http://", "http://admin:"+secretPassword+"@", 1)
	if _, err := connect(t, inAddress, Auth{}).SearchDashboards(t.Context(), "latency"); err != nil {
		t.Errorf("credentials in the address: %v", err)
	}

	var denied *AuthError
	_, err := connect(t, address, Auth{User: "admin", Password: "wr0ng"}).SearchDashboards(t.Context(), "")
	if !errors.As(err, &denied) || denied.Status != 401 || !strings.Contains(err.Error(), "the admin Secret may no longer match") || !strings.Contains(err.Error(), `user "admin"`) {
		t.Errorf("wrong password: got %v", err)
	}
	// Health needs none.
	if h, err := connect(t, address, Auth{}).Health(t.Context()); err != nil || h.Version != "13.2.0" {
		t.Errorf("health: %+v, %v", h, err)
	}
}

// No failure, of whatever kind, prints a secret.
func TestErrors(t *testing.T) {
	auth := Auth{User: "admin", Password: secretPassword, Token: secretToken}
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if code == http.StatusFound {
				w.Header().Set("Location", "/login")
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	var denied *AuthError
	var refused *StatusError
	var unreachable *UnreachableError
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		as      any
		says    []string
	}{
		"viewer":     {status(403, `{"message":"You'll need additional permissions. Permissions needed: annotations:create"}`), &denied, []string{"403", "additional permissions", "Editor", "annotations:write"}},
		"401":        {status(401, `{"message":"Invalid API key"}`), &denied, []string{"401", "Invalid API key", "a service account token", "Secret"}},
		"login page": {status(302, ""), &refused, []string{"302", "proxy"}},
		"broken":     {status(500, `{"message":"db locked"}`), &refused, []string{"500", "db locked", "log"}},
		"HTML":       {status(200, "<html>"), &refused, []string{"not JSON", "check that this address is Grafana's"}},
		"no id":      {status(200, "{}"), &refused, []string{"no annotation id"}},
		"echo":       {status(400, `{"message":"bad `+secretToken+` and `+secretPassword+`"}`), &refused, []string{"bad … and …"}},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, 1<<20)
			for range 17 {
				_, _ = w.Write(chunk)
			}
		}, &refused, []string{"larger than 16 MiB"}},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = io.WriteString(w, "{")
		}, &unreachable, []string{"can't be reached"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, serve(t, test.handler), auth)
			_, err := c.StartRegion(t.Context(), Annotation{Time: time.Now(), Text: "x"})
			if err == nil || !errors.As(err, test.as) {
				t.Fatalf("got %T: %v", err, err)
			}
			for _, part := range append(test.says, "annotate the start of the test in Grafana") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%#v", err)} {
				if strings.Contains(text, secretPassword) || strings.Contains(text, secretToken) {
					t.Errorf("a secret in %q", text)
				}
			}
		})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, auth); strings.Contains(text, secretPassword) || strings.Contains(text, secretToken) {
			t.Errorf("a secret in %s: %s", verb, text)
		}
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := connect(t, "http://"+listener.Addr().String(), auth).Health(t.Context()); !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody there: got %v", err)
	}
	for _, address := range []string{"", "grafana", "ftp://grafana", "http://admin:" + secretPassword + "@gra fana", "http://admin:" + secretPassword + "@"} {
		if _, err := New(address, nil, Auth{}); err == nil || strings.Contains(err.Error(), secretPassword) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestHealthOfASickGrafana(t *testing.T) {
	for body, want := range map[string]string{`{"database":"failing","version":"13"}`: "its database is failing", `{}`: "not Grafana's answer"} {
		c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })), Auth{})
		if _, err := c.Health(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestHangingGrafana(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New("http://grafana", roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}), Auth{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		var unreachable *UnreachableError
		if err := c.EndRegion(ctx, 1, began, ""); !errors.As(err, &unreachable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestDashboards(t *testing.T) {
	g := &fakeGrafana{t: t}
	c := connect(t, serve(t, g), Auth{Token: secretToken})
	hits, err := c.SearchDashboards(t.Context(), "latency", "triton", "gpu")
	if diff := cmp.Diff([]DashboardHit{{UID: "triton-latency", Title: "Triton latency", Folder: "Triton", Tags: []string{"triton"}}}, hits); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if want := "GET /api/search?limit=1000&page=1&query=latency&tag=triton&tag=gpu&type=dash-db"; g.requests[0] != want {
		t.Errorf("asked %q, want %q", g.requests[0], want)
	}
	d, err := c.DashboardByUID(t.Context(), "triton-latency")
	if err != nil || d.Title != "Triton latency" || d.Version != 4 || !d.Provisioned || d.Folder != "Triton" || len(d.Model) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	var missing *StatusError
	if _, err := c.DashboardByUID(t.Context(), "nope"); !errors.As(err, &missing) || missing.Status != 404 {
		t.Errorf("got %v", err)
	}
	if _, err := c.DashboardByUID(t.Context(), ""); err == nil {
		t.Error("an empty uid: no error")
	}
}

func TestDashboardURL(t *testing.T) {
	from, to := time.UnixMilli(1_700_000_000_123), time.UnixMilli(1_700_000_060_456)
	for base, want := range map[string]string{
		"http://127.0.0.1:3000":                "http://127.0.0.1:3000/d/triton-latency?from=1700000000123&to=1700000060456&var-model=a+b&var-model=c",
		"https://admin:x@example.org/grafana/": "https://example.org/grafana/d/triton-latency?from=1700000000123&to=1700000060456&var-model=a+b&var-model=c",
	} {
		got, err := DashboardURL(base, "triton-latency", from, to, map[string][]string{"model": {"a b", "c"}})
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", base, got, err, want)
		}
	}
	if _, err := DashboardURL("nonsense", "x", from, to, nil); err == nil {
		t.Error("no error")
	}
}
