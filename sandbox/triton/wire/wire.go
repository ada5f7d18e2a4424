// Package wire is an HTTP/1.1 server that answers byte for byte as Triton's
// does, where net/http can't: header order, no Date, "405 Not Allowed", HEAD
// answered with a body, requests without Host, connections cut without a reply
// during shutdown. A request whose client has gone is processed to its end.
package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	maxHeaderBytes = 64 << 10
	// maxPathBytes is what the real server keeps of a path; it drops the rest.
	maxPathBytes = 4092
	// keepBufferBytes bounds the response buffer that a connection keeps.
	keepBufferBytes = 64 << 10
)

// Header is one header line of a response.
type Header struct{ Name, Value string }

// Exchange is one request and its response. The handler calls Reply, or Begin
// and then Chunk, once.
type Exchange struct {
	Method string
	Path   string // as sent, without the query
	Body   []byte
	// TooLarge is the body's size if it exceeds the server's limit; Body is empty then.
	TooLarge int64

	header http.Header
	conn   *conn
	close  bool
}

// Server serves one listener.
type Server struct {
	Handler      func(*Exchange)
	MaxBodyBytes int64

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	serving sync.WaitGroup
}

type conn struct {
	server *Server
	net    net.Conn
	limit  *limitedReader
	reader *bufio.Reader
	out    []byte
	failed error
	active bool // guarded by the server's mu
}

// limitedReader bounds a request's header.
type limitedReader struct {
	source io.Reader
	left   int64
}

var errHeaderTooLarge = errors.New("request header too large")

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := l.source.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// Serve accepts connections until the listener is closed.
func (s *Server) Serve(listener net.Listener) error {
	for {
		accepted, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		limit := &limitedReader{source: accepted}
		c := &conn{server: s, net: accepted, limit: limit, reader: bufio.NewReaderSize(limit, 16<<10)}
		if !s.add(c) {
			_ = accepted.Close() // cut, as Triton does while it stops
			continue
		}
		go func() {
			defer s.serving.Done()
			defer s.remove(c)
			c.serve()
		}()
	}
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	s.serving.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	_ = c.net.Close()
}

// setActive marks that a request is being processed; false means that the
// server is stopping and the connection must end.
func (s *Server) setActive(c *conn, active bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.active = active
	return !s.closing
}

// Closing says whether Shutdown has begun.
func (s *Server) Closing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Shutdown cuts idle connections and those that come from now on, and waits
// for requests in progress. After ctx it cuts these too. The caller closes the
// listener afterwards.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		if !c.active {
			_ = c.net.Close()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.net.Close()
	}
	s.mu.Unlock()
	<-done
}

func (c *conn) serve() {
	for c.failed == nil {
		c.limit.left = maxHeaderBytes
		request, err := http.ReadRequest(c.reader)
		if err != nil {
			if errors.Is(err, errHeaderTooLarge) {
				c.reset()
			}
			return
		}
		c.limit.left = 1<<63 - 1
		if !c.server.setActive(c, true) {
			return
		}
		x := &Exchange{Method: request.Method, header: request.Header, conn: c, close: request.Close}
		x.Path, _, _ = strings.Cut(request.RequestURI, "?")
		x.Path = x.Path[:min(len(x.Path), maxPathBytes)]
		if err := c.readBody(request, x); err != nil {
			return
		}
		c.server.Handler(x)
		if !c.server.setActive(c, false) || x.close {
			return
		}
	}
}

// reset ends the connection with a TCP reset instead of an orderly close.
func (c *conn) reset() {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func (c *conn) readBody(request *http.Request, x *Exchange) error {
	if strings.EqualFold(request.Header.Get("Expect"), "100-continue") {
		if _, err := c.net.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return err
		}
	}
	limit := c.server.MaxBodyBytes
	if request.ContentLength > limit {
		x.TooLarge = request.ContentLength
		_, err := io.Copy(io.Discard, request.Body)
		return err
	}
	if request.ContentLength >= 0 {
		x.Body = make([]byte, request.ContentLength)
		_, err := io.ReadFull(request.Body, x.Body)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > limit {
		rest, err := io.Copy(io.Discard, request.Body)
		x.TooLarge = int64(len(body)) + rest
		return err
	}
	x.Body = body
	return nil
}

// Header is the request's header of that name, or empty.
func (x *Exchange) Header(name string) string { return x.header.Get(name) }

// HasHeader says whether the request has that header at all.
func (x *Exchange) HasHeader(name string) bool { return len(x.header.Values(name)) > 0 }

// Reply sends a whole response. Content-Length follows the given headers, and
// Content-Type: text/plain that, if there is no other.
func (x *Exchange) Reply(status int, headers []Header, body []byte) {
	c := x.conn
	c.out = x.start(status, headers)
	c.out = append(c.out, "Content-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n"...)
	typed := false
	for _, h := range headers {
		typed = typed || h.Name == "Content-Type"
	}
	if !typed {
		c.out = append(c.out, "Content-Type: text/plain\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	if len(body) <= keepBufferBytes {
		c.out = append(c.out, body...)
		c.flush()
		return
	}
	buffers := net.Buffers{c.out, body}
	_, c.failed = buffers.WriteTo(c.net)
}

// Begin starts a chunked response.
func (x *Exchange) Begin(status int, headers []Header) {
	x.conn.out = append(x.start(status, headers), "Transfer-Encoding: chunked\r\n\r\n"...)
	x.conn.flush()
}

// Chunk sends one piece of a chunked response; an empty one ends it.
func (x *Exchange) Chunk(data []byte) {
	c := x.conn
	c.out = strconv.AppendInt(c.out[:0], int64(len(data)), 16)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, data...)
	c.out = append(c.out, "\r\n"...)
	c.flush()
}

func (x *Exchange) start(status int, headers []Header) []byte {
	out := x.conn.out[:0]
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, reason(status)...)
	out = append(out, "\r\n"...)
	if x.close {
		out = append(out, "Connection: close\r\n"...)
	}
	for _, h := range headers {
		out = append(out, h.Name...)
		out = append(out, ": "...)
		out = append(out, h.Value...)
		out = append(out, "\r\n"...)
	}
	return out
}

func reason(status int) string {
	if status == http.StatusMethodNotAllowed {
		return "Not Allowed"
	}
	return http.StatusText(status)
}

func (c *conn) flush() {
	if c.failed == nil {
		_, c.failed = c.net.Write(c.out)
	}
	if cap(c.out) > keepBufferBytes*2 {
		c.out = nil
	}
}
