package portforward

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moby/spdystream/spdy"
)

// plain is a tunnel on conn itself.
func plain(conn net.Conn) upgraded {
	w := newWire(conn)
	return upgraded{w, w, bufio.NewReaderSize(w, readBufferBytes)}
}

// socketPair is a TCP connection and its other end.
func socketPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if near, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

const noPings = time.Hour

// scripted is a session whose peer is a framer of the library.
type scripted struct {
	*session
	peer   net.Conn
	framer *spdy.Framer
}

func newScripted(t testing.TB, ping time.Duration) *scripted {
	t.Helper()
	checkLeaks(t)
	near, far := socketPair(t)
	s, err := newSession(PodRef{Namespace: "triton", Name: "triton-0"}, plain(near), ping, time.Minute, func() {})
	if err != nil {
		t.Fatal(err)
	}
	framer, err := spdy.NewFramer(far, far)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		far.Close()
		s.close(net.ErrClosed)
	})
	return &scripted{s, far, framer}
}

func (s *scripted) read(t testing.TB) spdy.Frame {
	t.Helper()
	frame, err := s.framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func (s *scripted) write(t testing.TB, frames ...spdy.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := s.framer.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
}

// accept opens a connection, as the node sees it.
func (s *scripted) accept(t testing.TB) (net.Conn, spdy.StreamId, spdy.StreamId) {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		conn, err := s.open(context.Background(), 8000)
		opened <- result{conn, err}
	}()
	var ids []spdy.StreamId
	for _, kind := range []string{"error", "data"} {
		syn, ok := s.read(t).(*spdy.SynStreamFrame)
		if !ok || syn.Headers.Get("streamType") != kind || syn.Headers.Get("port") != "8000" || syn.Headers.Get("requestID") == "" {
			t.Fatalf("got %+v, want the %s stream", syn, kind)
		}
		ids = append(ids, syn.StreamId)
	}
	s.write(t, &spdy.SynReplyFrame{StreamId: ids[0], Headers: http.Header{}}, &spdy.SynReplyFrame{StreamId: ids[1], Headers: http.Header{}})
	if fin, ok := s.read(t).(*spdy.DataFrame); !ok || fin.StreamId != ids[0] || fin.Flags != spdy.DataFlagFin || len(fin.Data) != 0 {
		t.Fatalf("got %+v, want the end of the error stream", fin)
	}
	r := <-opened
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.conn, ids[0], ids[1]
}

func TestFrames(t *testing.T) {
	s := newScripted(t, noPings)
	conn, errID, dataID := s.accept(t)
	if errID != 1 || dataID != 3 {
		t.Errorf("streams %d and %d", errID, dataID)
	}
	go conn.Write([]byte("request"))
	if f, ok := s.read(t).(*spdy.DataFrame); !ok || f.StreamId != dataID || string(f.Data) != "request" || f.Flags != 0 {
		t.Errorf("got %+v", f)
	}
	// Frames that concern nobody are passed over, pings are answered.
	s.write(t,
		&spdy.SettingsFrame{FlagIdValues: []spdy.SettingsFlagIdValue{{Id: spdy.SettingsMaxConcurrentStreams, Value: 100}}},
		&spdy.WindowUpdateFrame{StreamId: dataID, DeltaWindowSize: 1},
		&spdy.DataFrame{StreamId: 99, Data: []byte("for nobody")},
		&spdy.RstStreamFrame{StreamId: 99, Status: spdy.Cancel},
		&spdy.HeadersFrame{StreamId: dataID, Headers: http.Header{"X": {"y"}}},
		&spdy.PingFrame{Id: 7})
	s.write(t, &spdy.PingFrame{Id: 2})
	if f, ok := s.read(t).(*spdy.PingFrame); !ok || f.Id != 2 {
		t.Errorf("got %+v, want the ping's answer", f)
	}
	s.write(t, &spdy.SynStreamFrame{StreamId: 2, Headers: http.Header{}})
	if f, ok := s.read(t).(*spdy.RstStreamFrame); !ok || f.StreamId != 2 || f.Status != spdy.RefusedStream {
		t.Errorf("got %+v, want a refusal", f)
	}
	s.write(t, &spdy.DataFrame{StreamId: dataID, Data: []byte("an")}, &spdy.DataFrame{StreamId: dataID, Data: []byte("swer"), Flags: spdy.DataFlagFin})
	if got, err := io.ReadAll(conn); err != nil || string(got) != "answer" {
		t.Errorf("got %q, %v", got, err)
	}
	go conn.Close()
	for range 2 {
		if f, ok := s.read(t).(*spdy.RstStreamFrame); !ok || f.Status != spdy.Cancel || (f.StreamId != errID && f.StreamId != dataID) {
			t.Errorf("got %+v, want a reset", f)
		}
	}
}

func TestNodeErrors(t *testing.T) {
	refused, lost := new(*RefusedError), new(*LostError)
	for name, test := range map[string]struct {
		data, text string
		as         any
		reason     string
	}{
		"kubelet":     {"", "error forwarding port 8000 to pod 0a1b, uid 9c: dial tcp4 127.0.0.1:8000: connect: connection refused", refused, "(dial tcp4 127.0.0.1:8000: connect: connection refused)"},
		"containerd":  {"", `error forwarding port 8000 to pod 0a1b, uid : failed to execute portforward in network namespace "/var/run/netns/cni-1": failed to connect to localhost:8000 inside namespace "0a1b", IPv4: dial tcp4 127.0.0.1:8000: connect: connection refused IPv6 dial tcp6 [::1]:8000: connect: connection refused `, refused, `(failed to execute portforward in network namespace "/var/run/netns/cni-1": failed to connect`},
		"mid-stream":  {"half an ans", "error forwarding port 8000 to pod 0a1b, uid 9c: read tcp 127.0.0.1:1->127.0.0.1:8000: read: connection reset by peer", lost, "was lost: read tcp"},
		"sandbox":     {"", `failed to find sandbox "0a1b" in store: not found`, lost, "failed to find sandbox"},
		"very long":   {"", strings.Repeat("x", 3*maxErrorBytes), lost, strings.Repeat("x", maxErrorBytes)},
		"refused mid": {"x", "whatever: connection refused", lost, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, noPings)
			conn, errID, dataID := s.accept(t)
			if test.data != "" {
				s.write(t, &spdy.DataFrame{StreamId: dataID, Data: []byte(test.data)})
			}
			s.write(t, &spdy.DataFrame{StreamId: errID, Data: []byte(test.text)}, &spdy.RstStreamFrame{StreamId: dataID, Status: spdy.Cancel}, &spdy.RstStreamFrame{StreamId: errID, Status: spdy.Cancel})
			got, err := io.ReadAll(conn)
			if string(got) != test.data || !errors.As(err, test.as) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %q, %v", got, err)
			}
			go io.Copy(io.Discard, s.peer)
			conn.Close()
		})
	}
}

func TestNodeRejectsTheStreams(t *testing.T) {
	s := newScripted(t, noPings)
	result := make(chan error, 1)
	go func() {
		_, err := s.open(context.Background(), 8000)
		result <- err
	}()
	s.read(t)
	data := s.read(t).(*spdy.SynStreamFrame)
	s.write(t, &spdy.RstStreamFrame{StreamId: data.StreamId, Status: spdy.RefusedStream})
	go io.Copy(io.Discard, s.peer)
	var lost *LostError
	if err := <-result; !errors.As(err, &lost) || !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v", err)
	}
	if !s.usable() {
		t.Error("the tunnel was given up for one connection")
	}
}

func TestSilentPeerIsDead(t *testing.T) {
	s := newScripted(t, time.Millisecond)
	go io.Copy(io.Discard, s.peer)
	<-s.done
	if _, err := s.open(context.Background(), 8000); err == nil || !strings.Contains(err.Error(), "no answer to pings") {
		t.Errorf("got %v", err)
	}
}

func TestAnsweringPeerIsAlive(t *testing.T) {
	s := newScripted(t, 100*time.Millisecond)
	for range silentPings + 2 {
		s.write(t, &spdy.PingFrame{Id: s.read(t).(*spdy.PingFrame).Id})
	}
	if !s.usable() {
		t.Error("the tunnel was given up")
	}
}

// What a node sent before nothing could be sent to it any more still arrives.
func TestAnswersArriveAfterWritingFails(t *testing.T) {
	checkLeaks(t)
	near := newHalfPipe()
	s, err := newSession(PodRef{Name: "p"}, plain(near), noPings, time.Minute, func() {})
	if err != nil {
		t.Fatal(err)
	}
	s.lastReads = time.Hour
	defer s.close(net.ErrClosed)
	node, err := spdy.NewFramer(near.node, near.toNode)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range bothTaken {
			_, _ = node.ReadFrame()
		}
		for _, frame := range bothTaken {
			_ = node.WriteFrame(frame)
		}
		_, _ = node.ReadFrame() // the end of the error stream
		near.toNode.CloseWithError(errors.New("nobody reads"))
	}()
	conn, err := s.open(t.Context(), 8000)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "writing fails", func() bool { _, err = conn.Write([]byte("question")); return err != nil })
	var lost *LostError
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("writing: %v", err)
	}
	if s.usable() {
		t.Error("new connections would go to the tunnel")
	}
	go func() {
		_ = node.WriteFrame(&spdy.DataFrame{StreamId: 3, Data: []byte("answer")})
		near.node.Close()
	}()
	got, err := io.ReadAll(conn)
	if string(got) != "answer" || !errors.As(err, &lost) || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("got %q, %v", got, err)
	}
}

// A tunnel to which nothing can be sent ends even if its node says nothing.
func TestTunnelEndsAfterWritingFails(t *testing.T) {
	checkLeaks(t)
	near := newHalfPipe()
	near.toNode.CloseWithError(errors.New("nobody reads"))
	s, err := newSession(PodRef{Name: "p"}, plain(near), noPings, time.Minute, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(t.Context(), 8000); err == nil || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("got %v", err)
	}
	<-s.done
	s.wg.Wait()
}

func TestGoAway(t *testing.T) {
	s := newScripted(t, noPings)
	conn, _, dataID := s.accept(t)
	s.write(t, &spdy.GoAwayFrame{Status: spdy.GoAwayOK})
	eventually(t, "the tunnel takes no new connections", func() bool { return !s.usable() })
	s.write(t, &spdy.DataFrame{StreamId: dataID, Data: []byte("x")})
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("an open connection suffers: %v", err)
	}
	go io.Copy(io.Discard, s.peer)
	conn.Close()
	<-s.done
}

// FuzzFrames feeds a session whatever a peer may send. It must neither panic
// nor hang, and the connection must end when the peer is gone.
func FuzzFrames(f *testing.F) {
	seed := func(frames ...spdy.Frame) {
		var b bytes.Buffer
		framer, err := spdy.NewFramer(&b, nil)
		if err != nil {
			f.Fatal(err)
		}
		for _, frame := range frames {
			if err := framer.WriteFrame(frame); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	replies := []spdy.Frame{&spdy.SynReplyFrame{StreamId: 1, Headers: http.Header{}}, &spdy.SynReplyFrame{StreamId: 3, Headers: http.Header{"A": {"b"}}}}
	seed(append(replies, &spdy.DataFrame{StreamId: 3, Data: []byte("data")}, &spdy.DataFrame{StreamId: 3, Flags: spdy.DataFlagFin})...)
	seed(append(replies, &spdy.DataFrame{StreamId: 1, Data: []byte("connection refused")}, &spdy.RstStreamFrame{StreamId: 3, Status: spdy.Cancel})...)
	seed(&spdy.PingFrame{Id: 2}, &spdy.GoAwayFrame{}, &spdy.SynStreamFrame{StreamId: 2, Headers: http.Header{}})
	seed(append(replies, replies...)...)
	f.Add([]byte{0, 0, 0, 3, 0, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		s, err := newSession(PodRef{Name: "p"}, plain(near), time.Hour, time.Minute, func() {})
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			conn, err := s.open(context.Background(), 1)
			if err != nil {
				return
			}
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}()
		go io.Copy(io.Discard, far)
		far.Write(sent)
		far.Close()
		<-opened
		s.close(net.ErrClosed)
		if len(s.streams) != 0 {
			t.Errorf("%d streams are left", len(s.streams))
		}
	})
}
