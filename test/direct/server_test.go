//go:build e2e

package direct

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	binDir = "../../bin"
	models = "../e2e/testdata/models"
)

// triton is a simulated server that listens on loopback; its addresses are
// HOST:PORT.
type triton struct{ http, grpc, metrics, control string }

// startTriton runs the sandbox's tritonserver as its node agent would: with
// listeners that are open already.
func startTriton(t *testing.T) triton {
	t.Helper()
	return serve(t, withoutGPUs(t))
}

func serve(t *testing.T, repository string) triton {
	t.Helper()
	names := []string{"8000", "8001", "8002", "8003"}
	addresses := make([]string, len(names))
	cmd := exec.Command(filepath.Join(binDir, "tritonserver"), "--model-repository", repository)
	for i := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		addresses[i] = l.Addr().String()
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the server's log:\n%s", log.String())
		}
	})
	s := triton{addresses[0], addresses[1], addresses[2], addresses[3]}
	hc := &http.Client{Timeout: time.Second}
	defer hc.CloseIdleConnections()
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := hc.Get("http://" + s.http + "/v2/health/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server is not ready: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// withoutGPUs is the model repository for a machine that has none.
func withoutGPUs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(models, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no models in %s: %v", models, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`KIND_GPU(.*), gpus: \[0\]`).ReplaceAll(text, []byte("KIND_CPU$1"))
		text = regexp.MustCompile(`(?m)^ *gpu_memory:.*\n`).ReplaceAll(text, nil)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// relay accepts connections and passes them on to its targets in turn; with a
// TLS configuration it ends the encryption, as an ingress does.
type relay struct {
	address  string
	listener net.Listener
	targets  []string

	mu      sync.Mutex
	next    int
	conns   []net.Conn
	running sync.WaitGroup
}

func startRelay(t *testing.T, config *tls.Config, targets ...string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: l.Addr().String(), listener: l, targets: targets}
	if config != nil {
		r.listener = tls.NewListener(l, config)
	}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		r.listener.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		target := r.targets[r.next%len(r.targets)]
		r.next++
		back, err := net.Dial("tcp", target)
		if err == nil {
			r.conns = append(r.conns, conn, back)
		}
		r.mu.Unlock()
		if err != nil {
			conn.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{conn, back}, {back, conn}} {
			r.running.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				way[0].Close()
				way[1].Close()
			})
		}
	}
}

// certificate is one for 127.0.0.1 and example.com, with its authority in a file.
func certificate(t *testing.T, protocol string) (config *tls.Config, authority string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	authority = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS12}, authority
}

type outcome struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// plugin runs the built plugin where there is no cluster.
func plugin(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "kubectl-triton"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return o
}

func benchJSON(t *testing.T, args ...string) *report.Bench {
	t.Helper()
	o := plugin(t, slices.Concat([]string{"bench"}, args, []string{"-o", "json"})...)
	if o.code != 0 {
		t.Fatalf("bench %v: exit code %d: %s%s", args, o.code, o.stdout, o.stderr)
	}
	var r report.Bench
	d := json.NewDecoder(strings.NewReader(o.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	return &r
}
