package plugin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// liveness asks for the cheapest thing that Triton answers, on one connection
// that is kept: what it takes is the path's cost. net/http's client would add
// two goroutines per connection, and the ceiling found would be its own.
type liveness struct {
	dial   dialFunc
	conn   net.Conn // nil while there is none
	reader *bufio.Reader

	request string
}

func newLiveness(dial dialFunc) *liveness {
	return &liveness{
		dial: dial, reader: bufio.NewReader(nil),
		request: "GET /v2/health/live HTTP/1.1\r\nHost: triton\r\nUser-Agent: " + userAgent() + "\r\n\r\n",
	}
}

// Do makes one request. Its error is that of the context when the context has
// ended it.
func (l *liveness) Do(ctx context.Context, _ uint64) (int, error) {
	if l.conn == nil {
		conn, err := l.dial(ctx, "tcp", "triton")
		if err != nil {
			return 0, err
		}
		l.conn = conn
		l.reader.Reset(conn)
	}
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	keep, err := l.exchange()
	ended := !stop()
	if err != nil || !keep || ended {
		_ = l.Close()
	}
	if err != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (l *liveness) exchange() (keep bool, err error) {
	if _, err := io.WriteString(l.conn, l.request); err != nil {
		return false, fmt.Errorf("asking Triton whether it lives: %w", err)
	}
	response, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		return false, fmt.Errorf("the answer to whether Triton lives: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, fmt.Errorf("the answer to whether Triton lives: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the liveness endpoint answered %s", response.Status)
	}
	return !response.Close, nil
}

// Close ends the connection.
func (l *liveness) Close() error {
	if l.conn == nil {
		return nil
	}
	conn := l.conn
	l.conn = nil
	return conn.Close()
}
