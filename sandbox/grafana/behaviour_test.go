package grafana

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBehaviour(t *testing.T) {
	s, err := New(Config{AdminPassword: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	control := &client{t: t, handler: s.Control()}
	api := &client{t: t, handler: s.Handler(), auth: basic("admin", "secret")}

	control.do(http.MethodPut, "/sim/behaviour", `{"status":500,"path_prefix":"/api/annotations","method":"post","count":2}`, http.StatusOK)
	for range 2 {
		wantBody(t, api.object(http.MethodPost, "/api/annotations", `{"text":"x"}`, 500), `{"message":"Internal Server Error"}`)
		api.object(http.MethodGet, "/api/health", "", 200)
		api.list("/api/annotations")
	}
	api.object(http.MethodPost, "/api/annotations", `{"text":"x"}`, 200)

	control.do(http.MethodPut, "/sim/behaviour", `[{"status":503,"path_prefix":"/api/search"},{"status":502}]`, http.StatusOK)
	api.object(http.MethodGet, "/api/search", "", 503)
	api.object(http.MethodGet, "/api/health", "", 502)
	if rules := control.list("/sim/behaviour"); len(rules) != 2 || rules[1]["status"] != 502.0 {
		t.Errorf("rules %v", rules)
	}
	control.do(http.MethodDelete, "/sim/behaviour", "", http.StatusOK)
	api.list("/api/search")
}

func TestDelayEndsWithTheRequest(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.behaviour.set([]Rule{{DelayMS: time.Hour.Milliseconds()}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/health", nil))
	if w.Body.Len() != 0 {
		t.Errorf("a client that went away got %q", w.Body)
	}
	s.behaviour.set([]Rule{{DelayMS: 1}})
	(&client{t: t, handler: s.Handler()}).object(http.MethodGet, "/api/health", "", 200)
}

func TestDroppedConnection(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.behaviour.set([]Rule{{Drop: true}})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(server.URL + "/api/health")
	if err == nil {
		resp.Body.Close()
		t.Errorf("got an answer: %s", resp.Status)
	}
}

func TestBehaviourRefuses(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	control := &client{t: t, handler: s.Control()}
	for name, tc := range map[string]struct{ body, want string }{
		"not JSON":        {`{`, "not JSON"},
		"a word":          {`"slow"`, "not a rule"},
		"a typing error":  {`{"delay":5}`, "unknown field"},
		"negative delay":  {`{"delay_ms":-1}`, "delay_ms is -1"},
		"negative count":  {`{"count":-1}`, "count is -1"},
		"odd status":      {`{"status":99}`, "status is 99"},
		"relative prefix": {`[{"path_prefix":"api"}]`, "begins with /"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *control
			c.t = t
			if refusal := c.object(http.MethodPut, "/sim/behaviour", tc.body, 400); !strings.Contains(refusal["message"].(string), tc.want) {
				t.Errorf("%v, want %q", refusal, tc.want)
			}
		})
	}
}

func FuzzRules(f *testing.F) {
	f.Add(`{"status":500}`)
	f.Add(`[{"delay_ms":1},{}]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, body string) {
		rules, err := readRules(strings.NewReader(body))
		if err != nil {
			return
		}
		for _, r := range rules {
			if err := r.validate(); err != nil {
				t.Error(err)
			}
		}
	})
}
