package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubectl-triton/kubectl-triton/sandbox/grafana"
)

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	data, provisioning, dashboards := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(provisioning, "dashboards"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(provisioning, "dashboards", "provider.yaml"), []byte("providers: [{name: p, type: file, options: {path: "+dashboards+"}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dashboards, "gpu.json"), []byte(`{"uid":"gpu","title":"GPU"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"GF_SECURITY_ADMIN_USER": "root", "GF_SECURITY_ADMIN_PASSWORD": "pw", "GRAFANA_SERVICE_ACCOUNT_TOKENS": "glsa_v=Viewer",
		"GF_PATHS_DATA": data, "GF_PATHS_PROVISIONING": provisioning,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, nil, func(k string) string { return env[k] }, in)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	lines := bufio.NewScanner(out)
	addresses := map[string]string{}
	for len(addresses) < 2 && lines.Scan() {
		if strings.Contains(lines.Text(), "HTTP Server Listen") {
			_, rest, _ := strings.Cut(lines.Text(), "port=")
			port, address, _ := strings.Cut(rest, " address=")
			addresses[port] = address
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()

	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	status := func(method, port, path, user, password, body string) int {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+addresses[port]+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, tc := range []struct {
		method, port, path, user, password, body string
		want                                     int
	}{
		{"GET", "3000", "/api/health", "", "", "", 200},
		{"GET", "3000", "/api/dashboards/uid/gpu", "root", "pw", "", 200},
		{"GET", "3000", "/api/org", "admin", "pw", "", 401},
		{"GET", "3000", "/sim/behaviour", "root", "pw", "", 302},
		{"PUT", "3001", "/sim/behaviour", "", "", `{"status":500}`, 200},
		{"GET", "3000", "/api/health", "", "", "", 500},
	} {
		if got := status(tc.method, tc.port, tc.path, tc.user, tc.password, tc.body); got != tc.want {
			t.Errorf("%s %s on port %s: %d, want %d", tc.method, tc.path, tc.port, got, tc.want)
		}
	}
	// A request that waits must not hold up the end.
	if got := status("PUT", "3001", "/sim/behaviour", "", "", `{"delay_ms":3600000}`); got != 200 {
		t.Fatalf("set a delay: %d", got)
	}
	waiting := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://" + addresses["3000"] + "/api/health")
		if err == nil {
			resp.Body.Close()
		}
		waiting <- err
	}()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	<-waiting
	if _, err := os.Stat(filepath.Join(data, "grafana.json")); err != nil {
		t.Errorf("no state was kept: %v", err)
	}
}

func TestConfigureRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"unknown flag":     {[]string{"--homepath=/x"}, nil, "not defined"},
		"an argument":      {[]string{"server"}, nil, "unexpected argument"},
		"token of no kind": {nil, map[string]string{"GRAFANA_SERVICE_ACCOUNT_TOKENS": "secret=Viewer"}, "item 1"},
		"token no role":    {nil, map[string]string{"GRAFANA_SERVICE_ACCOUNT_TOKENS": "glsa_a=Viewer,glsa_b"}, "item 2"},
		"unknown role":     {nil, map[string]string{"GRAFANA_SERVICE_ACCOUNT_TOKENS": "glsa_a=viewer"}, "use Viewer, Editor or Admin"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := configure(tc.args, func(k string) string { return tc.env[k] }, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "glsa_a") || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats a token: %v", err)
			}
		})
	}
}

func TestConfigure(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want func(grafana.Config) bool
	}{
		"nothing":              {nil, nil, func(c grafana.Config) bool { return c.DataDir == "" && c.DashboardsDir == "" && len(c.Tokens) == 0 }},
		"data by flag":         {[]string{"--data", dir}, map[string]string{"GF_PATHS_DATA": "/nowhere"}, func(c grafana.Config) bool { return c.DataDir == dir }},
		"data by variable":     {nil, map[string]string{"GF_PATHS_DATA": dir}, func(c grafana.Config) bool { return c.DataDir == dir }},
		"data not mounted":     {nil, map[string]string{"GF_PATHS_DATA": dir + "/none"}, func(c grafana.Config) bool { return c.DataDir == "" }},
		"provisioning is bare": {nil, map[string]string{"GF_PATHS_PROVISIONING": dir}, func(c grafana.Config) bool { return c.DashboardsDir == "" }},
		"dashboards":           {nil, map[string]string{"GRAFANA_DASHBOARDS_DIR": dir}, func(c grafana.Config) bool { return c.DashboardsDir == dir }},
		"tokens": {nil, map[string]string{"GRAFANA_SERVICE_ACCOUNT_TOKENS": "glsa_a=Viewer, glsa_b=Editor"}, func(c grafana.Config) bool {
			return c.Tokens["glsa_a"] == grafana.Viewer && c.Tokens["glsa_b"] == grafana.Editor
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := configure(tc.args, func(k string) string { return tc.env[k] }, io.Discard)
			if err != nil || !tc.want(cfg) {
				t.Errorf("%+v, %v", cfg, err)
			}
		})
	}
}
