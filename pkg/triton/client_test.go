package triton

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
)

func TestClientReadsServerAndModelsAsCaptured(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("calls", func(t *testing.T) {
		ctx := t.Context()
		c := replay(t, map[string][]byte{
			"GET /v2":                                      capture(t, "meta_server"),
			"GET /v2/health/live":                          capture(t, "health_live"),
			"GET /v2/health/ready":                         capture(t, "health_ready"),
			"GET /v2/models/m/ready":                       capture(t, "health_model_ready"),
			"GET /v2/models/identity_fp32":                 capture(t, "meta_model_identity_fp32"),
			"GET /v2/models/ens/config":                    capture(t, "config_ens"),
			"GET /v2/models/seq_sum/config":                capture(t, "config_seq_sum"),
			"GET /v2/models/queue_small/versions/1/config": capture(t, "config_queue_small"),
			"GET /v2/models/cached/stats":                  capture(t, "stats_cached"),
			"GET /v2/models/stats":                         capture(t, "stats_all_after"),
			"POST /v2/repository/index":                    capture(t, "repo_index_after_broken"),
		})
		server, err := c.ServerMetadata(ctx)
		if err != nil || server.Name != "triton" || server.Version != "2.70.0" || len(server.Extensions) != 12 {
			t.Errorf("ServerMetadata = %+v, %v", server, err)
		}
		if err := errors.Join(c.ServerLive(ctx), c.ServerReady(ctx), c.ModelReady(ctx, "m", "")); err != nil {
			t.Error(err)
		}
		meta, err := c.ModelMetadata(ctx, "identity_fp32", "")
		want := ModelMetadata{Name: "identity_fp32", Versions: []string{"1"}, Platform: "identity",
			Inputs:  []Tensor{{"INPUT0", FP32, []int64{-1, 4}}},
			Outputs: []Tensor{{"OUTPUT0", FP32, []int64{-1, 4}}}}
		if diff := cmp.Diff(want, meta); diff != "" || err != nil {
			t.Errorf("ModelMetadata: %v\n%s", err, diff)
		}
		ens, err := c.ModelConfig(ctx, "ens", "")
		if err != nil || ens.EnsembleScheduling == nil || len(ens.EnsembleScheduling.Step) != 2 || ens.EnsembleScheduling.Step[1].ModelName != "identity_nodyn" || ens.MaxBatchSize != 8 {
			t.Errorf("ModelConfig(ens) = %+v, %v", ens, err)
		}
		seq, err := c.ModelConfig(ctx, "seq_sum", "")
		if err != nil || seq.SequenceBatching == nil || seq.SequenceBatching.ControlInput[3].Control[0].DataType != Uint64 {
			t.Errorf("ModelConfig(seq_sum) = %+v, %v", seq, err)
		}
		queue, err := c.ModelConfig(ctx, "queue_small", "1")
		if err != nil || queue.DynamicBatching == nil || queue.DynamicBatching.DefaultQueuePolicy.MaxQueueSize != 2 {
			t.Errorf("ModelConfig(queue_small) = %+v, %v", queue, err)
		}
		stats, err := c.Statistics(ctx, "cached", "")
		if err != nil || len(stats) != 1 || stats[0].CacheHit != (StatisticDuration{3, 50927}) || stats[0].Success != (StatisticDuration{5, 46288380}) || stats[0].LastInference.UnixMilli() != 1795439056433 {
			t.Errorf("Statistics(cached) = %+v, %v", stats, err)
		}
		all, err := c.Statistics(ctx, "", "")
		if err != nil || len(all) < 20 {
			t.Errorf("Statistics() has %d models, %v", len(all), err)
		}
		index, err := c.RepositoryIndex(ctx)
		if err != nil || len(index) < 20 || index[0].Name != "broken" || index[0].Ready() || !strings.Contains(index[0].Reason, "nosuchbackend") || !index[1].Ready() {
			t.Errorf("RepositoryIndex = %+v, %v", index, err)
		}
	})
}

func TestEveryCapturedConfigAndMetadataIsRead(t *testing.T) {
	for _, name := range append(captureNames(t, "config_"), captureNames(t, "meta_model_")...) {
		t.Run(name, func(t *testing.T) {
			failed := strings.HasPrefix(string(capture(t, name)), "HTTP/1.1 404")
			path := "/v2/models/x"
			c := replay(t, map[string][]byte{"GET " + path: capture(t, name), "GET " + path + "/config": capture(t, name)})
			var err error
			got := 0
			if strings.HasPrefix(name, "config_") {
				var cfg ModelConfig
				cfg, err = c.ModelConfig(t.Context(), "x", "")
				got = len(cfg.Input) + len(cfg.Output)
			} else {
				var meta ModelMetadata
				meta, err = c.ModelMetadata(t.Context(), "x", "")
				got = len(meta.Inputs) + len(meta.Outputs)
			}
			if failed != (err != nil) || !failed && got < 2 {
				t.Errorf("read %d tensors, error %v", got, err)
			}
		})
	}
}

func TestClientErrorsCarryStatusAndMessage(t *testing.T) {
	tests := []struct {
		capture string
		call    func(*Client) error
		path    string
		status  int
		message string
	}{
		{"meta_model_unknown", func(c *Client) error { _, err := c.ModelMetadata(t.Context(), "a b", ""); return err }, "GET /v2/models/a b", 404, "Request for unknown model: 'nope' is not found"},
		{"config_unknown", func(c *Client) error { _, err := c.ModelConfig(t.Context(), "nope", ""); return err }, "GET /v2/models/nope/config", 404, "Request for unknown model: 'nope' is not found"},
		{"stats_unknown", func(c *Client) error { _, err := c.Statistics(t.Context(), "nope", ""); return err }, "GET /v2/models/nope/stats", 400, "requested model 'nope' is not available"},
		{"health_model_ready_unknown", func(c *Client) error { return c.ModelReady(t.Context(), "nope", "") }, "GET /v2/models/nope/ready", 400, "Model version not ready"},
		{"health_ready_while_loading", func(c *Client) error { return c.ServerReady(t.Context()) }, "GET /v2/health/ready", 400, "Bad Request"},
		{"restricted_repo_index", func(c *Client) error { _, err := c.RepositoryIndex(t.Context()); return err }, "POST /v2/repository/index", 403, "This API is restricted, expecting header 'x-demo-key'"},
		{"restricted_repo_index", func(c *Client) error { _, err := c.ServerMetadata(t.Context()); return err }, "GET /v2", 403, "This API is restricted, expecting header 'x-demo-key'"},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			err := tt.call(replay(t, map[string][]byte{tt.path: capture(t, tt.capture)}))
			var failed *Error
			if !errors.As(err, &failed) || failed.Status != tt.status || failed.Message != tt.message || failed.ErrorClass() != httpClass(tt.status) {
				t.Fatalf("error %#v", err)
			}
			if !strings.HasPrefix(err.Error(), "could not ") || !strings.HasSuffix(err.Error(), tt.message) {
				t.Errorf("error text %q", err)
			}
		})
	}
}

func TestOtherServersAreNotTakenForTriton(t *testing.T) {
	web := func(status int, header, body string) string {
		return rawServer(t, func(conn net.Conn, br *bufio.Reader) {
			if _, err := http.ReadRequest(br); err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 " + strconv.Itoa(status) + " X\r\n" + header + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body))
			}
		})
	}
	grpcServer := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
		return listener.Addr().String()
	}
	tlsServer := func() string {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	// What the C++ gRPC server does: it speaks first.
	settingsFirst := rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		_, _ = conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		_, _ = br.Peek(1)
	})
	tests := []struct{ name, addr, says string }{
		{"metrics port", web(200, "Content-Type: text/plain\r\n", ""), "metrics port"},
		{"web server", web(200, "Server: nginx/1.27\r\n", "<html>hello</html>"), "as nginx/1.27 with"},
		{"not found", web(404, "", "404 page not found"), "status 404"},
		{"other KServe server", web(200, "", `{"name":"mlserver","version":"1.6.1","extensions":[]}`), "mlserver 1.6.1"},
		{"gRPC port of Go", grpcServer(), "gRPC port"},
		{"gRPC port of C++", settingsFirst, "gRPC port"},
		{"TLS", tlsServer(), "TLS"},
		{"closes at once", rawServer(t, func(net.Conn, *bufio.Reader) {}), "without an answer"},
		{"other protocol", rawServer(t, func(conn net.Conn, br *bufio.Reader) {
			_, _ = br.Peek(1)
			_, _ = conn.Write([]byte("-ERR unknown command 'GET'\r\n"))
			_, _ = br.WriteTo(io.Discard)
		}), "does not speak HTTP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clientOf(t, tt.addr).ServerMetadata(t.Context())
			var failed *Error
			if !errors.As(err, &failed) || failed.Class != ClassNotTriton || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
		})
	}
}

func TestClientTellsUnreachableFromTimeoutFromCanceled(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	if err := clientOf(t, closed.Addr().String()).ServerLive(t.Context()); classOf(err) != ClassConnect {
		t.Errorf("refused: %v", err)
	}
	arrived := make(chan struct{}, 2)
	silent := rawServer(t, func(_ net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		arrived <- struct{}{}
		_, _ = br.WriteTo(io.Discard)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := clientOf(t, silent).ServerLive(ctx); classOf(err) != ClassTimeout {
		t.Errorf("silent: %v", err)
	}
	<-arrived
	ctx, cancel = context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if err := clientOf(t, silent).ServerLive(ctx); classOf(err) != ClassCanceled {
		t.Errorf("canceled: %v", err)
	}
}

func classOf(err error) string {
	var classed interface{ ErrorClass() string }
	if errors.As(err, &classed) {
		return classed.ErrorClass()
	}
	return ""
}
