package portforward

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/moby/spdystream/spdy"
)

// startedWire is a wire on one end of a connection; the token comes when it is
// blocked.
func startedWire(t *testing.T, conn net.Conn) (*wire, <-chan struct{}) {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	blocked := make(chan struct{}, 1)
	w := newWire(conn)
	w.start(func() {}, func() { notify(blocked) })
	return w, blocked
}

// Write never waits for a peer that does not read; what it took leaves in
// order, whoever was blocked in between.
func TestWireKeepsWhatTheNetworkDoesNotTake(t *testing.T) {
	for name, pair := range map[string]func(t testing.TB) (near, far net.Conn){
		"socket": socketPair,
		"pipe":   func(testing.TB) (near, far net.Conn) { return net.Pipe() },
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			near, far := pair(t)
			w, blocked := startedWire(t, near)
			var sent []byte
			write := func(n int) {
				t.Helper()
				chunk := bytes.Repeat([]byte{byte(len(sent) >> 12)}, n)
				if got, err := w.Write(chunk); got != n || err != nil {
					t.Fatalf("wrote %d of %d, %v", got, n, err)
				}
				sent = append(sent, chunk...)
			}
			for !w.isBlocked() {
				write(4 << 10)
			}
			<-blocked
			for range 100 {
				write(777)
			}
			select {
			case <-blocked:
				t.Error("it was told twice that the wire is blocked")
			default:
			}
			received := make(chan []byte)
			go func() {
				got, _ := io.ReadAll(far)
				received <- got
			}()
			if err := w.drain(); err != nil || w.isBlocked() {
				t.Fatalf("drained: %v, blocked %t", err, w.isBlocked())
			}
			write(5)
			if err := w.drain(); err != nil {
				t.Fatal(err)
			}
			near.Close()
			if got := <-received; !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes, not the %d that were sent", len(got), len(sent))
			}
		})
	}
}

func TestWireReads(t *testing.T) {
	checkLeaks(t)
	near, far := socketPair(t)
	w, _ := startedWire(t, near)
	go func() {
		io.WriteString(far, "some")
		far.Close()
	}()
	if n, err := w.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing: %d, %v", n, err)
	}
	if got, err := io.ReadAll(w); string(got) != "some" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	near.Close()
	if _, err := w.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
}

func TestWireToAClosedPeer(t *testing.T) {
	checkLeaks(t)
	near, far := socketPair(t)
	w, _ := startedWire(t, near)
	far.(*net.TCPConn).SetLinger(0)
	far.Close()
	eventually(t, "writing fails", func() bool {
		_, err := w.Write([]byte("x"))
		if w.isBlocked() {
			err = w.drain()
		}
		return err != nil
	})
	if _, err := w.Read(make([]byte, 1)); err == nil {
		t.Error("reading does not fail")
	}
}

// Frames that are queued while the reader gathers leave together.
func TestGatheredFramesLeaveInOneWrite(t *testing.T) {
	s := newScripted(t, noPings)
	one, _, oneID := s.accept(t)
	two, _, twoID := s.accept(t)
	s.setGathering(true)
	for _, c := range []net.Conn{one, two} {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	if want := 2 * (8 + 1); len(s.out) != want || s.sending {
		t.Errorf("%d bytes are queued, want %d", len(s.out), want)
	}
	s.mu.Unlock()
	s.setGathering(false)
	s.flush()
	for _, id := range []spdy.StreamId{oneID, twoID} {
		if f, ok := s.read(t).(*spdy.DataFrame); !ok || f.StreamId != id {
			t.Errorf("got %+v, want data of stream %d", f, id)
		}
	}
}

// A peer that reads nothing blocks a tunnel's writers, never its reader.
func TestReaderGoesOnWhileThePeerReadsNothing(t *testing.T) {
	s := newScripted(t, noPings)
	conn, _, dataID := s.accept(t)
	for !s.wire.isBlocked() {
		if _, err := conn.Write(make([]byte, maxDataFrameBytes)); err != nil {
			t.Fatal(err)
		}
	}
	// The answer to a ping, too, is only queued.
	s.write(t, &spdy.PingFrame{Id: 2}, &spdy.DataFrame{StreamId: dataID, Data: []byte("heard")})
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "heard" {
		t.Errorf("got %q, %v", got, err)
	}
	for {
		if f, ok := s.read(t).(*spdy.PingFrame); ok && f.Id == 2 {
			break
		}
	}
}
