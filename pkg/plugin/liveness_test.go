package plugin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// answering is a server that gives each request of each connection the next of
// the answers; an empty one is never given, and a connection ends after its
// share.
func answering(t *testing.T, connections ...[]string) (dialFunc, *int) {
	t.Helper()
	dialled := 0
	return func(context.Context, string, string) (net.Conn, error) {
		if dialled == len(connections) {
			return nil, errors.New("nobody listens")
		}
		answers := connections[dialled]
		dialled++
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		go func() {
			defer far.Close()
			reader := bufio.NewReader(far)
			for _, answer := range answers {
				request, err := http.ReadRequest(reader)
				if err != nil || request.URL.Path != "/v2/health/live" || request.Host != "triton" {
					return
				}
				if answer == "" {
					_, _ = reader.ReadByte() // until the connection ends
					return
				}
				if _, err := io.WriteString(far, answer); err != nil {
					return
				}
			}
		}()
		return near, nil
	}, &dialled
}

func TestLiveness(t *testing.T) {
	const alive, leaving = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	for name, test := range map[string]struct {
		connections [][]string
		requests    int
		wants       string // in the last one's error
		dialled     int
	}{
		"kept":             {[][]string{{alive, alive, alive}}, 3, "", 1},
		"closed by Triton": {[][]string{{leaving}, {alive}}, 2, "", 2},
		"lost":             {[][]string{{alive}, {alive}}, 2, "lives", 1},
		"after a loss":     {[][]string{{alive}, {alive}}, 3, "", 2},
		"not alive":        {[][]string{{"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"}}, 1, "400 Bad Request", 1},
		"not HTTP":         {[][]string{{"SSH-2.0\r\n\r\n"}}, 1, "malformed HTTP", 1},
		"cut off":          {[][]string{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"}}, 1, "unexpected EOF", 1},
		"refused":          {nil, 1, "nobody listens", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dial, dialled := answering(t, test.connections...)
			l := newLiveness(dial)
			defer l.Close()
			var n int
			var err error
			for range test.requests {
				n, err = l.Do(t.Context(), 0)
			}
			if (err == nil) != (test.wants == "") || (err != nil && !strings.Contains(err.Error(), test.wants)) || (err == nil) != (n == 1) {
				t.Errorf("got %d, %v; want an error with %q", n, err, test.wants)
			}
			if *dialled != test.dialled {
				t.Errorf("dialled %d times, want %d", *dialled, test.dialled)
			}
		})
	}
}

func TestLivenessEndsWithItsContext(t *testing.T) {
	dial, _ := answering(t, []string{""})
	l := newLiveness(dial)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := l.Do(ctx, 0)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if l.conn != nil {
		t.Error("the connection was kept")
	}
}
