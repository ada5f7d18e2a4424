package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// maxPackageBytes bounds what is read as a package; the largest of the two
// charts has less than 1 MB.
const maxPackageBytes = 32 << 20

// Source says where charts come from.
type Source struct {
	Dir      string // packages (.tgz) or unpacked charts; nothing else is asked. "" for none
	Mirror   string // a repository (http://, https:// or oci://) that holds all charts, instead of their own. "" for none
	CacheDir string // packages that were fetched; "" for none
}

// UnreachableError says that a chart could not be fetched from any of the
// places that may have it.
type UnreachableError struct {
	Chart    Chart
	Attempts []error // one sentence for each place, in the order they were asked
}

func (e *UnreachableError) Error() string {
	attempts := make([]string, len(e.Attempts))
	for i, err := range e.Attempts {
		attempts[i] = err.Error()
	}
	return fmt.Sprintf("could not fetch chart %s: %s; check the network and the proxy settings, or run 'kubectl triton observe pull' where there is a network and give its directory with --chart-dir: that needs none", e.Chart, strings.Join(attempts, "; "))
}

func (e *UnreachableError) Unwrap() []error { return e.Attempts }

// origin is one place that publishes charts.
type origin interface {
	// address names it, without credentials.
	address() string
	// fetch gives the package's content, verified by the digest that the place
	// publishes. An *unreachable error means that another place may be asked.
	fetch(ctx context.Context, d *downloader, c Chart) ([]byte, error)
}

// unreachable is one failed attempt to reach a place.
type unreachable struct {
	address string
	err     error
}

func (e *unreachable) Error() string { return e.address + " can't be used: " + e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// Load gives a chart: from the directory if there is one, else from the cache,
// else fetched and put there. A cache that can't be written is no error.
func (s Source) Load(ctx context.Context, c Chart) (*Package, error) {
	if s.Dir != "" {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return loadFrom(s.Dir, c)
	}
	p, _, err := s.obtain(ctx, c, defaultLimits())
	return p, err
}

// Pull writes a chart's package into a directory, which is made if it is not
// there, for use with Source.Dir; it returns the file's path.
func (s Source) Pull(ctx context.Context, c Chart, dir string) (path string, err error) {
	if s.Dir != "" {
		return "", fmt.Errorf("could not pull chart %s: charts come from the directory %s already", c, s.Dir)
	}
	_, data, err := s.obtain(ctx, c, defaultLimits())
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, c.fileName())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("could not make the directory %s for the charts: %w", dir, err)
	}
	if err := writeAtomically(path, data, 0o644); err != nil {
		return "", fmt.Errorf("could not write chart %s: %w", c, err)
	}
	return path, nil
}

// obtain takes a package from the cache or from the first origin that has it.
func (s Source) obtain(ctx context.Context, c Chart, l limits) (*Package, []byte, error) {
	origins, err := s.origins(c)
	if err != nil {
		return nil, nil, err
	}
	store := cache{dir: s.CacheDir}
	for _, o := range origins {
		if data, ok := store.get(c, o.address()); ok {
			if p, err := newPackage(c, data, o.address()+" (cached)"); err == nil && s.pinned(c, data, o) == nil {
				return p, data, nil
			}
			// What can't be loaded was never put there by this code: fetch it.
		}
	}
	d := newDownloader(ctx, l)
	defer d.close()
	failed := &UnreachableError{Chart: c}
	for _, o := range origins {
		data, err := o.fetch(ctx, d, c)
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("fetching chart %s from %s was cut short: %w", c, o.address(), context.Cause(ctx))
		}
		var attempt *unreachable
		if errors.As(err, &attempt) {
			failed.Attempts = append(failed.Attempts, attempt)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if err := s.pinned(c, data, o); err != nil {
			return nil, nil, err
		}
		p, err := newPackage(c, data, o.address())
		if err != nil {
			return nil, nil, err
		}
		store.put(c, o.address(), data, p.Digest)
		return p, data, nil
	}
	return nil, nil, failed
}

// pinned refuses a package from the chart's own repository that is another than
// the one that is known.
func (s Source) pinned(c Chart, data []byte, from origin) error {
	if s.Mirror != "" || c.Digest == "" {
		return nil
	}
	if got := digestOf(data); got != c.Digest {
		return &CorruptPackageError{Chart: c, Origin: from.address(), Expected: c.Digest, Actual: got, Pinned: true}
	}
	return nil
}

// origins are the places to ask, best first.
func (s Source) origins(c Chart) ([]origin, error) {
	if s.Mirror != "" {
		u, err := url.Parse(s.Mirror)
		switch {
		case err != nil || u.Host == "":
			return nil, errors.New("the chart repository is not an address; give one such as https://charts.example.com or oci://registry.example.com/charts")
		case u.Scheme == "oci" && u.User != nil:
			return nil, fmt.Errorf("the registry's address %s holds a login; leave it out and log in with 'helm registry login %s'", u.Redacted(), u.Host)
		case u.Scheme == "oci":
			return []origin{registryOrigin{strings.TrimSuffix(s.Mirror, "/") + "/" + c.Name}}, nil
		case u.Scheme == "http", u.Scheme == "https":
			return []origin{repositoryOrigin{u}}, nil
		}
		return nil, fmt.Errorf("the chart repository %s can't be used: its address must begin with https://, http:// or oci://", u.Redacted())
	}
	var all []origin
	if c.Repository != "" {
		u, err := url.Parse(c.Repository)
		if err != nil {
			return nil, fmt.Errorf("the repository of chart %s is not an address: %w", c, err)
		}
		all = append(all, repositoryOrigin{u})
	}
	if c.OCI != "" {
		all = append(all, registryOrigin{c.OCI})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("chart %s has no repository; give a directory that holds it with --chart-dir", c)
	}
	return all, nil
}

// loadFrom finds a chart in a directory: its package, the chart unpacked under
// its name, or the directory itself.
func loadFrom(dir string, c Chart) (*Package, error) {
	entries, err := os.ReadDir(dir)
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if err != nil {
		return nil, fmt.Errorf("could not look for chart %s in the directory %s: %w; 'kubectl triton observe pull' fills one", c, dir, err)
	}
	file := filepath.Join(dir, c.fileName())
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		if info.Size() > maxPackageBytes {
			return nil, fmt.Errorf("%s has %d bytes, too many for a chart's package", file, info.Size())
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("could not read chart %s: %w", c, err)
		}
		return newPackage(c, data, file)
	}
	for _, unpacked := range []string{filepath.Join(dir, c.Name), filepath.Join(dir, c.Name+"-"+c.Version), dir} {
		if _, err := os.Stat(filepath.Join(unpacked, "Chart.yaml")); err == nil {
			return openDirectory(c, unpacked)
		}
	}
	holds := ""
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), c.Name+"-") {
			holds += ", " + e.Name()
		}
	}
	if holds != "" {
		holds = ", but " + holds[2:]
	}
	return nil, fmt.Errorf("the directory %s holds no %s%s; fetch the chart with 'kubectl triton observe pull'", dir, c.fileName(), holds)
}
