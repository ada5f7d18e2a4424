//go:build e2e

package release

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// manifest is what Krew reads of a plugin.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	URI      string `json:"uri"`
	SHA256   string `json:"sha256"`
	Bin      string `json:"bin"`
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
}

func (p platform) String() string {
	return p.Selector.MatchLabels["os"] + "/" + p.Selector.MatchLabels["arch"]
}

func parse(t testing.TB, content []byte) manifest {
	t.Helper()
	var m manifest
	if err := yaml.UnmarshalStrict(content, &m); err != nil {
		t.Fatalf("not a manifest: %v\n%s", err, content)
	}
	slices.SortFunc(m.Spec.Platforms, func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
	return m
}

// render fills .krew.yaml as krew-release-bot does: it downloads each archive and
// inserts its address and, four spaces in, its sum. Here what would be downloaded
// lies in dist; an archive that was not built gets the sum that missing gives.
func render(t testing.TB, dist, tag string, missing func(name string) string) []byte {
	t.Helper()
	address := func(pattern, tag string) (string, error) {
		var b strings.Builder
		u, err := template.New("uri").Option("missingkey=error").Parse(pattern)
		if err == nil {
			err = u.Execute(&b, map[string]string{"TagName": tag})
		}
		if err != nil {
			return "", err
		}
		path := filepath.Join(dist, b.String()[strings.LastIndexByte(b.String(), '/')+1:])
		s := ""
		if _, err := os.Stat(path); err == nil {
			s = sum(t, path)
		} else {
			s = missing(filepath.Base(path))
		}
		return fmt.Sprintf("uri: %s\n    sha256: %s", &b, s), nil
	}
	k, err := template.New("").Funcs(template.FuncMap{"addURIAndSha": address}).Parse(string(mustRead(t, "../../.krew.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := k.Execute(&b, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkManifests holds both manifests of a release against Krew's rules, its own
// validation and each other, and the sums against the archives.
func checkManifests(t *testing.T, dist, tag string) {
	generated := filepath.Join(dist, "krew", "triton.yaml")
	ofGoReleaser := parse(t, mustRead(t, generated))
	built := map[string]bool{}
	for _, path := range archives(t, dist) {
		built[filepath.Base(path)] = true
	}
	var notBuilt []string
	content := render(t, dist, tag, func(name string) string {
		notBuilt = append(notBuilt, name)
		return strings.Repeat("f", 64)
	})
	rendered := filepath.Join(t.TempDir(), "triton.yaml")
	if err := os.WriteFile(rendered, content, 0o644); err != nil {
		t.Fatal(err)
	}
	ofTemplate := parse(t, content)

	_, tools := programs(t)
	for path, m := range map[string]manifest{generated: ofGoReleaser, rendered: ofTemplate} {
		checkRules(t, m, tag)
		must(t, command(t.Context(), ".", filepath.Join(tools, "validate-krew-manifest"), nil, "-manifest", path, "-skip-install"))
	}
	for _, p := range ofGoReleaser.Spec.Platforms {
		name := p.URI[strings.LastIndexByte(p.URI, '/')+1:]
		if got := sum(t, filepath.Join(dist, name)); got != p.SHA256 {
			t.Errorf("%s: the manifest says %s, the archive has %s", p, p.SHA256, got)
		}
		delete(built, name)
	}
	if len(built) > 0 {
		t.Errorf("archives without a platform in the manifest: %v", built)
	}

	// All that the releases have, by the configuration.
	var want []string
	for _, b := range readMap(t, "../../.goreleaser.yaml")["builds"].([]any) {
		b := b.(map[string]any)
		for _, os := range b["goos"].([]any) {
			for _, arch := range b["goarch"].([]any) {
				want = append(want, fmt.Sprintf("%s/%s", os, arch))
			}
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, names(ofTemplate.Spec.Platforms)); diff != "" {
		t.Errorf(".krew.yaml against .goreleaser.yaml: platforms (-want +got):\n%s", diff)
	}
	// The template says of the built platforms what GoReleaser says.
	ofTemplate.Spec.Platforms = slices.DeleteFunc(ofTemplate.Spec.Platforms, func(p platform) bool {
		return slices.Contains(notBuilt, p.URI[strings.LastIndexByte(p.URI, '/')+1:])
	})
	if diff := cmp.Diff(ofGoReleaser, ofTemplate); diff != "" {
		t.Errorf("GoReleaser's manifest and .krew.yaml differ (-GoReleaser +template):\n%s", diff)
	}
}

func names(platforms []platform) []string {
	all := make([]string, len(platforms))
	for i, p := range platforms {
		all[i] = p.String()
	}
	return all
}

// checkRules are those of Krew's developer guide that its own validation doesn't
// look at.
func checkRules(t *testing.T, m manifest, tag string) {
	t.Helper()
	if m.Metadata.Name != "triton" || m.Spec.Version != tag {
		t.Errorf("plugin %q, version %q; want triton, %s", m.Metadata.Name, m.Spec.Version, tag)
	}
	if short := m.Spec.ShortDescription; short == "" || len(short) > 50 || strings.HasSuffix(short, ".") {
		t.Errorf("short description %q: %d characters of at most 50, no full stop", short, len(short))
	}
	if strings.Contains(m.Spec.Description, "kubectl triton") {
		t.Error("the description has an example; they belong to --help")
	}
	for text := range strings.Lines(m.Spec.Description + m.Spec.Caveats) {
		if n := len(strings.TrimRight(text, "\n")); n > 80 {
			t.Errorf("a line of %d characters, wrapped is at 80: %s", n, text)
		}
	}
	if !strings.HasPrefix(m.Spec.Homepage, "https://") {
		t.Errorf("homepage %q", m.Spec.Homepage)
	}
	for _, p := range m.Spec.Platforms {
		windows := p.Selector.MatchLabels["os"] == "windows"
		if want := m.Spec.Homepage + "/releases/download/" + tag + "/kubectl-triton_" + tag + "_"; !strings.HasPrefix(p.URI, want) {
			t.Errorf("%s: uri %s does not begin with %s", p, p.URI, want)
		}
		if strings.HasSuffix(p.Bin, ".exe") != windows || strings.HasSuffix(p.URI, ".zip") != windows {
			t.Errorf("%s: bin %s, uri %s; .exe and .zip are Windows'", p, p.Bin, p.URI)
		}
	}
}
