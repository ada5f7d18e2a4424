package h2

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// sink is a connection that takes everything and brings nothing.
type sink struct{ closed bool }

func (s *sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) Close() error                     { s.closed = true; return nil }
func (s *sink) LocalAddr() net.Addr              { return nil }
func (s *sink) RemoteAddr() net.Addr             { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames lets a server send anything, in pieces of any size, to a connection
// with three calls. Frames are understood the same however they are cut, nothing
// grows beyond what was sent, and a connection that ended has ended its calls.
func FuzzFrames(f *testing.F) {
	settings := frame(http2.FrameSettings, 0, 0)
	headers := frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x88, 0x5F, 16, 'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/', 'g', 'r', 'p', 'c')
	trailers := frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, 0x40, 11, 'g', 'r', 'p', 'c', '-', 's', 't', 'a', 't', 'u', 's', 1, '0')
	add := func(step uint8, frames ...[]byte) { f.Add(step, bytes.Join(frames, nil)) }
	add(255, settings, headers, frame(http2.FrameData, 0, 1, 0, 0, 0, 0, 2, 'a', 'b'), trailers)
	add(1, settings, headers, frame(http2.FrameData, http2.FlagDataPadded, 1, 2, 0, 0, 0, 0, 0, 9, 9), trailers)
	add(7, settings, frame(http2.FrameSettings, 0, 0, 0, 4, 0, 0, 0, 1, 0, 3, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0), frame(http2.FrameWindowUpdate, 0, 0, 0, 1, 0, 0))
	add(9, settings, frame(http2.FrameGoAway, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), headers, trailers)
	add(40, settings, frame(http2.FrameRSTStream, 0, 3, 0, 0, 0, 7), frame(http2.FramePing, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8))
	add(3, settings, frame(http2.FrameHeaders, 0, 1, 0x88), frame(http2.FrameContinuation, 4, 1, 0x40, 1, 'x', 1, 'y'))
	add(100, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, step uint8, sent []byte) {
		whole, cut := newFuzzed(), newFuzzed()
		whole.feed(sent, len(sent)+1)
		cut.feed(sent, int(step)+1)
		if (whole.c.err == nil) != (cut.c.err == nil) || whole.c.err != nil && whole.c.err.Error() != cut.c.err.Error() && whole.c.settled {
			t.Fatalf("whole: %v; cut: %v", whole.c.err, cut.c.err)
		}
		for i, k := range whole.calls {
			other := cut.calls[i]
			if k.done != other.done || k.done && !bytes.Equal(k.received, other.received) {
				t.Fatalf("call %d: whole %t % x, cut %t % x", i, k.done, k.received, other.done, other.received)
			}
			if whole.c.err != nil && !k.done {
				t.Fatalf("the connection ended (%v) and call %d did not", whole.c.err, i)
			}
			if len(k.received) > len(sent) {
				t.Fatalf("%d bytes received of %d", len(k.received), len(sent))
			}
			if k.done && k.err == nil {
				if answer, err := k.message(); err == nil && len(answer) > len(sent) {
					t.Fatal("an answer of more than was sent")
				}
			}
		}
		if whole.c.err == nil && len(whole.c.out) > 3*len(sent)+3*200 {
			t.Fatalf("%d bytes in line for %d", len(whole.c.out), len(sent))
		}
	})
}

type fuzzed struct {
	c     *conn
	calls []*Call
}

func newFuzzed() *fuzzed {
	client := NewClient(nil, testOptions)
	c := newConn(client, &sink{})
	c.requestHeader = newRequestHeader("http", client.options)
	f := &fuzzed{c: c}
	for range 3 {
		k := client.NewCall()
		k.arriving = receiveWindow{size: c.received.size}
		k.unsent = make([]byte, 10)
		c.openStream(k)
		f.calls = append(f.calls, k)
	}
	c.out = c.out[:0]
	return f
}

// feed lets bytes arrive, at most step at a time.
func (f *fuzzed) feed(sent []byte, step int) {
	for len(sent) > 0 && f.c.err == nil {
		n := copy(f.c.in[f.c.last:], sent[:min(step, len(sent))])
		if n == 0 {
			panic("the buffer is full")
		}
		sent = sent[n:]
		f.c.arrived(n, nil)
	}
}

// FuzzResponseHeader: a block that is recognised means what it meant at first,
// and what is read is what the reference reads.
func FuzzResponseHeader(f *testing.F) {
	encode := func(pairs ...string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i < len(pairs); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return b.Bytes()
	}
	f.Add(encode(":status", "200", "content-type", "application/grpc"), []byte{0x88, 0xBE})
	f.Add(encode("grpc-status", "5", "grpc-message", "no%20such%zz"), []byte{0xBE, 0xBF})
	f.Add(encode(":status", "503"), []byte{0x20, 0x88})
	f.Add([]byte{0x88}, []byte{0x88})
	f.Add([]byte{0xFF, 0xFF}, []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := newHeaderDecoder()
		reference := hpack.NewDecoder(initialHeaderTableSize, nil)
		reference.SetMaxStringLength(maxHeaderBytes)
		for range 3 {
			for _, block := range [][]byte{first, second, second, first} {
				fields, wantErr := reference.DecodeFull(block)
				got, err := d.decode(block)
				if (err != nil) != (wantErr != nil) {
					t.Fatalf("% x: %v; the reference: %v", block, err, wantErr)
				}
				if err != nil {
					return
				}
				var want responseHeader
				for _, field := range fields {
					want.set(field)
				}
				if *got != want {
					t.Fatalf("% x: %+v; the reference: %+v", block, *got, want)
				}
				_, _ = got.outcome(), got.foreign()
			}
		}
	})
}
