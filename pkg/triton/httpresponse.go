package triton

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
)

// httpResponse is an answer as the sender needs it. The body stays valid until
// the connection is read again.
type httpResponse struct {
	httpHead
	body []byte

	own []byte // memory for bodies that the reader's buffer doesn't hold whole
	// lastText is the last answer's head and last what it says: the answers of
	// a model mostly have the same one, which is then recognised instead of
	// parsed.
	lastText []byte
	last     httpHead
}

// httpHead is what the head of an answer says.
type httpHead struct {
	status        int
	headBytes     int // Inference-Header-Content-Length, -1 without
	close         bool
	contentLength int64 // -1 without
	chunked       bool
	compressed    bool // by gzip, see httpcompressed.go
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
	r.body = nil
	for {
		if _, err := br.Peek(1); err != nil {
			return started, err
		}
		started = true
		if r.recognise(br) {
			break
		}
		if err := r.readHead(br); err != nil {
			r.lastText = r.lastText[:0]
			return true, err
		}
		if r.status >= 200 {
			r.last = r.httpHead
			break
		}
		r.lastText = r.lastText[:0] // last is not of an interim answer
	}
	return true, r.readBody(br)
}

// recognise takes the head if it is the same as the last one and all of it has
// arrived.
func (r *httpResponse) recognise(br *bufio.Reader) bool {
	n := len(r.lastText)
	if n == 0 || br.Buffered() < n {
		return false
	}
	text, err := br.Peek(n)
	if err != nil || !bytes.Equal(text, r.lastText) {
		return false
	}
	r.httpHead = r.last
	_, err = br.Discard(n)
	return err == nil
}

func (r *httpResponse) readHead(br *bufio.Reader) error {
	r.httpHead = httpHead{headBytes: -1, contentLength: -1}
	r.lastText = r.lastText[:0]
	line, err := r.headLine(br)
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
		line, err := r.headLine(br)
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

// headLine is one line of the head without its end. The head is remembered.
func (r *httpResponse) headLine(br *bufio.Reader) ([]byte, error) {
	line, err := readLine(br)
	r.lastText = append(r.lastText, line...)
	return bytes.TrimRight(line, "\r\n"), err
}

// readLine is one line with its end.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, &protocolError{"a header line is too long"}
	}
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return line, err
}

func (r *httpResponse) header(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(name) > len(bytes.TrimRight(name, " \t")) {
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
			before := r.contentLength
			if r.contentLength, err = number(); err == nil && before >= 0 && before != r.contentLength {
				err = &protocolError{fmt.Sprintf("Content-Length is both %d and %d", before, r.contentLength)}
			}
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
			if r.compressed = bytes.EqualFold(value, []byte("gzip")); r.compressed {
				break
			}
			err = &protocolError{fmt.Sprintf("a Content-Encoding %q that was not asked for", shorten(string(value)))}
		}
	case len("Connection"):
		if bytes.EqualFold(name, []byte("Connection")) {
			for option := range bytes.SplitSeq(value, []byte{','}) {
				r.close = r.close || bytes.EqualFold(bytes.TrimSpace(option), []byte("close"))
			}
		}
	}
	return err
}

// readBody leaves the body in the reader's buffer if all of it is there.
func (r *httpResponse) readBody(br *bufio.Reader) (err error) {
	if n := r.contentLength; n >= 0 && n <= int64(br.Buffered()) && !r.chunked && !r.bodiless() {
		if r.body, err = br.Peek(int(n)); err == nil {
			_, err = br.Discard(int(n))
		}
	} else {
		r.own = r.own[:0]
		err = r.copyBody(br)
		r.body = r.own
	}
	if err == nil && r.compressed && len(r.body) > 0 {
		r.body, err = decompress(r.body)
	}
	return err
}

func (r *httpResponse) bodiless() bool {
	return r.status == http.StatusNoContent || r.status == http.StatusNotModified
}

func (r *httpResponse) copyBody(br *bufio.Reader) error {
	switch {
	case r.bodiless():
		return nil
	case r.chunked:
		if err := r.copyAll(httputil.NewChunkedReader(br)); err != nil {
			return err
		}
		// The chunked reader stops before the trailer and its empty line.
		for range maxHeaderLines {
			line, err := readLine(br)
			if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
				return err
			}
		}
		return &protocolError{fmt.Sprintf("more than %d trailer lines", maxHeaderLines)}
	case r.contentLength < 0:
		r.close = true
		return r.copyAll(br)
	case r.contentLength > maxInferenceAnswer:
		return &protocolError{fmt.Sprintf("an answer of %d bytes", r.contentLength)}
	}
	// Memory grows with what arrives, not with what is announced.
	const step = 1 << 20
	for left := int(r.contentLength); left > 0; {
		from, n := len(r.own), min(left, max(step, cap(r.own)-len(r.own)))
		r.own = grow(r.own, n)
		if _, err := io.ReadFull(br, r.own[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		left -= n
	}
	return nil
}

func (r *httpResponse) copyAll(from io.Reader) error {
	for {
		if len(r.own) == cap(r.own) {
			r.own = append(r.own, 0)[:len(r.own)]
		}
		n, err := from.Read(r.own[len(r.own):cap(r.own)])
		r.own = r.own[:len(r.own)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(r.own) > maxInferenceAnswer:
			return &protocolError{"an answer of more than 2 GiB"}
		}
	}
}
