package triton

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func smallModel() *strictModel {
	return &strictModel{cfg: ModelConfig{Name: "m", Input: []InputConfig{{Name: "INPUT0", DataType: FP32, Dims: []int64{4}}}}}
}

const goodAnswer = `{"model_name":"m","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[1],"data":[1]}]}`

func withLength(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

// readRequest takes one whole request off the connection.
func readRequest(br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func TestHTTPFaultsAreClassedAndTheSenderGoesOn(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	write := func(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }
	tests := []struct {
		name string
		// fault answers the second request of the test.
		fault   func(conn net.Conn, br *bufio.Reader)
		class   string
		says    string
		redials bool
	}{
		{"closed before the answer", func(conn net.Conn, _ *bufio.Reader) { _ = conn.Close() }, ClassConnectionLost, "EOF", true},
		{"reset before the answer", func(conn net.Conn, _ *bufio.Reader) {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}, ClassConnectionLost, "", true},
		{"closed within the head", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nConte")
			_ = conn.Close()
		}, ClassConnectionLost, "unexpected EOF", true},
		{"closed within the body", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
			_ = conn.Close()
		}, ClassConnectionLost, "unexpected EOF", true},
		{"never answered", func(_ net.Conn, br *bufio.Reader) { _, _ = br.Peek(1) }, ClassTimeout, "time limit", true},
		{"answered halfway", func(conn net.Conn, br *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
			_, _ = br.Peek(1)
		}, ClassTimeout, "time limit", true},
		{"not HTTP", func(conn net.Conn, br *bufio.Reader) {
			write(conn, "hello\r\n")
			_, _ = br.Peek(1)
		}, ClassWrongAnswer, "not an HTTP answer", true},
		{"queue full", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, withLength("503 Service Unavailable", "", `{"error":"[request id: <id_unknown>] Exceeds maximum queue size"}`))
		}, "http 503", "Triton answered 503: Exceeds maximum queue size", false},
		{"error and closed", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, withLength("400 Bad Request", "Connection: close\r\n", `{"error":"no"}`))
			_ = conn.Close()
		}, "http 400", "no", true},
		{"not JSON", func(conn net.Conn, _ *bufio.Reader) { write(conn, withLength("200 OK", "", "<html>")) }, ClassWrongAnswer, "JSON", false},
		{"other model", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, withLength("200 OK", "", strings.Replace(goodAnswer, `"m"`, `"n"`, 1)))
		}, ClassWrongAnswer, `"n"`, false},
		{"more than one answer", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, withLength("200 OK", "", goodAnswer)+withLength("200 OK", "", goodAnswer))
		}, "", "", true},
		{"good and closed", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, withLength("200 OK", "Connection: close\r\n", goodAnswer))
			_ = conn.Close()
		}, "", "", true},
		{"good without a length", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\n\r\n"+goodAnswer)
			_ = conn.Close()
		}, "", "", true},
		{"no chunk", func(conn net.Conn, br *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
			_, _ = br.Peek(1)
		}, ClassWrongAnswer, "chunk", true},
		{"a chunk longer than it says", func(conn net.Conn, br *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n")
			_, _ = br.Peek(1)
		}, ClassWrongAnswer, "chunk", true},
		{"cut within a chunk", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
			_ = conn.Close()
		}, ClassConnectionLost, "unexpected EOF", true},
		{"a space in a header's name", func(conn net.Conn, br *bufio.Reader) {
			write(conn, "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab")
			_, _ = br.Peek(1)
		}, ClassWrongAnswer, "not a header line", true},
		{"good in chunks", func(conn net.Conn, _ *bufio.Reader) {
			write(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(goodAnswer), goodAnswer))
		}, "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var requests, dials atomic.Int64
			dial := dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
				for readRequest(br) {
					if requests.Add(1) == 2 {
						tt.fault(conn, br)
						continue
					}
					write(conn, withLength("200 OK", "", goodAnswer))
				}
			}))
			counted := func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return dial(ctx, network, addr)
			}
			timeout := 10 * time.Second
			if tt.class == ClassTimeout {
				timeout = 100 * time.Millisecond
			}
			s, err := NewHTTPSender(counted, build(t, smallModel(), RequestOptions{}), HTTPOptions{Binary: true, Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for seq := range uint64(4) {
				_, err := s.Send(t.Context(), seq)
				switch {
				case seq != 1 && err != nil:
					t.Fatalf("request %d: %v", seq, err)
				case seq == 1 && classOf(err) != tt.class:
					t.Errorf("class %q, error %v", classOf(err), err)
				case seq == 1 && tt.says != "" && !strings.Contains(err.Error(), tt.says):
					t.Errorf("error %q does not say %q", err, tt.says)
				}
			}
			want := int64(1)
			if tt.redials {
				want = 2
			}
			if dials.Load() != want {
				t.Errorf("%d connections, want %d", dials.Load(), want)
			}
		})
	}
}

func TestHTTPSenderHasCancellationAndDeadlinesOfItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("contexts", func(t *testing.T) {
		arrived := make(chan struct{})
		dial := dialTo(rawServer(t, func(_ net.Conn, br *bufio.Reader) {
			for readRequest(br) {
				arrived <- struct{}{}
			}
		}))
		s, err := NewHTTPSender(dial, build(t, smallModel(), RequestOptions{}), HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		if _, err := s.Send(ctx, 0); classOf(err) != ClassCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		if _, err := s.Send(ctx, 1); classOf(err) != ClassCanceled {
			t.Errorf("canceled before: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		go func() { <-arrived }()
		if _, err := s.Send(ctx, 2); classOf(err) != ClassTimeout {
			t.Errorf("deadline: %v", err)
		}
	})
}

// tunnelError is what a tunnel may give for a connection.
type tunnelError struct{ class string }

func (e *tunnelError) Error() string      { return "the tunnel says no" }
func (e *tunnelError) ErrorClass() string { return e.class }

func TestDialErrorsKeepTheirClass(t *testing.T) {
	spec := build(t, smallModel(), RequestOptions{})
	for class, dialError := range map[string]error{
		ClassConnect: errors.New("refused"),
		"tunnel":     fmt.Errorf("wrapped: %w", &tunnelError{"tunnel"}),
		ClassTimeout: context.DeadlineExceeded,
	} {
		s, err := NewHTTPSender(func(context.Context, string, string) (net.Conn, error) { return nil, dialError }, spec, HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(t.Context(), 0); classOf(err) != class || !errors.Is(err, dialError) {
			t.Errorf("class %q, error %v", classOf(err), err)
		}
	}
}

func TestErrorEndsASequence(t *testing.T) {
	m := smallModel()
	m.cfg.SequenceBatching = sequenceConfig(t, false)
	spec := build(t, m, RequestOptions{SequenceLength: 10})
	var starts atomic.Int64
	var requests atomic.Int64
	dial := dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if strings.Contains(string(body), `"sequence_start":true`) {
				starts.Add(1)
			}
			answer := withLength("200 OK", "", goodAnswer)
			if requests.Add(1) == 3 {
				answer = withLength("500 Internal", "", `{"error":"boom"}`)
			}
			_, _ = io.WriteString(conn, answer)
		}
	}))
	s, err := NewHTTPSender(dial, spec, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for seq := range uint64(5) {
		if _, err := s.Send(t.Context(), seq); (err != nil) != (seq == 2) {
			t.Fatalf("request %d: %v", seq, err)
		}
	}
	if starts.Load() != 2 {
		t.Errorf("%d sequences, want 2", starts.Load())
	}
}
