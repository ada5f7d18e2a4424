package podpath

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLocal(t *testing.T) {
	mounts := Mounts{{"/etc/a", "/local/a"}, {"/etc/a/deep", "/local/deep"}}
	for _, tt := range []struct {
		path, want string
		ok         bool
	}{
		{"/etc/a", "/local/a", true},
		{"/etc/a/x/", "/local/a/x/", true},
		{"/etc/a/deep/y", "/local/deep/y", true},
		{"/etc/ab", "", false},
		{"/other", "", false},
	} {
		if got, ok := mounts.Local(tt.path); got != tt.want || ok != tt.ok {
			t.Errorf("Local(%q) = %q, %v, want %q, %v", tt.path, got, ok, tt.want, tt.ok)
		}
	}
}

func TestFilesOfADirectoryAndOfSingleMounts(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	mounts := Mounts{{"/p/d", filepath.Join(dir, "mounted")}, {"/p/d/b.yaml", write("single/x")}, {"/p/other/c.yaml", write("single/c")}}
	a := write("mounted/a.yaml")
	write("mounted/.hidden")
	write("mounted/sub/z.yaml")
	got, err := mounts.Files("/p/d")
	if want := []string{a, filepath.Join(dir, "single/x")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Files = %q, %v, want %q", got, err, want)
	}
	if got, err := mounts.Files("/nowhere"); err != nil || len(got) != 0 {
		t.Errorf("a missing directory: %q, %v", got, err)
	}
}
