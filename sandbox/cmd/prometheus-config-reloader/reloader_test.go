package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/prometheusconfig"
)

func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newReloader(t *testing.T, url string) (r *reloader, write func(name string, content []byte)) {
	t.Helper()
	dir := t.TempDir()
	write = func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &reloader{
		source: filepath.Join(dir, "in.gz"), target: filepath.Join(t.TempDir(), "out.yaml"), reloadURL: url,
		client: http.DefaultClient, log: slog.New(slog.DiscardHandler), variables: func(name string) string { return "<" + name + ">" },
		surroundings: prometheusconfig.Surroundings{ProxyURL: "http://proxy", Kubeconfig: "/k"},
	}, write
}

func TestExpandDecompressesSubstitutesAndAdapts(t *testing.T) {
	r, write := newReloader(t, "")
	write("in.gz", compressed(t, "global: {external_labels: {replica: $(POD_NAME)}}\nscrape_configs: [{job_name: x}]\n"))
	for _, want := range []bool{true, false} {
		if changed, err := r.expand(); err != nil || changed != want {
			t.Fatalf("expand = %v, %v, want %v", changed, err, want)
		}
	}
	content, err := os.ReadFile(r.target)
	if err != nil || !strings.Contains(string(content), "replica: <POD_NAME>") || !strings.Contains(string(content), "proxy_url: http://proxy") {
		t.Errorf("expanded to %q, %v", content, err)
	}
	write("in.gz", []byte("route: {receiver: $(X)}\n"))
	if changed, err := r.expand(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if content, err := os.ReadFile(r.target); err != nil || string(content) != "route: {receiver: <X>}\n" {
		t.Errorf("Alertmanager's configuration became %q, %v", content, err)
	}
	write("in.gz", []byte{0x1f, 0x8b, 0})
	if _, err := r.expand(); err == nil {
		t.Error("a damaged archive was accepted")
	}
}

func TestWatchReloadsAfterEachChangeAndRetries(t *testing.T) {
	reloads := make(chan struct{}, 100)
	refuse := make(chan struct{}, 1)
	refuse <- struct{}{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-refuse:
			http.Error(w, "not now", http.StatusInternalServerError)
		default:
			reloads <- struct{}{}
		}
	}))
	defer server.Close()
	r, write := newReloader(t, server.URL)
	write("in.gz", []byte("scrape_configs: []\n"))
	rules := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.watch(ctx, []string{rules}) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-reloads:
		case <-time.After(20 * time.Second):
			t.Fatalf("no reload after %s", what)
		}
	}
	await("the first one was refused")
	if err := os.WriteFile(filepath.Join(rules, "r.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await("a new rule file")
	write("in.gz", []byte("scrape_configs: [{job_name: kept}]\n"))
	await("a new configuration")
	if content, err := os.ReadFile(r.target); err != nil || !strings.Contains(string(content), "kept") {
		t.Errorf("the new configuration was not expanded: %q, %v", content, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
