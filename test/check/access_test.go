//go:build e2e

package check

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
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
	benchSays(t, 0, check.Result{}, "--as", "bencher")
	benchSays(t, 1, result(t, look(t, "--as", "nobody"), "may-bench"), "--as", "nobody")
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
