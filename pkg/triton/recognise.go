package triton

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// probe asks GET /v2 on a connection of its own and looks at the first bytes
// of the answer, as net/http tells too little of one that isn't HTTP.
func (c *Client) probe(ctx context.Context, op string) (*controlReply, error) {
	base, err := url.Parse(c.base)
	if err != nil || base.Scheme != "http" {
		return c.fetch(ctx, op, http.MethodGet, "/v2")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v2", http.NoBody)
	if err != nil {
		return nil, &Error{Class: ClassConnect, Op: op, cause: err}
	}
	req.Close = true
	addr := base.Host
	if base.Port() == "" {
		addr = net.JoinHostPort(base.Hostname(), "80")
	}
	conn, err := c.dial()(ctx, "tcp", addr)
	if err != nil {
		failed := networkError(ctx, err, ClassConnect)
		failed.Op = op
		return nil, failed
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	writeErr := req.Write(conn)
	br := bufio.NewReader(conn)
	start, err := br.Peek(len("HTTP/"))
	if looks := speaks(start); looks != "" {
		return nil, notTriton(op, looks, err)
	}
	if err != nil {
		return nil, c.unanswered(ctx, op, errors.Join(writeErr, err))
	}
	resp, err := http.ReadResponse(br, req) //nolint:bodyclose // its connection is closed instead
	if err != nil {
		return nil, c.unanswered(ctx, op, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxControlAnswer))
	if err != nil {
		return nil, c.unanswered(ctx, op, err)
	}
	return &controlReply{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// dial is how the HTTP client reaches its server.
func (c *Client) dial() DialFunc {
	switch transport := c.http.Transport.(type) {
	case *http.Transport:
		if transport.DialContext != nil {
			return transport.DialContext
		}
	case interface { // a transport around one
		Connect(ctx context.Context, network, address string) (net.Conn, error)
	}:
		return transport.Connect
	}
	return new(net.Dialer).DialContext
}

// unanswered is the error of a connection that brought no answer to read.
func (c *Client) unanswered(ctx context.Context, op string, err error) error {
	failed := networkError(ctx, err, ClassNotTriton)
	if failed.Class == ClassNotTriton {
		return notTriton(op, "closes the connection without an answer, as a gRPC port does, or a Triton that is shutting down", err)
	}
	failed.Op = op
	return failed
}

func notTriton(op, looks string, cause error) error {
	return &Error{Class: ClassNotTriton, Op: op, Message: "this port is not Triton's HTTP endpoint: it " + looks, cause: cause}
}

// speaks tells what a server that doesn't speak HTTP/1 looks like by the first
// bytes that it sent, "" for HTTP/1 and for too few bytes.
func speaks(start []byte) string {
	switch {
	// An HTTP/2 server opens with a frame (length in 3 bytes, type) of type 4,
	// SETTINGS: RFC 9113, sections 3.4 and 4.1.
	case len(start) >= 4 && start[0] == 0 && start[1] == 0 && start[3] == 4:
		return "speaks HTTP/2, as Triton's gRPC port does; its HTTP port is usually 8000"
	case len(start) >= 2 && start[0] == 0x15 && start[1] == 0x03: // a TLS alert
		return "expects TLS"
	case len(start) > 0 && !strings.HasPrefix("HTTP/", string(start[:min(len(start), 5)])): //nolint:gocritic // is what came a beginning of HTTP/?
		return fmt.Sprintf("does not speak HTTP; its answer begins with %q", start)
	default:
		return ""
	}
}

// recognise tells whether an answer to GET /v2 can be Triton's.
func recognise(op string, r *controlReply) error {
	var meta ServerMetadata
	looks := ""
	switch text := strings.TrimSpace(string(r.body)); {
	case r.status == http.StatusOK && text == "":
		looks = "answers every path with nothing, as Triton's metrics port does; its HTTP port is usually 8000"
	case r.status == http.StatusBadRequest && strings.Contains(text, "HTTPS"):
		looks = "expects TLS"
	case r.status == http.StatusForbidden && strings.Contains(text, `"error"`):
		return nil // Triton with restricted protocols
	case r.status != http.StatusOK:
		looks = fmt.Sprintf("answers GET /v2 with status %d%s: %q", r.status, servedBy(r.header), shorten(text))
	case json.Unmarshal(r.body, &meta) != nil || meta.Name == "" || meta.Version == "":
		looks = fmt.Sprintf("answers GET /v2%s with %q", servedBy(r.header), shorten(text))
	case !slices.Contains(meta.Extensions, "model_configuration"):
		looks = fmt.Sprintf("speaks the same protocol but is %s %s, without Triton's model configuration and statistics", meta.Name, meta.Version)
	default:
		return nil
	}
	return &Error{Class: ClassNotTriton, Op: op, Status: r.status, Message: "this port is not Triton's HTTP endpoint: it " + looks}
}

func servedBy(h http.Header) string {
	if server := h.Get("Server"); server != "" {
		return " as " + server
	}
	return ""
}
