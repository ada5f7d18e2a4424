//go:build e2e

package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRelease makes one for linux/amd64, looks at everything in it and installs it.
func TestRelease(t *testing.T) {
	if *distFlag != "" {
		t.Skip("-dist names a release that is complete")
	}
	dist := build(t, "")
	t.Run("archives", func(t *testing.T) { checkArchives(t, dist) })
	t.Run("manifests", func(t *testing.T) { checkManifests(t, dist, tag) })
	t.Run("install", func(t *testing.T) { checkInstall(t, dist, tag) })
	t.Run("reproducible", func(t *testing.T) { checkReproducible(t, dist) })
}

// TestCompleteRelease looks at the six archives of "make release-snapshot".
func TestCompleteRelease(t *testing.T) {
	if *distFlag == "" {
		t.Skip("only with -dist, after make release-snapshot")
	}
	dist, err := filepath.Abs(filepath.Join("..", "..", *distFlag))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(archives(t, dist)); n != 6 {
		t.Errorf("%d archives, want 6", n)
	}
	m := parse(t, mustRead(t, filepath.Join(dist, "krew", "triton.yaml")))
	short := strings.TrimSpace(must(t, command(t.Context(), "", "git", nil, "rev-parse", "--short", "HEAD")))
	if !strings.HasSuffix(m.Spec.Version, "-snapshot."+short) {
		t.Errorf("the release is %s, not of the commit %s; make it again with 'make release-snapshot'", m.Spec.Version, short)
	}
	t.Run("archives", func(t *testing.T) { checkArchives(t, dist) })
	t.Run("manifests", func(t *testing.T) { checkManifests(t, dist, m.Spec.Version) })
	t.Run("install", func(t *testing.T) { checkInstall(t, dist, m.Spec.Version) })
}

// checkReproducible makes the release again elsewhere, in another time zone, by
// another user and with a remote: every file has the same bytes. Both share the
// compiler's cache; that a package compiles to the same is Go's promise.
func checkReproducible(t *testing.T, dist string) {
	again := build(t, "upstream", "TZ=Asia/Kolkata", "LC_ALL=C", "USER=somebody")
	for _, path := range append(archives(t, dist), filepath.Join(dist, "checksums.txt"), filepath.Join(dist, "krew", "triton.yaml")) {
		name, err := filepath.Rel(dist, path)
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(again, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if string(mustRead(t, path)) == string(other) {
			continue
		}
		t.Errorf("%s differs from one build to the next", name)
		if filepath.Ext(name) == ".gz" {
			a, b := unpack(t, path), unpack(t, filepath.Join(again, name))
			for file := range a {
				if diff := cmp.Diff(sumOf(a[file]), sumOf(b[file])); diff != "" {
					t.Errorf("%s (-first +second):\n%s", file, diff)
				}
			}
		}
	}
}
