package h2

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxBlockBytes bounds a header block with its continuations, and
	// maxHeaderBytes what it decodes to.
	maxBlockBytes  = 256 << 10
	maxHeaderBytes = 1 << 20
	// maxKnownBlocks are kept to be recognised.
	maxKnownBlocks = 8
)

// responseHeader is what matters of a response's headers or trailers.
type responseHeader struct {
	httpStatus  string
	contentType string
	encoding    string // of messages
	status      string // grpc-status, empty without one
	message     string // grpc-message, decoded
	pseudoLate  bool   // a pseudo-header field follows ordinary ones
	bytes       int
}

// headerDecoder reads a connection's header blocks. Servers send the same few
// blocks over and over, as references into the table; these are recognised as
// long as the table stands.
type headerDecoder struct {
	hpack *hpack.Decoder
	known []knownBlock
	now   *responseHeader // being decoded
}

type knownBlock struct {
	block  []byte
	header *responseHeader
}

func newHeaderDecoder() *headerDecoder {
	d := &headerDecoder{}
	d.hpack = hpack.NewDecoder(initialHeaderTableSize, func(f hpack.HeaderField) { d.now.set(f) })
	d.hpack.SetMaxStringLength(maxHeaderBytes)
	return d
}

// decode reads a block. The result must not be changed.
func (d *headerDecoder) decode(block []byte) (*responseHeader, error) {
	for _, k := range d.known {
		if bytes.Equal(k.block, block) {
			return k.header, nil
		}
	}
	h := &responseHeader{}
	d.now = h
	if _, err := d.hpack.Write(block); err != nil {
		return nil, breach(http2.ErrCodeCompression, "a header block can't be decoded: %v", err)
	}
	if err := d.hpack.Close(); err != nil {
		return nil, breach(http2.ErrCodeCompression, "a header block can't be decoded: %v", err)
	}
	if h.bytes > maxHeaderBytes {
		return nil, breach(http2.ErrCodeEnhanceYourCalm, "headers of %d bytes", h.bytes)
	}
	switch {
	case !onlyReferences(block):
		d.known = d.known[:0]
	case len(d.known) < maxKnownBlocks:
		d.known = append(d.known, knownBlock{bytes.Clone(block), h})
	}
	return h, nil
}

func (h *responseHeader) set(f hpack.HeaderField) {
	h.pseudoLate = h.pseudoLate || f.IsPseudo() && h.bytes > 0 && h.httpStatus == ""
	if h.bytes += int(f.Size()); h.bytes > maxHeaderBytes {
		return
	}
	switch f.Name {
	case ":status":
		h.httpStatus = f.Value
	case "content-type":
		h.contentType = f.Value
	case "grpc-encoding":
		h.encoding = f.Value
	case "grpc-status":
		h.status = f.Value
	case "grpc-message":
		h.message = decodePercent(f.Value)
	}
}

// isGRPC tells that the headers come from a gRPC server.
func (h *responseHeader) isGRPC() bool {
	rest, ok := strings.CutPrefix(strings.ToLower(h.contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// informational tells that others follow.
func (h *responseHeader) informational() bool {
	return len(h.httpStatus) == 3 && h.httpStatus[0] == '1'
}

// outcome is the call's end as trailers tell it, nil for success.
func (h *responseHeader) outcome() error {
	if h.status == "0" {
		return nil
	}
	if h.status == "" {
		return status.Error(codes.Internal, "the server ended the call without a status")
	}
	code, err := strconv.ParseUint(h.status, 10, 32)
	if err != nil {
		return status.Errorf(codes.Unknown, "the server ended the call with the malformed status %q", h.status)
	}
	return status.Error(codes.Code(code), h.message)
}

// foreign is the outcome of a call that something answered which isn't a gRPC
// server. The codes are those of gRPC's http-grpc-status-mapping.
func (h *responseHeader) foreign() error {
	code, err := strconv.Atoi(h.httpStatus)
	if err != nil {
		return status.Errorf(codes.Internal, "the answer has the malformed HTTP status %q", h.httpStatus)
	}
	mapped := codes.Unknown
	switch code {
	case http.StatusBadRequest:
		mapped = codes.Internal
	case http.StatusUnauthorized:
		mapped = codes.Unauthenticated
	case http.StatusForbidden:
		mapped = codes.PermissionDenied
	case http.StatusNotFound:
		mapped = codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		mapped = codes.Unavailable
	}
	what := "no content type"
	if h.contentType != "" {
		what = fmt.Sprintf("the content type %q", h.contentType)
	}
	return status.Errorf(mapped, "the answer is not gRPC: HTTP status %d (%s) and %s", code, http.StatusText(code), what)
}

// decodePercent reads a grpc-message; what isn't percent-encoded well stays as
// it is.
func decodePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(v))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
