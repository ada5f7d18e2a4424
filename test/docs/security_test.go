//go:build e2e

package docs

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// secrets are texts that nothing may print or write, by what they are.
type secrets map[string]string

// in lists the secrets that a text holds, as they are or as they are often
// written.
func (s secrets) in(text string) (found []string) {
	for what, secret := range s {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret), hex.EncodeToString([]byte(secret))} {
			if strings.Contains(text, form) {
				found = append(found, what)
				break
			}
		}
	}
	return found
}

// desk is where somebody works whose every secret is known: an own home, and a
// directory to run in.
type desk struct {
	home, dir string
	secrets   secrets
	kube      string // kubeconfig with a token
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	p := newPerson(t, "keeper")
	p.may(t, []rbacv1.ClusterRole{{Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, {NonResourceURLs: []string{"*"}, Verbs: []string{"*"}}}}})
	config, err := clientcmd.LoadFromFile(p.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{home: t.TempDir(), dir: t.TempDir(), kube: p.kubeconfig, secrets: secrets{
		"the kubeconfig's token": config.AuthInfos["u"].Token,
		"a typed canary":         "canary-5f2b81",
	}}
	secret, err := sandbox.Client.CoreV1().Secrets("monitoring").Get(t.Context(), "prom-operator-grafana", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.secrets["Grafana's password"] = string(secret.Data["admin-password"])
	return d
}

func (d *desk) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the plugin and looks for secrets in all that it leaves behind.
func (d *desk) run(t *testing.T, args ...string) harness.Outcome {
	t.Helper()
	cmd := sandbox.Command(t.Context(), "kubectl-triton", []string{"HOME=" + d.home, "KUBECONFIG=" + d.kube}, args...)
	cmd.Dir = d.dir
	if args[0] == "observe" && args[1] == "open" {
		var errOut lockedBuffer
		cmd.Stderr, cmd.Stdout = &errOut, &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 30*time.Second, "observe open", func() bool { return strings.Contains(errOut.String(), "until Ctrl-C") })
		_ = cmd.Process.Signal(syscall.SIGINT) // its exit code tells
		_ = cmd.Wait()
		o := harness.Outcome{Stderr: errOut.String(), Code: cmd.ProcessState.ExitCode()}
		d.search(t, o, args)
		return o
	}
	o := harness.Finish(t, cmd)
	d.search(t, o, args)
	return o
}

func (d *desk) search(t *testing.T, o harness.Outcome, args []string) {
	t.Helper()
	if found := d.secrets.in(o.Stdout + o.Stderr); len(found) > 0 {
		t.Errorf("%s prints %s", strings.Join(args, " "), strings.Join(found, ", "))
	}
	for path, text := range d.files(t) {
		if found := d.secrets.in(text); len(found) > 0 {
			t.Errorf("%s writes %s into %s", strings.Join(args, " "), strings.Join(found, ", "), path)
		}
	}
}

// files are all that lie in the home and the directory.
func (d *desk) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, dir := range []string{d.home, d.dir} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			found[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// deadAddress refuses connections.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestSecretsStaySecret: no token and no password in what any command prints or
// writes, when it goes well and when it doesn't.
func TestSecretsStaySecret(t *testing.T) {
	installed(t)
	d := newDesk(t)
	token := d.file(t, "token", d.secrets["a typed canary"]+"\n")
	values := d.file(t, "values.yaml", "grafana: {adminPassword: "+d.secrets["a typed canary"]+"}\n")
	dead := deadAddress(t)
	with := func(scheme, host string) string {
		return scheme + "://jane:" + d.secrets["a typed canary"] + "@" + host
	}
	bench := slices.Clip([]string{"bench", "resnet50", "--requests", "3", "--warmup", "0"})
	up := slices.Clip([]string{"observe", "up", "--chart-repo", charts})
	var all sync.WaitGroup
	few := make(chan struct{}, 4) // at a time
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, bench},
		{0, append(bench, "-o", "json")},
		{0, append(bench, "-o", "yaml", "--grafana-token-file", token)},
		{0, append(bench, "--grafana-url", "http://"+dead, "--grafana-token-file", token)},
		{0, append(bench, "--grafana-url", with("http", dead), "--grafana-token-file", token)},
		{0, append(bench, "--prometheus-url", with("http", dead))},
		{0, []string{"check"}},
		{0, []string{"check", "-o", "json"}},
		{0, []string{"nodes", "-o", "json"}},
		{0, []string{"models", "-o", "json"}},
		{0, []string{"version", "-o", "json"}},
		{0, []string{"dashboards", "list", "-o", "json"}},
		{0, []string{"dashboards", "export", "loadtest-annotated", "-f", "exported.json"}},
		{0, []string{"observe", "status", "-o", "json"}},
		{0, []string{"observe", "open", "--no-browser", "--port", "0"}},
		{0, append(up, "--dry-run", "-o", "json")},
		{0, append(up, "--diff", "-f", values)},
		{0, append(up, "--diff", "-f", values, "-o", "json")},
		{0, []string{"observe", "render", "--chart-repo", charts}},
		{0, []string{"observe", "down", "--dry-run", "-o", "json"}},
		// There is no -v: what the libraries log is thrown away.
		{2, append(bench, "-v=9")},
		{2, []string{"observe", "status", "--v", "9"}},
		{1, append(bench, "--service", "none")},
		{1, append(bench, "--url", "http://"+dead)},
		{2, append(bench, "--url", with("http", dead))},
		{1, append(bench, "--server", "https://"+dead)},
		{1, append(bench, "--server", with("https", dead))},
		{1, []string{"check", "--server", with("https", dead)}},
		{1, []string{"observe", "status", "--server", with("https", dead)}},
		{1, []string{"nodes", "--token", "canary-5f2b81"}},
		{1, append(up, "--token", "canary-5f2b81")},
		{1, append(bench, "--token", "canary-5f2b81")},
		{1, []string{"nodes", "--proxy-url", with("http", dead)}},
		{1, []string{"dashboards", "list", "--grafana-url", with("http", dead), "--grafana-token-file", token}},
		{1, []string{"observe", "render", "--chart-repo", with("http", dead)}},
		{1, []string{"observe", "pull", "--chart-repo", with("http", dead), "--chart-dir", "pulled"}},
		{1, []string{"observe", "pull", "--chart-repo", "oci://jane:canary-5f2b81@" + dead, "--chart-dir", "pulled"}},
		{1, []string{"nodes", "--kubeconfig", d.file(t, "bad", "users:\n- name: u\n  user: {token: canary-5f2b81, bad")}},
	} {
		few <- struct{}{}
		all.Go(func() {
			defer func() { <-few }()
			o := d.run(t, c.args...)
			if o.Code != c.code {
				t.Errorf("%s: exit code %d, want %d\n%s%s", strings.Join(c.args, " "), o.Code, c.code, o.Stdout, o.Stderr)
			}
		})
	}
	all.Wait()
	// The search finds what is there.
	if o := d.run(t, "version", "--client"); len(d.secrets.in(o.Stdout+"\n"+base64.StdEncoding.EncodeToString([]byte("canary-5f2b81")))) != 1 {
		t.Error("the search is blind")
	}
	for path := range d.files(t) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		// Charts are public.
		if info.Mode().Perm()&0o077 != 0 && filepath.Ext(path) != ".tgz" {
			t.Errorf("%s can be read by others: %s", path, info.Mode())
		}
		t.Logf("written: %s %s", info.Mode(), filepath.Base(path))
	}
}

// TestLoopbackOnly: no command listens where another machine could connect.
func TestLoopbackOnly(t *testing.T) {
	installed(t)
	for _, target := range []string{"grafana", "triton"} {
		r := sandbox.Command(t.Context(), "kubectl-triton", nil, "observe", "open", target, "--no-browser")
		var said lockedBuffer
		r.Stdout, r.Stderr = &said, &said
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 30*time.Second, "observe open "+target, func() bool { return strings.Contains(said.String(), "until Ctrl-C") })
		listeners := listening(t, r.Process.Pid)
		if len(listeners) == 0 {
			t.Errorf("observe open %s listens nowhere", target)
		}
		for _, address := range listeners {
			if !address.IsLoopback() {
				t.Errorf("observe open %s listens on %s", target, address)
			}
		}
		_ = r.Process.Signal(syscall.SIGINT)
		if err := r.Wait(); err != nil {
			t.Errorf("observe open %s: %v\n%s", target, err, said.String())
		}
	}
	bench := sandbox.Command(t.Context(), "kubectl-triton", nil, "bench", "resnet50", "--duration", "3s", "--warmup", "0")
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- bench.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(100 * time.Millisecond):
			if l := listening(t, bench.Process.Pid); len(l) > 0 {
				t.Errorf("bench listens on %s", l)
			}
		}
	}
}

// listening are the addresses on which a process of this machine accepts.
func listening(t *testing.T, pid int) (found []net.IP) {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			own[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return found // it has just ended
		}
		for line := range strings.Lines(string(text)) {
			const listen = "0A"
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listen || !own[f[9]] {
				continue
			}
			address, _, _ := strings.Cut(f[1], ":")
			raw, err := hex.DecodeString(address)
			if err != nil {
				t.Fatal(err)
			}
			for word := range slices.Chunk(raw, 4) { // in the machine's order
				slices.Reverse(word)
			}
			found = append(found, net.IP(raw))
		}
	}
	return found
}

// TestCertificatesAreVerified: nobody is spoken to whose certificate nobody
// vouches for; only kubectl's own flag says otherwise, and only of the API server.
func TestCertificatesAreVerified(t *testing.T) {
	installed(t)
	var asked atomic.Int32
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	stranger.EnableHTTP2 = true                           // gRPC asks for it before it looks at the certificate
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0) // that it is refused is what is wanted
	stranger.StartTLS()
	defer stranger.Close()
	d := newDesk(t)
	token := d.file(t, "token", d.secrets["a typed canary"])
	config, err := clientcmd.LoadFromFile(d.kube)
	if err != nil {
		t.Fatal(err)
	}
	config.Clusters["c"].CertificateAuthorityData, config.Clusters["c"].CertificateAuthority = nil, ""
	other := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, other); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{1, []string{"nodes", "--kubeconfig", other}, "certificate"},
		{1, []string{"models", "--kubeconfig", other}, "certificate"},
		{1, []string{"check", "--kubeconfig", other}, "certificate"},
		{1, []string{"observe", "status", "--kubeconfig", other}, "certificate"},
		{1, []string{"bench", "--kubeconfig", other}, "certificate"},
		{0, []string{"nodes", "--kubeconfig", other, "--insecure-skip-tls-verify"}, "gpu-node-0"},
		{0, []string{"models", "--kubeconfig", other, "--insecure-skip-tls-verify"}, "resnet50"},
		{1, []string{"nodes", "--server", stranger.URL}, "certificate"},
		{1, []string{"bench", "resnet50", "--url", stranger.URL}, "certificate"},
		{1, []string{"bench", "resnet50", "--url", strings.Replace(stranger.URL, "https", "grpcs", 1)}, "certificate"},
		{0, []string{"bench", "resnet50", "--requests", "2", "--warmup", "0", "--prometheus-url", stranger.URL}, "certificate"},
		{0, []string{"bench", "resnet50", "--requests", "2", "--warmup", "0", "--grafana-url", stranger.URL, "--grafana-token-file", token}, "certificate"},
		{0, []string{"bench", "resnet50", "--requests", "2", "--warmup", "0", "--prometheus-url", stranger.URL, "--kubeconfig", other, "--insecure-skip-tls-verify"}, "certificate"},
		{1, []string{"dashboards", "list", "--grafana-url", stranger.URL, "--grafana-token-file", token}, "certificate"},
		{1, []string{"observe", "pull", "--chart-dir", "pulled", "--chart-repo", stranger.URL}, "certificate"},
	} {
		o := d.run(t, c.args...)
		if o.Code != c.code || !strings.Contains(words(o), c.want) {
			t.Errorf("%s: exit code %d, %q is not in\n%s%s", strings.Join(c.args, " "), o.Code, c.want, o.Stdout, o.Stderr)
		}
	}
	if asked.Load() > 0 {
		t.Errorf("%d requests, with their secrets, went to a stranger", asked.Load())
	}
}

// lockedBuffer collects what a running program prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
