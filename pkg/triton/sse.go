package triton

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// eventReader splits a stream of server-sent events as the HTML standard has
// them (section 9.2.6): lines end in LF, CRLF or CR, an empty line ends an
// event, and only its data matters here.
type eventReader struct {
	r       *bufio.Reader
	line    []byte
	data    []byte
	started bool // a byte was read
	afterCR bool
}

// maxEventBytes bounds the memory of one event.
const maxEventBytes = 64 << 20

var (
	errEventTooLong   = fmt.Errorf("an event of more than %d MiB", maxEventBytes>>20)
	errEventTruncated = errors.New("the stream breaks off within an event")
)

func (e *eventReader) reset(r io.Reader) {
	if e.r == nil {
		e.r = bufio.NewReaderSize(r, 16<<10)
	} else {
		e.r.Reset(r)
	}
	e.started, e.afterCR = false, false
}

// next is the data of the next event, valid until the call after. At the end of
// the stream it is io.EOF, or errEventTruncated if an event had begun.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	hasData := false
	for {
		ended, err := e.readLine()
		if err != nil {
			return nil, err
		}
		if !ended {
			if hasData || len(e.line) > 0 {
				return nil, errEventTruncated
			}
			return nil, io.EOF
		}
		if len(e.line) == 0 {
			if hasData {
				return e.data[:len(e.data)-1], nil
			}
			continue
		}
		name, value, _ := bytes.Cut(e.line, []byte{':'})
		if string(name) != "data" {
			continue // a comment, or event, id, retry
		}
		hasData = true
		e.data = append(append(e.data, bytes.TrimPrefix(value, []byte{' '})...), '\n')
		if len(e.data) > maxEventBytes {
			return nil, errEventTooLong
		}
	}
}

// readLine reads a line; ended is false if the stream ended before it did.
func (e *eventReader) readLine() (ended bool, err error) {
	e.line = e.line[:0]
	first := !e.started
	for {
		c, err := e.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		e.started = true
		afterCR := e.afterCR
		e.afterCR = c == '\r'
		switch {
		case c == '\n' && afterCR && len(e.line) == 0:
			continue // the second half of the last line's end
		case c == '\n' || c == '\r':
			if first {
				e.line = bytes.TrimPrefix(e.line, []byte("\uFEFF"))
			}
			return true, nil
		}
		if e.line = append(e.line, c); len(e.line) > maxEventBytes {
			return false, errEventTooLong
		}
	}
}
