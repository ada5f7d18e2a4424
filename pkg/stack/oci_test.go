package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// newRegistry serves the pull half of the OCI distribution API for one chart
// (https://github.com/opencontainers/distribution-spec).
func newRegistry(t *testing.T) (*site, Chart) {
	t.Helper()
	// The developer's own registry logins have no part in this.
	t.Setenv("HELM_CONFIG_HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := newSite(t)
	data, config := testPackage(t), []byte(`{"name":"beacon","version":"1.4.0","apiVersion":"v2"}`)
	descriptor := func(mediaType string, data []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + digestOf(data), "size": len(data)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor("application/vnd.cncf.helm.config.v1+json", config),
		"layers":        []any{descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", data)},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifestHandler := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", "sha256:"+digestOf(manifest))
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		_, _ = w.Write(manifest)
	}
	s.handle("/v2/charts/beacon/manifests/1.4.0", manifestHandler)
	s.handle("/v2/charts/beacon/manifests/sha256:"+digestOf(manifest), manifestHandler)
	s.serve("/v2/charts/beacon/blobs/sha256:"+digestOf(config), config)
	s.serve(packageBlob(t), data)
	s.serve("/v2/charts/beacon/tags/list", []byte(`{"name":"charts/beacon","tags":["1.5.0","1.4.0","1.3.0","latest","1.3.1_build"]}`))
	c := testChart()
	c.OCI = "oci" + strings.TrimPrefix(s.URL, "http") + "/charts/beacon"
	return s, c
}

func packageBlob(t *testing.T) string {
	return "/v2/charts/beacon/blobs/sha256:" + digestOf(testPackage(t))
}

func TestLoadFromRegistry(t *testing.T) {
	site, c := newRegistry(t)
	source := Source{CacheDir: t.TempDir()}
	p, err := source.Load(t.Context(), c)
	if err != nil || p.Digest != digestOf(testPackage(t)) || p.Origin != c.OCI {
		t.Fatalf("%+v, %v", p, err)
	}
	asked := site.requests.Load()
	if p, err := source.Load(t.Context(), c); err != nil || p.Origin != c.OCI+" (cached)" || site.requests.Load() != asked {
		t.Errorf("%+v, %v", p, err)
	}
	mirrored := testChart()
	if _, err := (Source{Mirror: strings.TrimSuffix(c.OCI, "beacon")}).Load(t.Context(), mirrored); err != nil {
		t.Error(err)
	}
}

// TestRegistryStandsIn: what can't be had from the repository may be in the
// registry.
func TestRegistryStandsIn(t *testing.T) {
	_, c := newRegistry(t)
	c.Repository = "http://127.0.0.1:1"
	if p, err := (Source{}).Load(t.Context(), c); err != nil || p.Origin != c.OCI {
		t.Errorf("%+v, %v", p, err)
	}
	c.OCI = "oci://127.0.0.1:1/charts/beacon"
	_, err := (Source{}).Load(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1/index.yaml can't be used") || !strings.Contains(err.Error(), "; oci://127.0.0.1:1/charts/beacon can't be used") {
		t.Error(err)
	}
}

func TestRegistryFaults(t *testing.T) {
	blob := packageBlob(t)
	data := testPackage(t)
	for _, test := range []struct {
		name, path  string
		handler     http.HandlerFunc
		version     string
		want        string
		unreachable bool
	}{
		{"version absent", "", nil, "1.4.1", "has no chart beacon 1.4.1; the nearest versions there are 1.5.0, 1.4.0, 1.3.1+build;", false},
		{"chart absent", "/v2/charts/beacon/tags/list", status(404), "1.4.1", "has no chart beacon", false},
		{"server broken", blob, status(503), "1.4.0", "503", true},
		{"forbidden", "/v2/charts/beacon/manifests/1.4.0", status(403), "1.4.0", "403", true},
		{"package replaced", blob, answer(strings.Repeat("x", len(data))), "1.4.0", "is corrupt: it is not what the registry's manifest names", false},
		{"package cut off", blob, cutOff(data), "1.4.0", "EOF", true},
		{"package stalls", blob, halfThenWait(data, nil), "1.4.0", "no data came for 200ms", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			site, c := newRegistry(t)
			c.Version = test.version
			if test.path != "" {
				site.handle(test.path, test.handler)
			}
			l := limits{connect: time.Second, answer: time.Second, stall: 200 * time.Millisecond, bytes: 1 << 20}
			_, _, err := Source{}.obtain(t.Context(), c, l)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want …%s…", err, test.want)
			}
			var unreachable *UnreachableError
			if errors.As(err, &unreachable) != test.unreachable {
				t.Errorf("unreachable is %v, want %v: %v", unreachable != nil, test.unreachable, err)
			}
		})
	}
}

func TestCancelledPull(t *testing.T) {
	site, c := newRegistry(t)
	half := make(chan struct{})
	site.handle(packageBlob(t), halfThenWait(testPackage(t), half))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-half
		cancel()
	}()
	if _, err := (Source{}).Load(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLocalRegistries(t *testing.T) {
	for reference, want := range map[string]bool{
		"oci://localhost/a": true, "oci://localhost:5000/a": true, "oci://127.0.0.1:5000/a": true, "oci://[::1]:5000/a": true,
		"oci://ghcr.io/a": false, "oci://localhost.example.com/a": false, "oci://10.0.0.1:5000/a": false,
	} {
		if got := (registryOrigin{reference}).local(); got != want {
			t.Errorf("%s: %v", reference, got)
		}
	}
}
