package triton

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
)

// httpResponse is an answer as the sender needs it. The body's memory is
// reused by the next answer.
type httpResponse struct {
	status    int
	headBytes int // Inference-Header-Content-Length, -1 without
	close     bool
	body      []byte

	contentLength int64
	chunked       bool
}

// protocolError is an answer that is not HTTP/1.x as RFC 9112 has it.
type protocolError struct{ problem string }

func (e *protocolError) Error() string { return e.problem }

const (
	// maxHeaderLines bounds the head of an answer, as the reader's buffer does
	// a single line.
	maxHeaderLines = 200
	// maxInferenceAnswer bounds its body.
	maxInferenceAnswer = 2 << 30
)

// read takes one answer from a connection, interim ones (1xx) left out.
// started tells whether any byte of it arrived.
func (r *httpResponse) read(br *bufio.Reader) (started bool, err error) {
	for {
		if err := r.readHead(br, &started); err != nil {
			return started, err
		}
		if r.status >= 200 {
			break
		}
	}
	return true, r.readBody(br)
}

func (r *httpResponse) readHead(br *bufio.Reader, started *bool) error {
	*r = httpResponse{body: r.body[:0], headBytes: -1, contentLength: -1}
	if _, err := br.Peek(1); err != nil {
		return err
	}
	*started = true
	line, err := readLine(br)
	if err != nil {
		return err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return &protocolError{fmt.Sprintf("not an HTTP answer: %q", shorten(string(line)))}
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil || status < 100 {
		return &protocolError{fmt.Sprintf("not an HTTP status: %q", shorten(string(line)))}
	}
	r.status = status
	r.close = line[7] == '0'
	for range maxHeaderLines {
		line, err := readLine(br)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err := r.header(line); err != nil {
			return err
		}
	}
	return &protocolError{fmt.Sprintf("more than %d header lines", maxHeaderLines)}
}

// readLine is one line of the head without its end.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, &protocolError{"a header line is too long"}
	}
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return bytes.TrimRight(line, "\r\n"), err
}

func (r *httpResponse) header(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return &protocolError{fmt.Sprintf("not a header line: %q", shorten(string(line)))}
	}
	value = bytes.TrimSpace(value)
	number := func() (int64, error) {
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || n < 0 {
			return 0, &protocolError{fmt.Sprintf("%s is %q", name, shorten(string(value)))}
		}
		return n, nil
	}
	var err error
	switch len(name) {
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			r.contentLength, err = number()
		}
	case len("Inference-Header-Content-Length"):
		if bytes.EqualFold(name, []byte("Inference-Header-Content-Length")) {
			var n int64
			n, err = number()
			r.headBytes = int(min(n, maxInferenceAnswer+1))
		}
	case len("Transfer-Encoding"):
		if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			r.chunked = bytes.EqualFold(value, []byte("chunked"))
			if !r.chunked {
				err = &protocolError{fmt.Sprintf("unknown Transfer-Encoding %q", shorten(string(value)))}
			}
		}
	case len("Content-Encoding"):
		if bytes.EqualFold(name, []byte("Content-Encoding")) && !bytes.EqualFold(value, []byte("identity")) {
			err = &protocolError{fmt.Sprintf("a Content-Encoding %q that was not asked for", shorten(string(value)))}
		}
	case len("Connection"):
		if bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")) {
			r.close = true
		}
	}
	return err
}

func (r *httpResponse) readBody(br *bufio.Reader) error {
	switch {
	case r.status == 204 || r.status == 304:
		return nil
	case r.chunked:
		if err := r.copyBody(httputil.NewChunkedReader(br)); err != nil {
			return err
		}
		// The chunked reader stops before the trailer and its empty line.
		for range maxHeaderLines {
			line, err := readLine(br)
			if err != nil || len(line) == 0 {
				return err
			}
		}
		return &protocolError{fmt.Sprintf("more than %d trailer lines", maxHeaderLines)}
	case r.contentLength < 0:
		r.close = true
		return r.copyBody(br)
	case r.contentLength > maxInferenceAnswer:
		return &protocolError{fmt.Sprintf("an answer of %d bytes", r.contentLength)}
	}
	// Memory grows with what arrives, not with what is announced.
	const step = 1 << 20
	for left := int(r.contentLength); left > 0; {
		from, n := len(r.body), min(left, max(step, cap(r.body)-len(r.body)))
		r.body = grow(r.body, n)
		if _, err := io.ReadFull(br, r.body[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		left -= n
	}
	return nil
}

func (r *httpResponse) copyBody(from io.Reader) error {
	for {
		if len(r.body) == cap(r.body) {
			r.body = append(r.body, 0)[:len(r.body)]
		}
		n, err := from.Read(r.body[len(r.body):cap(r.body)])
		r.body = r.body[:len(r.body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(r.body) > maxInferenceAnswer:
			return &protocolError{"an answer of more than 2 GiB"}
		}
	}
}
