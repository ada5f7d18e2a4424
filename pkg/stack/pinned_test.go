package stack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPinned: a chart whose digest is known is taken from its own repository with
// that digest only, whatever the repository's index says; a mirror and a directory
// are their keeper's business.
func TestPinned(t *testing.T) {
	site, c := newRepository(t)
	cacheDir := t.TempDir()
	if _, err := (Source{CacheDir: cacheDir}).Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.Digest = digestOf(testPackage(t))
	if _, err := (Source{}).Load(t.Context(), c); err != nil {
		t.Errorf("the right one: %v", err)
	}
	c.Digest = strings.Repeat("0", 64)
	for name, source := range map[string]Source{"fetched": {}, "cached": {CacheDir: cacheDir}} {
		_, err := source.Load(t.Context(), c)
		var corrupt *CorruptPackageError
		if !errors.As(err, &corrupt) || corrupt.Expected != c.Digest || corrupt.Actual != digestOf(testPackage(t)) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range []string{"tested with", c.Digest, corrupt.Actual, "nothing was installed"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in %q", name, part, err)
			}
		}
	}
	if _, err := (Source{}).Pull(t.Context(), c, t.TempDir()); err == nil {
		t.Error("it was pulled")
	}
	if _, err := (Source{Mirror: site.URL + "/charts"}).Load(t.Context(), c); err != nil {
		t.Errorf("a mirror's: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, c.fileName()), testPackage(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Source{Dir: dir}).Load(t.Context(), c); err != nil {
		t.Errorf("a directory's: %v", err)
	}
}

// TestPinnedInRegistry: what stands in for a repository that can't be reached is
// held to the same digest, and what a repository has replaced is not quietly taken
// from elsewhere.
func TestPinnedInRegistry(t *testing.T) {
	registry, c := newRegistry(t)
	c.Digest = digestOf(testPackage(t))
	c.Repository = "http://127.0.0.1:1"
	if p, err := (Source{}).Load(t.Context(), c); err != nil || p.Origin != c.OCI {
		t.Errorf("the right one: %+v, %v", p, err)
	}
	c.Digest = strings.Repeat("0", 64)
	var corrupt *CorruptPackageError
	if _, err := (Source{}).Load(t.Context(), c); !errors.As(err, &corrupt) || !corrupt.Pinned || corrupt.Origin != c.OCI {
		t.Errorf("another: %v", err)
	}
	if _, err := (Source{Mirror: strings.TrimSuffix(c.OCI, "/beacon")}).Load(t.Context(), c); err != nil {
		t.Errorf("a mirror's: %v", err)
	}
	_, published := newRepository(t)
	c.Repository = published.Repository
	asked := registry.requests.Load()
	if _, err := (Source{}).Load(t.Context(), c); !errors.As(err, &corrupt) || corrupt.Origin != c.Repository {
		t.Errorf("another in the repository: %v", err)
	}
	if n := registry.requests.Load() - asked; n != 0 {
		t.Errorf("the registry was asked %d times after the repository's package was refused", n)
	}
}
