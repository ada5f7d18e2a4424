package stack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// repositoryOrigin is a chart repository: an index.yaml and the packages that
// it names, over HTTP (https://helm.sh/docs/topics/chart_repository).
type repositoryOrigin struct {
	url *url.URL
}

func (r repositoryOrigin) address() string { return r.url.Redacted() }

// VersionError says that a repository has the chart, but not at this version,
// or not the chart at all.
type VersionError struct {
	Chart     Chart
	Address   string
	Available []string // the versions next to it and the newest, newest first; none where the chart is unknown
	Charts    []string // where the chart is unknown, some that are there
}

func (e *VersionError) Error() string {
	const hint = "give another --chart-repo, or a directory that holds it with --chart-dir"
	if len(e.Available) == 0 {
		has := "no chart at all"
		if len(e.Charts) > 0 {
			has = strings.Join(e.Charts, ", ")
		}
		return fmt.Sprintf("%s has no chart %s (it has %s); %s", e.Address, e.Chart.Name, has, hint)
	}
	return fmt.Sprintf("%s has no chart %s; the nearest versions there are %s; %s", e.Address, e.Chart, strings.Join(e.Available, ", "), hint)
}

func (r repositoryOrigin) fetch(ctx context.Context, d *downloader, c Chart) ([]byte, error) {
	at := r.url.JoinPath("index.yaml")
	data, err := d.get(ctx, at, "")
	if err != nil {
		return nil, &unreachable{at.Redacted(), err}
	}
	index, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("what %s answers is not the index of a chart repository: %w; check the address, and what a proxy in between makes of it", at.Redacted(), err)
	}
	release, err := index.find(c, r.address())
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, reference := range release.URLs {
		u, err := r.resolve(reference)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		data, err := d.get(ctx, u, "identity")
		if err != nil {
			failed = append(failed, &unreachable{u.Redacted(), err})
			continue
		}
		want := strings.ToLower(strings.TrimPrefix(release.Digest, "sha256:"))
		if got := digestOf(data); want != "" && got != want {
			return nil, &CorruptPackageError{Chart: c, Origin: u.Redacted(), Expected: want, Actual: got}
		}
		return data, nil
	}
	if len(failed) == 0 {
		return nil, fmt.Errorf("the index of %s names no address for the package of chart %s; its keeper has to make the index again", r.address(), c)
	}
	return nil, errors.Join(failed...)
}

// resolve makes a package's address whole. Credentials go to the repository's
// own host only.
func (r repositoryOrigin) resolve(reference string) (*url.URL, error) {
	base := *r.url
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	base.RawPath = ""
	u, err := base.Parse(reference)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the index of %s names %q as a package, which is not an address of one", r.address(), reference)
	}
	if u.User == nil && u.Scheme == base.Scheme && u.Host == base.Host {
		u.User = base.User
	}
	return u, nil
}

// repositoryIndex is what is needed of an index.yaml.
type repositoryIndex struct {
	charts   []string
	releases func(chart string) ([]chartRelease, error)
}

// chartRelease is one version of a chart in an index.
type chartRelease struct {
	Version string   `json:"version" yaml:"version"`
	URLs    []string `json:"urls" yaml:"urls"`
	Digest  string   `json:"digest" yaml:"digest"` // SHA-256 in hex; may be absent
	Removed bool     `json:"removed" yaml:"removed"`
}

// parseIndex reads an index in YAML or JSON. Charts are decoded when asked for,
// so that another chart's odd entry does no harm.
func parseIndex(data []byte) (*repositoryIndex, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	if data[0] == '{' && json.Valid(data) {
		var index struct {
			Entries map[string]json.RawMessage `json:"entries"`
		}
		if err := json.Unmarshal(data, &index); err != nil {
			return nil, err
		}
		return newIndex(index.Entries, func(entry json.RawMessage, to any) error { return json.Unmarshal(entry, to) })
	}
	var index struct {
		Entries map[string]yaml.Node `yaml:"entries"`
	}
	if err := yaml.Unmarshal(data, &index); err != nil {
		return nil, errors.New(firstLine(err.Error()))
	}
	return newIndex(index.Entries, func(entry yaml.Node, to any) error { return entry.Decode(to) })
}

func newIndex[T any](entries map[string]T, decode func(T, any) error) (*repositoryIndex, error) {
	if entries == nil {
		return nil, errors.New("it has no entries")
	}
	return &repositoryIndex{
		charts: slices.Sorted(maps.Keys(entries)),
		releases: func(chart string) ([]chartRelease, error) {
			entry, ok := entries[chart]
			if !ok {
				return nil, nil
			}
			var releases []chartRelease
			err := decode(entry, &releases)
			return releases, err
		},
	}, nil
}

// find picks a chart's release at exactly its version.
func (x *repositoryIndex) find(c Chart, address string) (chartRelease, error) {
	releases, err := x.releases(c.Name)
	if err != nil {
		return chartRelease{}, fmt.Errorf("the index of %s can't be read where it lists chart %s: %s", address, c.Name, firstLine(err.Error()))
	}
	var versions []string
	for _, r := range releases {
		if r.Removed {
			continue
		}
		if sameVersion(r.Version, c.Version) {
			return r, nil
		}
		versions = append(versions, r.Version)
	}
	missing := &VersionError{Chart: c, Address: address, Available: nearestVersions(versions, c.Version)}
	if len(missing.Available) == 0 {
		missing.Charts = x.charts[:min(len(x.charts), 5)]
	}
	return chartRelease{}, missing
}

// sameVersion takes v1.2.3 for 1.2.3.
func sameVersion(a, b string) bool { return strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v") }

// nearestVersions are the newest of all and up to two on each side of the
// wanted one, newest first. What is no version is left out.
func nearestVersions(all []string, wanted string) []string {
	want, err := semver.NewVersion(wanted)
	if err != nil {
		want = semver.MustParse("0.0.0")
	}
	var versions []*semver.Version
	for _, text := range all {
		if v, err := semver.NewVersion(text); err == nil {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b *semver.Version) int { return cmp.Or(b.Compare(a), cmp.Compare(a.Original(), b.Original())) })
	at := slices.IndexFunc(versions, func(v *semver.Version) bool { return v.LessThan(want) })
	if at < 0 {
		at = len(versions)
	}
	var nearest []string
	for i, v := range versions {
		if i == 0 || i >= at-2 && i < at+2 {
			nearest = append(nearest, v.Original())
		}
	}
	return nearest
}

func firstLine(text string) string {
	text = strings.TrimPrefix(text, "yaml: ")
	line, _, _ := strings.Cut(text, "\n")
	return line
}
