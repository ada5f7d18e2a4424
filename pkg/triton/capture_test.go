package triton

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// capture is the exact answer of a real server.
func capture(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "captures", name+".response"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func captureBody(t testing.TB, name string) []byte {
	t.Helper()
	_, body, ok := bytes.Cut(capture(t, name), []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("capture %s has no body", name)
	}
	return body
}

func capturedModel(t testing.TB, metadata, config string) (meta ModelMetadata, cfg ModelConfig) {
	t.Helper()
	if metadata != "" {
		if err := json.Unmarshal(captureBody(t, "meta_model_"+metadata), &meta); err != nil {
			t.Fatal(err)
		}
	}
	if config != "" {
		if err := json.Unmarshal(captureBody(t, "config_"+config), &cfg); err != nil {
			t.Fatal(err)
		}
	}
	return meta, cfg
}

// replay serves answers as raw bytes by method and path, and returns a client.
func replay(t *testing.T, answers map[string][]byte) *Client {
	t.Helper()
	return clientOf(t, rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			answer, ok := answers[req.Method+" "+req.URL.Path]
			if !ok {
				t.Errorf("unexpected request %s %s", req.Method, req.URL.Path)
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}))
}

// rawServer serves each connection by handler and returns its address. It is
// gone, with its connections, when the test ends.
func rawServer(t *testing.T, handler func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var running connections
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.serve(conn, func() { handler(conn, bufio.NewReader(conn)) })
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		running.close()
	})
	return listener.Addr().String()
}

func clientOf(t *testing.T, addr string) *Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return NewClient(&http.Client{Transport: transport}, "http://"+addr)
}

func captureNames(t testing.TB, prefix string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "captures", prefix+"*.response"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no captures %s*: %v", prefix, err)
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(path), ".response")
	}
	return names
}
