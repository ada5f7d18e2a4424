package h2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// preface begins a client's side of a connection.
const preface = http2.ClientPreface

const (
	frameHeaderBytes = 9
	// maxFrameBytes of payload is what a peer may send unless told otherwise,
	// which this client doesn't.
	maxFrameBytes = 16 << 10
	// maxWindow is the largest flow-control window that there can be, in bytes.
	maxWindow = 1<<31 - 1
	// maxStreamID is the last stream of a connection.
	maxStreamID = 1<<31 - 1

	initialWindow          = 64<<10 - 1
	initialHeaderTableSize = 4096
)

// frameHeader is the fixed part of a frame, see RFC 9113 section 4.1.
type frameHeader struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// parseFrameHeader reads the first frameHeaderBytes of b.
func parseFrameHeader(b []byte) frameHeader {
	_ = b[frameHeaderBytes-1]
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

func appendFrameHeader(dst []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWindowUpdate(dst []byte, stream, increment uint32) []byte {
	dst = appendFrameHeader(dst, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(dst, increment)
}

func appendReset(dst []byte, stream uint32, code http2.ErrCode) []byte {
	dst = appendFrameHeader(dst, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendSetting(dst []byte, id http2.SettingID, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, uint16(id)), value)
}

// protocolError is a breach of HTTP/2 by the server, which ends the connection.
type protocolError struct {
	code    http2.ErrCode
	problem string
}

// Error says what the server did.
func (e *protocolError) Error() string {
	return "the server broke the rules of HTTP/2 (" + e.code.String() + "): " + e.problem
}

func breach(code http2.ErrCode, format string, args ...any) error {
	return &protocolError{code: code, problem: fmt.Sprintf(format, args...)}
}

// unpad takes the padding off a frame's payload, see RFC 9113 section 6.1.
func unpad(h frameHeader, payload []byte) ([]byte, error) {
	const flagPadded = http2.FlagDataPadded // HEADERS have the same
	if !h.flags.Has(flagPadded) {
		return payload, nil
	}
	if len(payload) == 0 || int(payload[0]) > len(payload)-1 {
		return nil, breach(http2.ErrCodeProtocol, "a %v frame of %d bytes has more padding than that", h.kind, len(payload))
	}
	return payload[1 : len(payload)-int(payload[0])], nil
}
