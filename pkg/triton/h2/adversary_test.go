package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func frame(kind http2.FrameType, flags http2.Flags, stream uint32, payload ...byte) []byte {
	return append(appendFrameHeader(nil, len(payload), kind, flags, stream), payload...)
}

// TestBreachesEndTheConnection: whatever a server sends against the rules, its
// call fails with a sentence that says so, and the next one goes to a new
// connection.
func TestBreachesEndTheConnection(t *testing.T) {
	const good = "good"
	zeros := func(n int) []byte { return make([]byte, n) }
	headers := func(p *peer) []byte {
		return frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, p.block(":status", "200", "content-type", "application/grpc")...)
	}
	setting := func(id http2.SettingID, value uint32) []byte {
		return frame(http2.FrameSettings, 0, 0, appendSetting(nil, id, value)...)
	}
	of := func(b []byte) func(*peer) []byte { return func(*peer) []byte { return b } }
	after := func(b []byte) func(*peer) []byte { return func(p *peer) []byte { return append(headers(p), b...) } }
	tests := []struct {
		name, says string
		send       func(p *peer) []byte // in answer to the request on stream 1
	}{
		{"large frame", "a DATA frame of 16385 bytes", of(append(appendFrameHeader(nil, 16385, http2.FrameData, 0, 1), zeros(16385)...))},
		{"data on stream 0", "on stream 0", of(frame(http2.FrameData, 0, 0, 1))},
		{"data on an even stream", "on stream 2", of(frame(http2.FrameData, 0, 2, 1))},
		{"data on an unopened stream", "on stream 9", of(frame(http2.FrameData, 0, 9, 1))},
		{"data before headers", "before headers", of(frame(http2.FrameData, 0, 1, 1))},
		{"too much padding", "more padding", after(frame(http2.FrameData, http2.FlagDataPadded, 1, 5, 0, 0))},
		{"padding without length", "more padding", after(frame(http2.FrameData, http2.FlagDataPadded, 1))},
		{"padded headers", "more padding", of(frame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, 9, 0x88))},
		{"short priority", "with a priority", of(frame(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1, 1, 2))},
		{"PRIORITY of 4 bytes", "PRIORITY frame of 4", of(frame(http2.FramePriority, 0, 1, zeros(4)...))},
		{"headers on stream 0", "on stream 0", of(frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, 0x88))},
		{"headers on an unopened stream", "on stream 3", of(frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, 0x88))},
		{"bad header block", "can't be decoded", of(frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0xFF, 0xFF, 0xFF))},
		{"broken header block", "can't be decoded", of(frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x40, 10, 'a'))},
		{"table above the limit", "can't be decoded", of(frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x3F, 0xFF, 0xFF, 0x7F))},
		{"no status", "without a status", func(p *peer) []byte {
			return frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, p.block("content-type", "application/grpc")...)
		}},
		{"status late", "pseudo-header", func(p *peer) []byte {
			return frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, p.block("content-type", "application/grpc", ":status", "200")...)
		}},
		{"headers twice", "in the middle", func(p *peer) []byte { return append(headers(p), headers(p)...) }},
		{"ended by an interim status", "interim status 103", func(p *peer) []byte {
			return frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, p.block(":status", "103")...)
		}},
		{"frame within a header block", "within the header block", of(append(frame(http2.FrameHeaders, 0, 1, 0x88), frame(http2.FramePing, 0, 0, zeros(8)...)...))},
		{"continuation of another stream", "within the header block", of(append(frame(http2.FrameHeaders, 0, 1, 0x88), frame(http2.FrameContinuation, 4, 3, 0x88)...))},
		{"continuation of nothing", "continues nothing", of(frame(http2.FrameContinuation, 4, 1, 0x88))},
		{"empty continuations", "empty CONTINUATION", of(append(frame(http2.FrameHeaders, 0, 1, 0x88), frame(http2.FrameContinuation, 0, 1)...))},
		{"endless header block", "header block of more than", func(*peer) []byte {
			all := frame(http2.FrameHeaders, 0, 1, 0x88)
			for range 20 {
				all = append(all, frame(http2.FrameContinuation, 0, 1, bytes.Repeat([]byte{0x88}, 16384)...)...)
			}
			return all
		}},
		{"headers that decode to much", "headers of", func(p *peer) []byte {
			big := p.block(":status", "200", "x", strings.Repeat("x", 3000))
			again := bytes.Repeat(p.block("x", strings.Repeat("x", 3000)), 600)
			return frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, append(big, again...)...)
		}},
		{"settings of 5 bytes", "SETTINGS frame of 5", of(frame(http2.FrameSettings, 0, 0, zeros(5)...))},
		{"settings on a stream", "settings for stream 1", of(frame(http2.FrameSettings, 0, 1))},
		{"acknowledgement with settings", "SETTINGS frame of 6", of(frame(http2.FrameSettings, http2.FlagSettingsAck, 0, zeros(6)...))},
		{"push allowed", "ENABLE_PUSH to 1", of(setting(http2.SettingEnablePush, 1))},
		{"window of 2 GiB", "INITIAL_WINDOW_SIZE to 2147483648", of(setting(http2.SettingInitialWindowSize, 1<<31))},
		{"frame size too small", "MAX_FRAME_SIZE to 16383", of(setting(http2.SettingMaxFrameSize, 16383))},
		{"frame size too large", "MAX_FRAME_SIZE to 16777216", of(setting(http2.SettingMaxFrameSize, 1<<24))},
		{"initial window makes one overflow", "window too large", of(append(frame(http2.FrameWindowUpdate, 0, 1, 0, 1, 0, 0), setting(http2.SettingInitialWindowSize, 1<<31-1)...))},
		{"push", "pushed stream", of(frame(http2.FramePushPromise, 4, 1, 0, 0, 0, 2, 0x88))},
		{"ping of 7 bytes", "PING frame of 7", of(frame(http2.FramePing, 0, 0, zeros(7)...))},
		{"ping on a stream", "a ping on stream 1", of(frame(http2.FramePing, 0, 1, zeros(8)...))},
		{"window by 0", "window by 0", of(frame(http2.FrameWindowUpdate, 0, 0, zeros(4)...))},
		{"window above 2 GiB", "window above 2147483647", of(frame(http2.FrameWindowUpdate, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF))},
		{"window update of 3 bytes", "WINDOW_UPDATE frame of 3", of(frame(http2.FrameWindowUpdate, 0, 0, 0, 0, 1))},
		{"window of an unopened stream", "on stream 5", of(frame(http2.FrameWindowUpdate, 0, 5, 0, 0, 0, 1))},
		{"reset of 3 bytes", "RST_STREAM frame of 3", of(frame(http2.FrameRSTStream, 0, 1, zeros(3)...))},
		{"reset of stream 0", "on stream 0", of(frame(http2.FrameRSTStream, 0, 0, zeros(4)...))},
		{"goaway of 7 bytes", "GOAWAY frame of 7", of(frame(http2.FrameGoAway, 0, 0, zeros(7)...))},
		{"goaway on a stream", "GOAWAY frame on stream 1", of(frame(http2.FrameGoAway, 0, 1, zeros(8)...))},
		{"goaway that grows", "after one up to 1", of(append(frame(http2.FrameGoAway, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), frame(http2.FrameGoAway, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0)...))},
		{"end within a frame", "EOF", of([]byte{0, 0, 100, 0, 0, 0, 0, 0, 1, 'x'})},
		{"end without answer", "EOF", of(nil)},
		{"an unknown frame is no breach", good, func(p *peer) []byte {
			all := append(frame(0xEE, 0xFF, 7, 1, 2, 3), headers(p)...)
			all = append(all, frame(http2.FramePriority, 0, 1, zeros(5)...)...)
			all = append(all, frame(http2.FrameData, http2.FlagDataPadded, 1, append([]byte{3}, append(zeros(5), 9, 9, 9)...)...)...)
			return append(all, frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, p.block("grpc-status", "0")...)...)
		}},
		{"headers in pieces", good, func(p *peer) []byte {
			block := p.block(":status", "200", "content-type", "application/grpc+proto", "x", strings.Repeat("long", 10))
			all := frame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersPriority, 1, append([]byte{2, 0, 0, 0, 0, 7}, append(block[:3:3], 0, 0)...)...)
			all = append(all, frame(http2.FrameContinuation, 0, 1, block[3:5]...)...)
			all = append(all, frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, block[5:]...)...)
			for range 5 { // one byte of the answer each, and an empty frame
				all = append(all, frame(http2.FrameData, 0, 1, 0)...)
			}
			all = append(all, frame(http2.FrameData, 0, 1)...)
			return append(all, frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, p.block("grpc-status", "0")...)...)
		}},
		{"interim headers", good, func(p *peer) []byte {
			all := frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, p.block(":status", "103", "link", "x")...)
			all = append(append(all, headers(p)...), frame(http2.FrameData, 0, 1, zeros(5)...)...)
			return append(all, frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, p.block("grpc-status", "0")...)...)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				leakFree(t, func(t *testing.T) {
					connections := make(chan struct{}, 10)
					address := script(t, false, func(p *peer) {
						connections <- struct{}{}
						if len(connections) > 1 {
							p.echo()
							return
						}
						if _, err := p.next(); err != nil {
							return
						}
						_, _ = p.Write(tt.send(p))
						if tt.says == "EOF" {
							return
						}
						_, _ = io.Copy(io.Discard, p.Conn) // until the client closes
					})
					c := newTestClient(t, address, wrap, testOptions)
					k := newTestCall(t, c)
					_, err := k.Do(t.Context(), request("a", 10))
					if tt.says == good {
						if err != nil {
							t.Error(err)
						}
						return
					}
					var lost *LostError
					if !errors.As(err, &lost) || !strings.Contains(err.Error(), tt.says) {
						t.Errorf("%T %v", err, err)
					}
					if err := ask(t.Context(), k, "b", 10); err != nil {
						t.Errorf("the next call: %v", err)
					}
				})
			})
		})
	}
}

// TestAnswersThatAreNoGoodFailTheirCallOnly: the connection is used further.
func TestAnswersThatAreNoGoodFailTheirCallOnly(t *testing.T) {
	prefixed := func(n int, rest string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(n)), rest...)
	}
	ok := []string{":status", "200", "content-type", "application/grpc"}
	with := func(message []byte, trailers ...string) func(*peer, uint32) {
		return func(p *peer, stream uint32) {
			p.headers(stream, false, ok...)
			if message != nil {
				_ = p.WriteData(stream, false, message)
			}
			p.headers(stream, true, trailers...)
		}
	}
	only := func(pairs ...string) func(*peer, uint32) {
		return func(p *peer, stream uint32) { p.headers(stream, true, pairs...) }
	}
	reset := func(code http2.ErrCode) func(*peer, uint32) {
		return func(p *peer, stream uint32) { _ = p.WriteRSTStream(stream, code) }
	}
	tests := []struct {
		name string
		code codes.Code
		says string
		send func(p *peer, stream uint32)
	}{
		{"trailers only", codes.NotFound, "no model", only(append(ok, "grpc-status", "5", "grpc-message", "no%20model")...)},
		{"trailers only, OK", codes.Internal, "without a message", only(append(ok, "grpc-status", "0")...)},
		{"broken percent", codes.Unknown, "100%zz %4", with(nil, "grpc-status", "2", "grpc-message", "100%zz %4")},
		{"unknown code", codes.Code(77), "odd", with(nil, "grpc-status", "77", "grpc-message", "odd")},
		{"malformed code", codes.Unknown, `"x"`, with(nil, "grpc-status", "x")},
		{"no code", codes.Internal, "without a status", with(prefixed(0, ""), "other", "x")},
		{"no trailers", codes.Internal, "without a status", func(p *peer, stream uint32) {
			p.headers(stream, false, ok...)
			_ = p.WriteData(stream, true, prefixed(0, ""))
		}},
		{"no message", codes.Internal, "without a message", with(nil, "grpc-status", "0")},
		{"part of a prefix", codes.Internal, "prefix", with([]byte{0, 0}, "grpc-status", "0")},
		{"part of a message", codes.Internal, "after 3 of 9 bytes", with(prefixed(9, "abc"), "grpc-status", "0")},
		{"two messages", codes.Internal, "7 bytes more", with(append(prefixed(1, "a"), prefixed(2, "bc")...), "grpc-status", "0")},
		{"compressed", codes.Unimplemented, "gzip", func(p *peer, stream uint32) {
			p.headers(stream, false, append(ok, "grpc-encoding", "gzip")...)
			_ = p.WriteData(stream, false, []byte{1, 0, 0, 0, 1, 9})
			p.headers(stream, true, "grpc-status", "0")
		}},
		{"announced too large", codes.ResourceExhausted, "4294967295 bytes", func(p *peer, stream uint32) {
			p.headers(stream, false, ok...)
			_ = p.WriteData(stream, false, []byte{0, 0xFF, 0xFF, 0xFF, 0xFF})
		}},
		{"too large", codes.ResourceExhausted, "more than the 1000 bytes", func(p *peer, stream uint32) {
			p.headers(stream, false, ok...)
			_ = p.WriteData(stream, false, append(prefixed(900, ""), make([]byte, 1100)...))
		}},
		{"not gRPC", codes.Unknown, "HTTP status 200 (OK) and the content type \"text/html\"", func(p *peer, stream uint32) {
			p.headers(stream, false, ":status", "200", "content-type", "text/html")
			_ = p.WriteData(stream, true, []byte("<html>"))
		}},
		{"not gRPC, but like it", codes.Unknown, "application/grpcx", only(":status", "200", "content-type", "application/grpcx")},
		{"not found", codes.Unimplemented, "404 (Not Found) and no content type", only(":status", "404")},
		{"forbidden", codes.PermissionDenied, "403", only(":status", "403")},
		{"unauthorized", codes.Unauthenticated, "401", only(":status", "401")},
		{"bad request", codes.Internal, "400", only(":status", "400")},
		{"a proxy without server", codes.Unavailable, "503", only(":status", "503", "content-type", "text/plain")},
		{"teapot", codes.Unknown, "418", only(":status", "418")},
		{"malformed status", codes.Internal, `"2x0"`, only(":status", "2x0")},
		{"reset: internal", codes.Internal, "INTERNAL_ERROR", reset(http2.ErrCodeInternal)},
		{"reset: no error", codes.Internal, "NO_ERROR", reset(http2.ErrCodeNo)},
		{"reset: cancel", codes.Canceled, "CANCEL", reset(http2.ErrCodeCancel)},
		{"reset: calm", codes.ResourceExhausted, "ENHANCE_YOUR_CALM", reset(http2.ErrCodeEnhanceYourCalm)},
		{"reset: security", codes.PermissionDenied, "INADEQUATE_SECURITY", reset(http2.ErrCodeInadequateSecurity)},
		{"reset: unknown", codes.Unknown, "0x1234", reset(0x1234)},
		{"reset: refused", codes.Unavailable, "twice", reset(http2.ErrCodeRefusedStream)},
		{"window by 0", codes.Internal, "window by 0", func(p *peer, stream uint32) {
			_, _ = p.Write(frame(http2.FrameWindowUpdate, 0, stream, 0, 0, 0, 0))
		}},
		{"window above 2 GiB", codes.Internal, "above 2 GiB", func(p *peer, stream uint32) { _ = p.WriteWindowUpdate(stream, 1<<31-1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leakFree(t, func(t *testing.T) {
				connections := make(chan struct{}, 10)
				address := script(t, false, func(p *peer) {
					connections <- struct{}{}
					for {
						r, err := p.next()
						if err != nil {
							return
						}
						if strings.Contains(string(r.message), "bad") {
							tt.send(p, r.stream)
						} else {
							p.answer(r.stream, answerTo(r.message))
						}
					}
				})
				opts := testOptions
				opts.MaxMessageBytes = 1000
				c := newTestClient(t, address, transports["tcp"], opts)
				k := newTestCall(t, c)
				for range 2 {
					_, err := k.Do(t.Context(), request("bad", 10))
					if codeOf(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.says) {
						t.Errorf("%v", err)
					}
					if answered := !strings.HasPrefix(tt.name, "reset") && !strings.HasPrefix(tt.name, "window"); k.Answered() != answered {
						t.Errorf("answered: %t", k.Answered())
					}
					if err := ask(t.Context(), k, "g", 10); err != nil {
						t.Errorf("the next call: %v", err)
					}
				}
				if len(connections) != 1 {
					t.Errorf("%d connections", len(connections))
				}
			})
		})
	}
}
