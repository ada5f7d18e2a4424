package portforward

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/spdystream"
	"github.com/moby/spdystream/spdy"
)

// The session's own reading and writing of data frames, held against the SPDY
// library's.

// ending is how reading a connection ends.
type ending int

const (
	open ending = iota
	endOfFile
	streamReset
	toldByNode
	tunnelGone
)

// expected is what the owner of data stream 3 and error stream 1 reads when the
// library decodes what the node sent.
func expected(t *testing.T, sent []byte) (data []byte, end ending) {
	t.Helper()
	reader := bytes.NewReader(sent)
	framer, err := spdy.NewFramer(io.Discard, reader)
	if err != nil {
		t.Fatal(err)
	}
	first := func(e ending) {
		if end == open {
			end = e
		}
	}
	for {
		rest := sent[len(sent)-reader.Len():]
		frame, err := framer.ReadFrame()
		if err != nil {
			// The beginning of a frame that was cut off arrives, too.
			if end == open && len(rest) >= 8 && binary.BigEndian.Uint32(rest) == 3 {
				data = append(data, rest[8:]...)
			}
			first(tunnelGone)
			return data, end
		}
		fin := func(flags spdy.ControlFlags, id spdy.StreamId) {
			if id == 3 && flags&spdy.ControlFlagFin != 0 {
				first(endOfFile)
			}
		}
		switch f := frame.(type) {
		case *spdy.DataFrame:
			switch {
			case f.StreamId == 1 && len(f.Data) > 0:
				first(toldByNode)
			case f.StreamId == 3 && end == open:
				data = append(data, f.Data...)
			}
			fin(spdy.ControlFlags(f.Flags)&spdy.ControlFlagFin, f.StreamId)
		case *spdy.SynReplyFrame:
			fin(f.CFHeader.Flags, f.StreamId)
		case *spdy.HeadersFrame:
			fin(f.CFHeader.Flags, f.StreamId)
		case *spdy.RstStreamFrame:
			if f.StreamId == 3 {
				first(streamReset)
			}
		}
	}
}

func endingOf(err error) ending {
	var refused *RefusedError
	var lost *LostError
	switch {
	case err == nil: // of io.ReadAll
		return endOfFile
	case errors.As(err, &refused):
		return toldByNode
	case !errors.As(err, &lost):
		return open
	case lost.Err != nil:
		return tunnelGone
	case lost.Reason == "the node reset it":
		return streamReset
	}
	return toldByNode
}

// encoded is frames as the library writes them.
func encoded(t testing.TB, frames ...spdy.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	framer, err := spdy.NewFramer(&b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		if err := framer.WriteFrame(frame); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var bothTaken = []spdy.Frame{
	&spdy.SynReplyFrame{StreamId: 1, Headers: http.Header{}},
	&spdy.SynReplyFrame{StreamId: 3, Headers: http.Header{}},
}

// FuzzReadsAsTheLibrary sends any bytes on a tunnel with one connection, in
// pieces: what its owner reads, and how that ends, is what the library makes of
// the bytes.
func FuzzReadsAsTheLibrary(f *testing.F) {
	seed := func(frames ...spdy.Frame) {
		// The bytes follow those of bothTaken, whose compression they continue.
		f.Add(encoded(f, append(bothTaken[:2:2], frames...)...)[len(encoded(f, bothTaken...)):], uint8(3))
	}
	seed(&spdy.DataFrame{StreamId: 3, Data: []byte("data")}, &spdy.DataFrame{StreamId: 3, Data: []byte("last"), Flags: spdy.DataFlagFin})
	seed(&spdy.DataFrame{StreamId: 3, Data: []byte("some")}, &spdy.DataFrame{StreamId: 1, Data: []byte("connection refused")}, &spdy.DataFrame{StreamId: 3, Data: []byte("late")})
	seed(&spdy.DataFrame{StreamId: 5, Data: []byte("nobody's")}, &spdy.RstStreamFrame{StreamId: 3, Status: spdy.Cancel}, &spdy.DataFrame{StreamId: 3, Data: []byte("late")})
	seed(&spdy.HeadersFrame{StreamId: 3, Headers: http.Header{"A": {"b"}}, CFHeader: spdy.ControlFrameHeader{Flags: spdy.ControlFlagFin}})
	seed(&spdy.SynReplyFrame{StreamId: 3, Headers: http.Header{"A": {"b"}}}, &spdy.PingFrame{Id: 2}, &spdy.PingFrame{Id: 1}, &spdy.GoAwayFrame{}, &spdy.DataFrame{StreamId: 3, Data: []byte("after")})
	seed(&spdy.SettingsFrame{FlagIdValues: []spdy.SettingsFlagIdValue{{Id: 4, Value: 5}}}, &spdy.WindowUpdateFrame{StreamId: 3, DeltaWindowSize: 9}, &spdy.SynStreamFrame{StreamId: 2, Headers: http.Header{}}, &spdy.DataFrame{StreamId: 3, Data: []byte("x")})
	f.Add([]byte{0, 0, 0, 3, 0, 0, 1, 0, 'c', 'u', 't'}, uint8(1))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0, 0, 3, 0, 0, 0, 1, 'y'}, uint8(2))
	f.Add([]byte{0, 0, 0, 3, 1, 0, 0, 0, 0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 0}, uint8(0))
	f.Fuzz(readsAsTheLibrary)
}

// halfPipe is a connection whose other end can end its direction alone.
type halfPipe struct {
	net.Conn // for what is not used
	fromNode *io.PipeReader
	node     *io.PipeWriter
	toNode   *io.PipeReader
	own      *io.PipeWriter
}

func newHalfPipe() *halfPipe {
	p := &halfPipe{}
	p.fromNode, p.node = io.Pipe()
	p.toNode, p.own = io.Pipe()
	return p
}

func (p *halfPipe) Read(b []byte) (int, error)  { return p.fromNode.Read(b) }
func (p *halfPipe) Write(b []byte) (int, error) { return p.own.Write(b) }
func (p *halfPipe) Close() error                { return errors.Join(p.fromNode.Close(), p.own.Close()) }

func readsAsTheLibrary(t *testing.T, sent []byte, piece uint8) {
	if length := longest(sent); length > 1<<20 {
		t.Skip("the library would want that much memory")
	}
	near := newHalfPipe()
	s, err := newSession(PodRef{Name: "p"}, plain(near), time.Hour, time.Minute, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(net.ErrClosed)
	defer near.node.Close()
	taken := encoded(t, bothTaken...)
	go func() {
		// The streams exist once they are announced.
		if _, err := near.toNode.Read(make([]byte, 1)); err == nil {
			_, _ = near.node.Write(taken)
		}
		_, _ = io.Copy(io.Discard, near.toNode)
	}()
	conn, err := s.open(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		defer near.node.Close()
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+int(piece))
			if _, err := near.node.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	wantData, wantEnd := expected(t, append(taken, sent...))
	got, err := io.ReadAll(conn)
	if !bytes.Equal(got, wantData) || endingOf(err) != wantEnd {
		t.Errorf("read %q, %v (ending %d); the library says %q, ending %d", got, err, endingOf(err), wantData, wantEnd)
	}
}

// longest is the largest length that four of the bytes could mean, wherever a
// frame begins.
func longest(sent []byte) (length uint32) {
	for i := 4; i+4 <= len(sent); i++ {
		length = max(length, binary.BigEndian.Uint32(sent[i:])&0xffffff)
	}
	return length
}

// side is a client of a tunnel: it opens a connection to port 8000 on near,
// uses it, and ends the tunnel.
type side func(t *testing.T, near net.Conn, use func(halves) error) error

type halves interface {
	io.Writer
	finish() error
	reset() error
}

// framesOf is what a side sends, by stream; each stream is taken at once.
func framesOf(t *testing.T, client side, use func(halves) error) map[spdy.StreamId][]spdy.Frame {
	t.Helper()
	near, far := socketPair(t)
	framer, err := spdy.NewFramer(far, far)
	if err != nil {
		t.Fatal(err)
	}
	streams := map[spdy.StreamId][]spdy.Frame{}
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer far.Close()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *spdy.SynStreamFrame:
				f.CFHeader = spdy.ControlFrameHeader{Flags: f.CFHeader.Flags} // the length depends on the headers' order
				streams[f.StreamId] = append(streams[f.StreamId], f)
				if err := framer.WriteFrame(&spdy.SynReplyFrame{StreamId: f.StreamId, Headers: http.Header{}}); err != nil {
					return
				}
			case *spdy.DataFrame:
				streams[f.StreamId] = append(streams[f.StreamId], f)
			case *spdy.RstStreamFrame:
				f.CFHeader = spdy.ControlFrameHeader{Flags: f.CFHeader.Flags}
				streams[f.StreamId] = append(streams[f.StreamId], f)
			}
		}
	}()
	if err := client(t, near, use); err != nil {
		t.Fatal(err)
	}
	<-over
	return streams
}

func ownSide(t *testing.T, near net.Conn, use func(halves) error) error {
	s, err := newSession(PodRef{Name: "p"}, plain(near), time.Hour, time.Minute, func() {})
	if err != nil {
		return err
	}
	defer s.close(net.ErrClosed)
	c, err := s.open(t.Context(), 8000)
	if err != nil {
		return err
	}
	return use(ownHalves{c.(*conn)})
}

// librarySide makes the streams as client-go's port-forward does.
func librarySide(_ *testing.T, near net.Conn, use func(halves) error) error {
	connection, err := spdystream.NewConnection(near, false)
	if err != nil {
		return err
	}
	go connection.Serve(spdystream.NoOpStreamHandler)
	defer near.Close() // connection's own Close waits for the other side's end of the streams
	header := http.Header{headerPort: {"8000"}, headerRequestID: {"1"}, headerStreamType: {"error"}}
	errorStream, err := connection.CreateStream(header, nil, false)
	if err != nil {
		return err
	}
	header = http.Header{headerPort: {"8000"}, headerRequestID: {"1"}, headerStreamType: {"data"}}
	dataStream, err := connection.CreateStream(header, nil, false)
	if err != nil {
		return err
	}
	if err := errors.Join(errorStream.Wait(), dataStream.Wait(), errorStream.Close()); err != nil {
		return err
	}
	return use(libraryHalves{dataStream})
}

type ownHalves struct{ *conn }

func (h ownHalves) finish() error { return h.CloseWrite() }
func (h ownHalves) reset() error  { return h.Close() }

type libraryHalves struct{ *spdystream.Stream }

func (h libraryHalves) finish() error { return h.Close() }
func (h libraryHalves) reset() error  { return h.Reset() }

// The frames of a connection, stream by stream, are those of the library.
func TestWritesAsTheLibrary(t *testing.T) {
	write := func(c io.Writer, texts ...string) error {
		for _, text := range texts {
			if _, err := io.WriteString(c, text); err != nil {
				return err
			}
		}
		return nil
	}
	for name, use := range map[string]func(c halves) error{
		"nothing":          func(halves) error { return nil },
		"writes":           func(c halves) error { return write(c, "one", "two") },
		"the longest":      func(c halves) error { return write(c, strings.Repeat("x", maxDataFrameBytes)) },
		"the end":          func(c halves) error { return errors.Join(write(c, "all"), c.finish()) },
		"the end, at once": func(c halves) error { return c.finish() },
		"a reset":          func(c halves) error { return errors.Join(write(c, "some"), c.reset()) },
		"a reset, at once": func(c halves) error { return c.reset() },
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			ours, theirs := framesOf(t, ownSide, use), framesOf(t, librarySide, use)
			if strings.HasPrefix(name, "a reset") {
				// The library leaves the error stream to the node.
				last := len(ours[1]) - 1
				if !reflect.DeepEqual(ours[1][last], spdy.Frame(&spdy.RstStreamFrame{StreamId: 1, Status: spdy.Cancel})) {
					t.Errorf("the error stream ended with %+v", ours[1][last])
				}
				ours[1] = ours[1][:last]
			}
			if len(theirs[1]) < 2 || len(theirs[3]) < 1 {
				t.Fatalf("the library sent %v", theirs)
			}
			if !reflect.DeepEqual(ours, theirs) {
				t.Errorf("sent\n%s\nthe library sends\n%s", listing(ours), listing(theirs))
			}
		})
	}
}

func listing(streams map[spdy.StreamId][]spdy.Frame) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(streams)) {
		for _, frame := range streams[id] {
			fmt.Fprintf(&b, "%T %.300s\n", frame, fmt.Sprintf("%+v", frame))
		}
	}
	return b.String()
}
