package h2

import (
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// process takes the whole frames of what was read. The lock is held.
func (c *conn) process() error {
	if c.settled {
		c.lastRead = time.Now()
	}
	for c.last-c.first >= frameHeaderBytes {
		h := parseFrameHeader(c.in[c.first:])
		if !c.settled && (h.kind != http2.FrameSettings || h.flags.Has(http2.FlagSettingsAck) || h.length > maxFrameBytes) {
			return foreignServer(c.in[c.first:c.last])
		}
		if h.length > maxFrameBytes {
			return breach(http2.ErrCodeFrameSize, "a %v frame of %d bytes, more than the %d allowed", h.kind, h.length, maxFrameBytes)
		}
		from := c.first + frameHeaderBytes
		if c.last < from+h.length {
			break
		}
		if err := c.receive(h, c.in[from:from+h.length]); err != nil || c.err != nil {
			return err
		}
		c.first = from + h.length
	}
	if c.first == c.last {
		c.first, c.last = 0, 0
	} else if len(c.in)-c.first < frameHeaderBytes+maxFrameBytes {
		c.last = copy(c.in, c.in[c.first:c.last])
		c.first = 0
	}
	return nil
}

// foreignServer is the error of a connection that doesn't begin as HTTP/2.
func foreignServer(begin []byte) error {
	const enough = 60
	line, _, _ := strings.Cut(string(begin[:min(len(begin), enough)]), "\r\n")
	return breach(http2.ErrCodeProtocol, "its side does not begin with settings but with %q; is this the gRPC port?", line)
}

// receive acts on one frame.
func (c *conn) receive(h frameHeader, payload []byte) error {
	if c.blockStream != 0 && (h.kind != http2.FrameContinuation || h.stream != c.blockStream) {
		return breach(http2.ErrCodeProtocol, "a %v frame within the header block of stream %d", h.kind, c.blockStream)
	}
	switch h.kind {
	case http2.FrameData:
		return c.receiveData(h, payload)
	case http2.FrameHeaders:
		return c.receiveHeaders(h, payload)
	case http2.FrameContinuation:
		return c.receiveContinuation(h, payload)
	case http2.FrameRSTStream:
		return c.receiveReset(h, payload)
	case http2.FrameSettings:
		return c.receiveSettings(h, payload)
	case http2.FramePing:
		return c.receivePing(h, payload)
	case http2.FrameGoAway:
		return c.receiveGoAway(h, payload)
	case http2.FrameWindowUpdate:
		return c.receiveWindowUpdate(h, payload)
	case http2.FramePushPromise:
		return breach(http2.ErrCodeProtocol, "a pushed stream, which the client's settings forbid")
	case http2.FramePriority:
		if h.stream == 0 || len(payload) != 5 {
			return breach(http2.ErrCodeFrameSize, "a PRIORITY frame of %d bytes on stream %d", len(payload), h.stream)
		}
	}
	return nil // an unknown kind is to be ignored
}

// call is the one of a frame's stream; nil if it is over, for which what comes
// is late.
func (c *conn) call(h frameHeader) (*Call, error) {
	if h.stream%2 == 0 || h.stream >= c.nextStream {
		return nil, breach(http2.ErrCodeProtocol, "a %v frame on stream %d, which the client did not open", h.kind, h.stream)
	}
	return c.streams[h.stream], nil
}

func (c *conn) receiveData(h frameHeader, payload []byte) error {
	k, err := c.call(h)
	if err != nil {
		return err
	}
	if increment, ok := c.received.take(len(payload)); !ok {
		return breach(http2.ErrCodeFlowControl, "it sent more than the connection's window of %d bytes", c.received.size)
	} else if increment > 0 {
		c.out = appendWindowUpdate(c.out, 0, increment)
	}
	data, err := unpad(h, payload)
	if err != nil || k == nil {
		return err
	}
	if k.header == nil {
		return breach(http2.ErrCodeProtocol, "data before headers on stream %d", h.stream)
	}
	ends := h.flags.Has(http2.FlagDataEndStream)
	if increment, ok := k.arriving.take(len(payload)); !ok {
		return breach(http2.ErrCodeFlowControl, "it sent more than the window of %d bytes of stream %d", k.arriving.size, h.stream)
	} else if increment > 0 && !ends {
		c.out = appendWindowUpdate(c.out, k.stream, increment)
	}
	k.received = append(k.received, data...)
	switch length, limit := len(k.received)-PrefixBytes, c.client.options.MaxMessageBytes; {
	case length >= 0 && int64(binary.BigEndian.Uint32(k.received[1:])) > int64(limit):
		c.cancelStream(k)
		k.finish(status.Errorf(codes.ResourceExhausted, "the answer has %d bytes, more than the %d allowed", binary.BigEndian.Uint32(k.received[1:]), limit))
	case length > limit:
		c.cancelStream(k)
		k.finish(status.Errorf(codes.ResourceExhausted, "the answer has more than the %d bytes allowed", limit))
	case ends:
		c.endStream(k, status.Error(codes.Internal, "the server ended the call without a status"))
	}
	return nil
}

func (c *conn) receiveHeaders(h frameHeader, payload []byte) error {
	if _, err := c.call(h); err != nil {
		return err
	}
	block, err := unpad(h, payload)
	if err != nil {
		return err
	}
	if h.flags.Has(http2.FlagHeadersPriority) {
		const priorityBytes = 5
		if len(block) < priorityBytes {
			return breach(http2.ErrCodeFrameSize, "a HEADERS frame of %d bytes with a priority", len(payload))
		}
		block = block[priorityBytes:]
	}
	if h.flags.Has(http2.FlagHeadersEndHeaders) {
		return c.receiveBlock(h, block)
	}
	c.block = append(c.block[:0], block...)
	c.blockStream, c.blockFlags = h.stream, h.flags
	return nil
}

func (c *conn) receiveContinuation(h frameHeader, payload []byte) error {
	if c.blockStream == 0 {
		return breach(http2.ErrCodeProtocol, "a CONTINUATION frame that continues nothing")
	}
	if len(payload) == 0 && !h.flags.Has(http2.FlagContinuationEndHeaders) {
		return breach(http2.ErrCodeEnhanceYourCalm, "an empty CONTINUATION frame")
	}
	if c.block = append(c.block, payload...); len(c.block) > maxBlockBytes {
		return breach(http2.ErrCodeEnhanceYourCalm, "a header block of more than %d bytes", maxBlockBytes)
	}
	if !h.flags.Has(http2.FlagContinuationEndHeaders) {
		return nil
	}
	c.blockStream = 0
	return c.receiveBlock(frameHeader{kind: http2.FrameHeaders, flags: c.blockFlags, stream: h.stream}, c.block)
}

// receiveBlock acts on a whole header block: the headers or the trailers.
func (c *conn) receiveBlock(h frameHeader, block []byte) error {
	header, err := c.responses.decode(block) // always, as it changes the table
	if err != nil {
		return err
	}
	k, err := c.call(h)
	if err != nil || k == nil {
		return err
	}
	ends := h.flags.Has(http2.FlagHeadersEndStream)
	switch {
	case header.pseudoLate:
		return breach(http2.ErrCodeProtocol, "a pseudo-header field after others on stream %d", h.stream)
	case k.header != nil && !ends:
		return breach(http2.ErrCodeProtocol, "headers in the middle of stream %d", h.stream)
	case k.header != nil:
		c.endStream(k, header.outcome())
	case header.httpStatus == "":
		return breach(http2.ErrCodeProtocol, "headers without a status on stream %d", h.stream)
	case header.informational() && ends:
		return breach(http2.ErrCodeProtocol, "stream %d ends with the interim status %s", h.stream, header.httpStatus)
	case header.informational():
	case !header.isGRPC():
		k.header = header
		if ends {
			c.endStream(k, header.foreign())
			return nil
		}
		c.cancelStream(k)
		k.finish(header.foreign())
	default:
		k.header = header
		if ends {
			c.endStream(k, header.outcome())
		}
	}
	return nil
}

func (c *conn) receiveReset(h frameHeader, payload []byte) error {
	k, err := c.call(h)
	if err != nil {
		return err
	}
	if len(payload) != 4 {
		return breach(http2.ErrCodeFrameSize, "a RST_STREAM frame of %d bytes", len(payload))
	}
	if k == nil {
		return nil
	}
	k.unsent = nil
	code := http2.ErrCode(binary.BigEndian.Uint32(payload))
	if code == http2.ErrCodeRefusedStream {
		c.endStream(k, errRefused)
		return nil
	}
	mapped := resetCode(code)
	if mapped == codes.Canceled && k.timeout > 0 && time.Since(k.began) >= k.timeout {
		mapped = codes.DeadlineExceeded // the server knows the deadline
	}
	c.endStream(k, status.Errorf(mapped, "the server reset the stream: %v", code))
	return nil
}

// resetCode maps as gRPC does.
func resetCode(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeFlowControl, http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	case http2.ErrCodeNo, http2.ErrCodeProtocol, http2.ErrCodeInternal, http2.ErrCodeSettingsTimeout,
		http2.ErrCodeStreamClosed, http2.ErrCodeFrameSize, http2.ErrCodeCompression, http2.ErrCodeConnect, http2.ErrCodeHTTP11Required:
		return codes.Internal
	}
	return codes.Unknown
}

// endStream ends a call that the server has ended.
func (c *conn) endStream(k *Call, err error) {
	if len(k.unsent) > 0 {
		// The server wants no more of the request, but has to be told its end.
		c.out = appendReset(c.out, k.stream, http2.ErrCodeCancel)
	}
	k.finish(err)
	c.removeStream(k)
}

// cancelStream ends a call that the server has not ended.
func (c *conn) cancelStream(k *Call) {
	if c.streams[k.stream] != k {
		return
	}
	if c.writeErr == nil {
		c.out = appendReset(c.out, k.stream, http2.ErrCodeCancel)
	}
	c.removeStream(k)
}

// removeStream forgets a stream, whose turn is then another call's.
func (c *conn) removeStream(k *Call) {
	delete(c.streams, k.stream)
	c.served = true
	c.expected++
	c.wake(k)
	c.takeTurns()
	c.drained()
}

// takeTurns opens streams for the calls that wait for them.
func (c *conn) takeTurns() {
	for len(c.queue) > 0 && len(c.streams) < c.maxStreams {
		k := c.queue[0]
		c.queue = c.queue[1:]
		c.openStream(k)
		c.wake(k)
	}
}
