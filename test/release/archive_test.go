//go:build e2e

package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// largestBytes is how large the program for linux/amd64 may be, unpacked.
const largestBytes = 60_000_000

type entry struct {
	content []byte
	mode    fs.FileMode
	changed time.Time
}

// unpack reads a whole archive, by file name.
func unpack(t testing.TB, path string) map[string]entry {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]entry{}
	add := func(name string, info fs.FileInfo, r io.Reader) {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s in %s: %v", name, path, err)
		}
		files[name] = entry{b, info.Mode(), info.ModTime().UTC()}
	}
	if strings.HasSuffix(path, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatalf("%s in %s: %v", f.Name, path, err)
			}
			add(f.Name, f.FileInfo(), r)
			r.Close()
		}
		return files
	}
	g, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for r := tar.NewReader(g); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		add(h.Name, h.FileInfo(), r)
	}
}

// archives are the paths of a release's archives.
func archives(t testing.TB, dist string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.tar.gz", "*.zip"} {
		found, err := filepath.Glob(filepath.Join(dist, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no archive", dist)
	}
	return all
}

func sum(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// checkArchives: the program, its licence and how to use it, nothing else, of the
// commit's time; the checksums are those of the files; each program has a list of
// what it is made of.
func checkArchives(t *testing.T, dist string) {
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	wantSums, made := map[string]string{}, commitOf(t, dist)
	for _, path := range archives(t, dist) {
		name := filepath.Base(path)
		wantSums[name] = sum(t, path)
		files := unpack(t, path)
		program := "kubectl-triton"
		if strings.Contains(name, "_windows_") {
			program += ".exe"
		}
		if diff := cmp.Diff([]string{"LICENSE", "README.md", program}, slices.Sorted(maps.Keys(files))); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", name, diff)
			continue
		}
		if !bytes.Equal(files["LICENSE"].content, license) {
			t.Errorf("%s: LICENSE is not the repository's", name)
		}
		if mode := files[program].mode; mode.Perm() != 0o755 {
			t.Errorf("%s: %s has mode %s, want 0755", name, program, mode)
		}
		for file, f := range files {
			if !f.changed.Equal(made.date) {
				t.Errorf("%s: the time of %s is %s, want the commit's, %s", name, file, f.changed, made.date)
			}
		}
		size := len(files[program].content)
		t.Logf("%s: %d bytes, unpacked %d", name, len(mustRead(t, path)), size)
		if strings.Contains(name, "_linux_amd64") && size > largestBytes {
			t.Errorf("%s is %d bytes and may be %d; docs/release.md says how to find what it is made of", program, size, largestBytes)
		}
		checkBill(t, strings.TrimSuffix(strings.TrimSuffix(path, ".zip"), ".tar.gz")+".cdx.json", wantSums)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(mustRead(t, filepath.Join(dist, "checksums.txt")))) {
		s, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = s
	}
	if diff := cmp.Diff(wantSums, sums); diff != "" {
		t.Errorf("checksums.txt (-want +got):\n%s", diff)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// checkBill: the software bill of materials names the modules that the program
// was linked from, Helm and Kubernetes' client among them.
func checkBill(t *testing.T, path string, sums map[string]string) {
	t.Helper()
	sums[filepath.Base(path)] = sum(t, path)
	bill := readMap(t, path)
	names := map[string]bool{}
	components, _ := bill["components"].([]any)
	for _, c := range components {
		c := c.(map[string]any)
		name, _ := c["name"].(string)
		version, _ := c["version"].(string)
		names[name] = version != ""
	}
	for _, want := range []string{"helm.sh/helm/v3", "k8s.io/client-go", "google.golang.org/grpc", "std"} {
		if !names[want] {
			t.Errorf("%s: does not name %s with its version", path, want)
		}
	}
}

// sumOf describes a file of an archive in short.
func sumOf(e entry) string {
	s := sha256.Sum256(e.content)
	return hex.EncodeToString(s[:]) + " " + e.mode.String() + " " + e.changed.String()
}
