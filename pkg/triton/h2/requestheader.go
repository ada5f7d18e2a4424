package h2

import (
	"bytes"
	"strconv"
	"time"

	"golang.org/x/net/http2/hpack"
)

// requestHeader writes the header block of a connection's requests. All but the
// first few are the same bytes, apart from the time-out.
type requestHeader struct {
	fields  []hpack.HeaderField
	encoder *hpack.Encoder
	encoded bytes.Buffer
	// block is the encoded fields once they are references into the peer's
	// table only, which change nothing in it and so stand for every request.
	block []byte
}

func newRequestHeader(scheme string, opts Options) *requestHeader {
	h := &requestHeader{fields: []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: scheme},
		{Name: ":path", Value: opts.Method}, {Name: ":authority", Value: opts.Authority},
		{Name: "content-type", Value: "application/grpc"}, {Name: "user-agent", Value: opts.UserAgent},
		{Name: "te", Value: "trailers"},
	}}
	h.encoder = hpack.NewEncoder(&h.encoded)
	return h
}

// limitTable follows the peer's SETTINGS_HEADER_TABLE_SIZE.
func (h *requestHeader) limitTable(bytes uint32) {
	h.encoder.SetMaxDynamicTableSizeLimit(bytes)
	h.block = nil
}

// append writes the next request's block; timeout 0 is none.
func (h *requestHeader) append(dst []byte, timeout time.Duration) []byte {
	if h.block != nil {
		dst = append(dst, h.block...)
	} else {
		h.encoded.Reset()
		for _, f := range h.fields {
			_ = h.encoder.WriteField(f) // a bytes.Buffer takes everything
		}
		if onlyReferences(h.encoded.Bytes()) {
			h.block = bytes.Clone(h.encoded.Bytes())
		}
		dst = append(dst, h.encoded.Bytes()...)
	}
	if timeout <= 0 {
		return dst
	}
	// A literal that the peer doesn't index: the value may be another next time.
	const name = "grpc-timeout"
	dst = append(append(dst, 0, byte(len(name))), name...)
	from := len(dst)
	dst = appendTimeout(append(dst, 0), timeout)
	dst[from] = byte(len(dst) - from - 1)
	return dst
}

// appendTimeout writes a time-out as gRPC does: at most eight digits and a
// unit. It is rounded up, so that the server's end is not before the client's.
func appendTimeout(dst []byte, timeout time.Duration) []byte {
	const maxDigits = 99_999_999
	for _, u := range []struct {
		unit   time.Duration
		letter byte
	}{{time.Millisecond, 'm'}, {time.Second, 'S'}, {time.Minute, 'M'}} {
		if n := (timeout + u.unit - 1) / u.unit; n <= maxDigits {
			return append(strconv.AppendInt(dst, int64(n), 10), u.letter)
		}
	}
	return append(strconv.AppendInt(dst, int64(timeout/time.Hour)+1, 10), 'H')
}

// onlyReferences tells that a block consists of table references of one byte
// each, see RFC 7541 section 6.1. Such a block leaves the table as it is.
func onlyReferences(block []byte) bool {
	const reference, longer = 0x80, 0xFF
	for _, b := range block {
		if b&reference == 0 || b == longer {
			return false
		}
	}
	return true
}
