//go:build e2e

package check

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// named makes a result independent of which node was the idle one.
func named(k check.Result, node string) check.Result {
	for i, f := range k.Findings {
		k.Findings[i].What = strings.ReplaceAll(f.What, node, "NODE")
		k.Findings[i].Why = strings.ReplaceAll(f.Why, node, "NODE")
		k.Findings[i].Command = strings.ReplaceAll(f.Command, node, "NODE")
	}
	return k
}

// onlyBench may read and reach Triton's namespace.
const onlyBench = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: bencher, namespace: triton}
rules:
  - {apiGroups: [""], resources: [services, pods], verbs: [get, list]}
  - {apiGroups: [""], resources: [pods/portforward], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bencher, namespace: triton}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: bencher}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bencher}]
`

// TestPermissions: you may bench, you may not observe up, and what can be
// checked is.
func TestPermissions(t *testing.T) {
	well(t)
	file := t.TempDir() + "/rbac.yaml"
	write(t, file, onlyBench)
	defer kubectl(t, "delete", "--filename", file)
	kubectl(t, "apply", "--filename", file)
	r := look(t, "--as", "bencher")
	for id, want := range map[string]check.State{
		"may-bench": check.StateOK, "may-observe-up": check.StateWarning, "may-nodes": check.StateWarning, "nodes-read": check.StateWarning,
		"services-read": check.StateWarning, "gpu-nodes": check.StateSkipped, "triton-found": check.StateOK, "triton-models-ready": check.StateOK,
	} {
		if k := result(t, r, id); k.State != want {
			t.Errorf("%s is %s, want %s: %+v", id, k.State, want, k)
		}
	}
	if r.Counts.Failed != 0 {
		t.Errorf("%+v", r.Counts)
	}
	golden(t, result(t, r, "may-observe-status"))
}

// TestRequests: each kind is listed once, page by page, whatever asks for it.
func TestRequests(t *testing.T) {
	well(t)
	const extra = 1100 // with the others: three pages
	var wg sync.WaitGroup
	defer func() {
		if err := sandbox.Client.CoreV1().Nodes().DeleteCollection(background(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "check=extra"}); err != nil {
			t.Error(err)
		}
	}()
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < extra; i += 8 {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("extra-%d", i), Labels: map[string]string{"check": "extra"}}, Spec: corev1.NodeSpec{Unschedulable: true}}
				if _, err := sandbox.Client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lists, gets := counted(t, "check", "-o", "json")
	pages := 0
	for request, n := range lists {
		if n > 1 {
			t.Errorf("%d times: %s", n, request)
		}
		if strings.HasPrefix(request, "/api/v1/nodes?") {
			pages++
		}
	}
	if pages != 3 {
		t.Errorf("the nodes took %d pages, want 3: %v", pages, lists)
	}
	for kind := range lists {
		t.Logf("listed: %.120s", kind)
	}
	for kind, n := range gets {
		t.Logf("got by name %d times: %s", n, kind)
	}
}

// counted runs the plugin through a proxy in front of the API server and counts
// its lists, by path and page, and its other reads. Watches are those of tunnels.
func counted(t *testing.T, args ...string) (lists, gets map[string]int) {
	t.Helper()
	upstream, err := url.Parse(sandbox.REST.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(rest.CopyConfig(sandbox.REST))
	if err != nil {
		t.Fatal(err)
	}
	// Upgrades need HTTP/1.1.
	tlsConfig, err := rest.TLSConfigFor(sandbox.REST)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.NextProtos = []string{"http/1.1"}
	upgrading := &http.Transport{TLSClientConfig: tlsConfig}
	defer upgrading.CloseIdleConnections()
	lists, gets = map[string]int{}, map[string]int{}
	var mu sync.Mutex
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Upgrade") != "" {
				return upgrading.RoundTrip(r)
			}
			return transport.RoundTrip(r)
		}),
		FlushInterval: -1,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method == http.MethodGet && q.Get("watch") == "" && r.Header.Get("Upgrade") == "" {
			mu.Lock()
			if isList(r.URL.Path) {
				lists[r.URL.Path+"?"+q.Get("fieldSelector")+"&continue="+q.Get("continue")]++
			} else {
				gets[r.URL.Path]++
			}
			mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	file := path.Join(t.TempDir(), "kubeconfig")
	write(t, file, fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"current-context":"c"}`, server.URL))
	o := harness.Finish(t, sandbox.Command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + file}, args...))
	if o.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	return lists, gets
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// isList tells /api/v1/nodes and /apis/apps/v1/namespaces/x/daemonsets from reads
// of one object and of the API's own description.
func isList(p string) bool {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	return len(parts) == 1
}

// TestServerGone: one sentence, and the rest skipped.
func TestServerGone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	o := sandbox.Run(t, "kubectl-triton", "check", "--server", "https://"+address)
	for _, want := range []string{"× the API server answers", "could not ask the API server for its version", "1 failed, "} {
		if o.Code != 1 || !strings.Contains(strings.Join(strings.Fields(o.Stdout), " "), want) || strings.Contains(o.Stdout+o.Stderr, "goroutine") {
			t.Errorf("exit code %d, %q is not in\n%s%s", o.Code, want, o.Stdout, o.Stderr)
		}
	}
}

// TestSilentServer: one that accepts and never answers is cut off; Ctrl-C ends
// it at once.
func TestSilentServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan struct{}, 64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	server := "https://" + listener.Addr().String()
	o := sandbox.Run(t, "kubectl-triton", "check", "--server", server, "--timeout", "1s")
	if o.Code != 1 || o.Took > 10*time.Second || !strings.Contains(strings.Join(strings.Fields(o.Stdout), " "), "did not answer in time") {
		t.Errorf("exit code %d after %s\n%s%s", o.Code, o.Took, o.Stdout, o.Stderr)
	}
	for len(accepted) > 0 {
		<-accepted
	}
	r := sandbox.Start(t, "kubectl-triton", "check", "--server", server)
	<-accepted
	r.Signal(syscall.SIGINT)
	if o := r.Wait(t, 10*time.Second); o.Code != 130 || !strings.Contains(o.Stderr, "interrupted") {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	if o := sandbox.Run(t, "kubectl-triton", "check", "-o", "xml"); o.Code != 2 {
		t.Errorf("wrong usage: exit code %d", o.Code)
	}
}
