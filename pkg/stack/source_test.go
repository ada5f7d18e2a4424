package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// site is a chart repository whose answers can be replaced.
type site struct {
	*httptest.Server
	requests atomic.Int64
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by path
}

func newSite(t *testing.T) *site {
	s := &site{handlers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		h := s.handlers[r.URL.Path]
		s.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
}

func (s *site) serve(path string, content []byte) {
	s.handle(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
}

func indexOf(digest string, urls ...string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
entries:
  odd: {not: [a, list]}
  beacon:
  - {name: beacon, version: 2.0.0, urls: [none.tgz]}
  - {name: beacon, version: 1.4.1, urls: [none.tgz]}
  - {name: beacon, version: 1.4.0, digest: "%s", urls: [%s]}
  - {name: beacon, version: 1.3.0, urls: [none.tgz]}
  - {name: beacon, version: 1.2.0, urls: [none.tgz]}
  - {name: beacon, version: 1.1.0, urls: [none.tgz]}
`, digest, strings.Join(urls, ", "))
}

// newRepository publishes the test chart.
func newRepository(t *testing.T) (*site, Chart) {
	s := newSite(t)
	data := testPackage(t)
	s.serve("/charts/index.yaml", indexOf(digestOf(data), "packages/beacon-1.4.0.tgz"))
	s.serve("/charts/packages/beacon-1.4.0.tgz", data)
	c := testChart()
	c.Repository = s.URL + "/charts"
	return s, c
}

func TestLoadFetchesOnce(t *testing.T) {
	site, c := newRepository(t)
	source := Source{CacheDir: filepath.Join(t.TempDir(), "made", "when needed")}
	p, err := source.Load(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest != digestOf(testPackage(t)) || p.Origin != c.Repository || p.AppVersion() != "v0.9.1" {
		t.Errorf("loaded %+v", p)
	}
	asked := site.requests.Load()
	again, err := source.Load(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if site.requests.Load() != asked || again.Digest != p.Digest || again.Origin != c.Repository+" (cached)" {
		t.Errorf("%d further requests, loaded %+v", site.requests.Load()-asked, again)
	}
	// Another repository may publish something else by that name.
	other := c
	other.Repository = site.URL + "/elsewhere"
	if _, err := source.Load(t.Context(), other); err == nil {
		t.Error("a package of another repository was taken")
	}
	file := theCached(t, source)
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
		}
	}
}

// theCached is the only file in a cache.
func theCached(t *testing.T, s Source) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.CacheDir, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the cache holds %v, %v", files, err)
	}
	return files[0]
}

func TestCorruptCacheIsFetchedAgain(t *testing.T) {
	site, c := newRepository(t)
	source := Source{CacheDir: t.TempDir()}
	if _, err := source.Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	file := theCached(t, source)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cut off": whole[:100], "empty": nil, "another": []byte("garbage")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		asked := site.requests.Load()
		p, err := source.Load(t.Context(), c)
		if err != nil || p.Origin != c.Repository || site.requests.Load() == asked {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if restored, err := os.ReadFile(file); err != nil || digestOf(restored) != digestOf(whole) {
			t.Errorf("%s: the cache was not repaired: %v", name, err)
		}
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	_, c := newRepository(t)
	file := filepath.Join(t.TempDir(), "file")
	unpack(t, filepath.Dir(file), map[string]string{"file": ""})
	if _, err := (Source{CacheDir: file}).Load(t.Context(), c); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	_, c := newRepository(t)
	source := Source{CacheDir: t.TempDir()}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if p, err := source.Load(t.Context(), c); err != nil || p.Digest == "" {
				t.Error(p, err)
			}
		})
	}
	wg.Wait()
	theCached(t, source)
}

func TestCancelledDownload(t *testing.T) {
	site, c := newRepository(t)
	half := make(chan struct{})
	site.handle("/charts/packages/beacon-1.4.0.tgz", halfThenWait(testPackage(t), half))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-half
		cancel()
	}()
	source := Source{CacheDir: t.TempDir()}
	_, err := source.Load(ctx, c)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "fetching chart beacon 1.4.0 from "+c.Repository+" was cut short") {
		t.Errorf("got %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(source.CacheDir, "*", "*")); len(files) > 0 {
		t.Errorf("the cache holds %v", files)
	}
	if _, err := source.Load(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// halfThenWait answers half of the content, says so and stalls until the client
// goes away.
func halfThenWait(content []byte, half chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		if half != nil {
			close(half)
		}
		<-r.Context().Done()
	}
}

func cutOff(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func TestRepositoryFaults(t *testing.T) {
	const index, file = "/charts/index.yaml", "/charts/packages/beacon-1.4.0.tgz"
	data := testPackage(t)
	garbage := []byte("not a package")
	for _, test := range []struct {
		name, path  string
		handler     http.HandlerFunc
		want        string
		unreachable bool
	}{
		{"index absent", index, status(404), "index.yaml can't be used: it answered 404 Not Found", true},
		{"index forbidden", index, status(403), "403 Forbidden: it wants credentials", true},
		{"server broken", index, status(503), "503 Service Unavailable", true},
		{"index cut off", index, cutOff(indexOf(digestOf(data), "x")), "the connection broke off in the middle of the answer", true},
		{"index stalls", index, halfThenWait(indexOf(digestOf(data), "x"), nil), "no data came for 200ms in the middle of the answer", true},
		{"index never begins", index, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout awaiting response headers", true},
		{"index endless", index, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		}, "the answer is larger than 1 MB", true},
		{"sign-in page", index, answer("<html><body>Sign in</body></html>"), "is not the index of a chart repository", false},
		{"index empty", index, answer("\n"), "it is empty", false},
		{"index garbage", index, answer("\x00\x01\x02"), "is not the index of a chart repository", false},
		{"index without entries", index, answer("apiVersion: v1\n"), "it has no entries", false},
		{"odd entry", index, answer("entries: {beacon: {a: b}}"), "can't be read where it lists chart beacon", false},
		{"chart absent", index, answer("entries: {deacon: [], bacon: []}"), "has no chart beacon (it has bacon, deacon); give another --chart-repo", false},
		{"no charts", index, answer("entries: {}"), "no chart at all", false},
		{"version absent", index, answer("entries: {beacon: [{version: 3.0.0}, {version: 1.4.1}, {version: junk}, {version: 1.4.0, removed: true}, {version: 1.3.0}, {version: 1.2.0}, {version: 1.1.0}]}"), "has no chart beacon 1.4.0; the nearest versions there are 3.0.0, 1.4.1, 1.3.0, 1.2.0;", false},
		{"no address", index, answer("entries: {beacon: [{version: 1.4.0}]}"), "names no address for the package", false},
		{"strange address", index, answer("entries: {beacon: [{version: 1.4.0, urls: ['file:///etc/passwd']}]}"), `names "file:///etc/passwd" as a package`, false},
		{"package absent", file, status(404), "packages/beacon-1.4.0.tgz can't be used: it answered 404", true},
		{"package cut off", file, cutOff(data), "the connection broke off", true},
		{"package stalls", file, halfThenWait(data, nil), "no data came for 200ms", true},
		{"package corrupt", file, answer(string(garbage)), "its SHA-256 is " + digestOf(garbage) + ", the index says " + digestOf(data), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			site, c := newRepository(t)
			site.handle(test.path, test.handler)
			l := limits{connect: time.Second, answer: 500 * time.Millisecond, stall: 200 * time.Millisecond, bytes: 1 << 20}
			source := Source{CacheDir: t.TempDir()}
			_, _, err := source.obtain(t.Context(), c, l)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want …%s…", err, test.want)
			}
			var unreachable *UnreachableError
			if errors.As(err, &unreachable) != test.unreachable {
				t.Errorf("unreachable is %v, want %v: %v", unreachable != nil, test.unreachable, err)
			}
			if unreachable != nil && !strings.Contains(err.Error(), "'kubectl triton observe pull'") {
				t.Errorf("no next step: %v", err)
			}
			if files, _ := filepath.Glob(filepath.Join(source.CacheDir, "*", "*")); len(files) > 0 {
				t.Errorf("the cache holds %v", files)
			}
		})
	}
}

func TestRepositoryDown(t *testing.T) {
	site, c := newRepository(t)
	site.Close()
	_, err := Source{}.Load(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "could not fetch chart beacon 1.4.0: "+c.Repository+"/index.yaml can't be used: dial tcp") ||
		!strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "--chart-dir") {
		t.Error(err)
	}
}

func TestIndexInJSONWithoutDigest(t *testing.T) {
	site, c := newRepository(t)
	site.serve("/charts/index.yaml", []byte(`{"apiVersion":"v1","entries":{"beacon":[{"version":"v1.4.0","urls":["missing.tgz","`+site.URL+`/charts/packages/beacon-1.4.0.tgz"]}]}}`))
	p, err := Source{}.Load(t.Context(), c)
	if err != nil || p.Digest != digestOf(testPackage(t)) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestMirrorCredentials(t *testing.T) {
	site, c := newRepository(t)
	other := newSite(t)
	data := testPackage(t)
	other.handle("/beacon.tgz", func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			t.Error("credentials went to another host")
		}
		_, _ = w.Write(data)
	})
	wantsLogin := func(h []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "hunter2" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write(h)
		}
	}
	mirror, err := url.Parse(site.URL + "/charts/")
	if err != nil {
		t.Fatal(err)
	}
	site.handle("/charts/packages/beacon-1.4.0.tgz", wantsLogin(data))
	for _, at := range []string{"packages/beacon-1.4.0.tgz", site.URL + "/charts/packages/beacon-1.4.0.tgz", other.URL + "/beacon.tgz"} {
		site.handle("/charts/index.yaml", wantsLogin(indexOf(digestOf(data), at)))
		mirror.User = url.UserPassword("me", "hunter2")
		c.Repository, c.OCI = "http://127.0.0.1:1", ""
		p, err := Source{Mirror: mirror.String()}.Load(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.Origin, "hunter2") {
			t.Error("the origin shows the password:", p.Origin)
		}
	}
	mirror.User = url.UserPassword("me", "hunter22")
	_, err = Source{Mirror: mirror.String()}.Load(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
}

func TestMirrorAddress(t *testing.T) {
	for mirror, want := range map[string]string{
		"charts.example.com":     "is not an address",
		"://":                    "is not an address",
		"ftp://u:pw@example.com": "ftp://u:xxxxx@example.com can't be used: its address must begin with",
	} {
		if _, err := (Source{Mirror: mirror}).Load(t.Context(), testChart()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mirror, err)
		}
	}
	if _, err := (Source{}).Load(t.Context(), testChart()); err == nil || !strings.Contains(err.Error(), "has no repository") {
		t.Error(err)
	}
}

func TestChartDirectory(t *testing.T) {
	c := testChart()
	c.Repository = "http://127.0.0.1:1" // must not be asked
	load := func(dir string) (*Package, error) {
		return Source{Dir: dir, Mirror: "http://127.0.0.1:1"}.Load(t.Context(), c)
	}

	packaged := t.TempDir()
	unpack(t, packaged, map[string]string{"beacon-1.4.0.tgz": string(testPackage(t)), "beacon-1.3.0.tgz": "old"})
	p, err := load(packaged)
	if err != nil || p.Digest != digestOf(testPackage(t)) || p.Origin != filepath.Join(packaged, "beacon-1.4.0.tgz") {
		t.Errorf("%+v, %v", p, err)
	}
	for _, at := range []string{"beacon", "beacon-1.4.0", "."} {
		dir := t.TempDir()
		unpack(t, filepath.Join(dir, at), testFiles())
		p, err := load(dir)
		if err != nil || p.Digest != "" || p.Origin != filepath.Join(dir, at) {
			t.Errorf("unpacked in %s: %+v, %v", at, p, err)
		}
	}

	old, broken := t.TempDir(), t.TempDir()
	unpack(t, old, map[string]string{"beacon-1.3.0.tgz": "old", "other.txt": ""})
	unpack(t, broken, map[string]string{"beacon-1.4.0.tgz": "cut off"})
	for dir, want := range map[string]string{
		old:                                  "holds no beacon-1.4.0.tgz, but beacon-1.3.0.tgz; fetch the chart with 'kubectl triton observe pull'",
		t.TempDir():                          "holds no beacon-1.4.0.tgz; fetch",
		broken:                               "is corrupt: it is not a complete gzipped tar archive",
		filepath.Join(t.TempDir(), "absent"): "no such file or directory; 'kubectl triton observe pull' fills one",
	} {
		if _, err := load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
}

func TestPull(t *testing.T) {
	_, c := newRepository(t)
	dir := filepath.Join(t.TempDir(), "air", "gapped")
	path, err := Source{}.Pull(t.Context(), c, dir)
	if err != nil || path != filepath.Join(dir, "beacon-1.4.0.tgz") {
		t.Fatal(path, err)
	}
	if p, err := (Source{Dir: dir}).Load(t.Context(), c); err != nil || p.Digest != digestOf(testPackage(t)) {
		t.Errorf("%+v, %v", p, err)
	}
	// Again over what is there; nothing else is left.
	if _, err := (Source{}).Pull(t.Context(), c, dir); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
	if _, err := (Source{Dir: dir}).Pull(t.Context(), c, dir); err == nil {
		t.Error("pulled from a directory")
	}
	if _, err := (Source{}).Pull(t.Context(), c, path); err == nil || !strings.Contains(err.Error(), "could not make the directory") {
		t.Error(err)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add(indexOf("00", "a.tgz"))
	for _, seed := range []string{"", "{}", `{"entries":{"beacon":[{"version":1}]}}`, "entries: {beacon: [null]}", "entries: {beacon: [{version: 1.4, urls: [a, {b: c}]}]}", "entries: &a {beacon: *a}", "entries: [a]", "<html>"} {
		f.Add([]byte(seed))
	}
	c := testChart()
	origin := repositoryOrigin{&url.URL{Scheme: "https", Host: "example.com", Path: "/charts", User: url.UserPassword("me", "hunter2")}}
	f.Fuzz(func(t *testing.T, data []byte) {
		index, err := parseIndex(data)
		if err != nil {
			return
		}
		release, err := index.find(c, "fuzz")
		if err != nil {
			return
		}
		for _, reference := range release.URLs {
			u, err := origin.resolve(reference)
			if err == nil && u.Host != "example.com" && u.User.String() == "me:hunter2" && !strings.Contains(reference, "hunter2") {
				t.Errorf("%q takes the credentials to %s", reference, u)
			}
		}
	})
}
