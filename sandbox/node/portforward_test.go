package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// tcpPair returns both ends of a connection.
func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// tunnelStream is a stream whose Close, like that of SPDY, ends only its own half.
type tunnelStream struct{ *net.TCPConn }

func (s tunnelStream) Close() error { return s.CloseWrite() }

type forwarding struct {
	client, server *net.TCPConn
	end            context.CancelFunc
	ended          chan error
}

func startForwarding(t *testing.T, linger time.Duration) *forwarding {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after both ends are closed
	client, stream := tcpPair(t)
	conn, server := tcpPair(t)
	tunnel, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	f := &forwarding{client: client, server: server, end: end, ended: make(chan error, 1)}
	go func() { f.ended <- forward(tunnel, conn, tunnelStream{stream}, linger) }()
	return f
}

func TestForwardKeepsAnAnswerAfterTheRequestsEnd(t *testing.T) {
	f := startForwarding(t, time.Nanosecond) // the least patience
	if _, err := f.client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	question, err := io.ReadAll(f.server) // returns only when the half-close has come through
	if err != nil || string(question) != "question" {
		t.Fatalf("the server read %q, %v", question, err)
	}
	answer := bytes.Repeat([]byte("answer"), 1<<16)
	go func() {
		f.server.Write(answer)
		f.server.Close()
	}()
	got, err := io.ReadAll(f.client)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("the client read %d bytes, %v; want %d", len(got), err, len(answer))
	}
	if err := <-f.ended; err != nil {
		t.Errorf("forwarding ended with %v", err)
	}
}

func TestForwardKeepsARequestAfterTheAnswersEnd(t *testing.T) {
	f := startForwarding(t, time.Hour)
	if err := f.server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(f.client); err != nil { // returns only when the half-close has come through
		t.Fatal(err)
	}
	if _, err := f.client.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	f.client.Close()
	got, err := io.ReadAll(f.server)
	if err != nil || string(got) != "still here" {
		t.Errorf("the server read %q, %v", got, err)
	}
	if err := <-f.ended; err != nil {
		t.Errorf("forwarding ended with %v", err)
	}
}

func TestForwardEndsForASilentClient(t *testing.T) {
	f := startForwarding(t, time.Millisecond)
	f.server.Close()
	if err := <-f.ended; err != nil {
		t.Errorf("forwarding ended with %v", err)
	}
}

func TestForwardEndsWithItsTunnel(t *testing.T) {
	f := startForwarding(t, time.Millisecond)
	f.end()
	if err := <-f.ended; err != nil {
		t.Errorf("forwarding ended with %v", err)
	}
	if _, err := f.server.Read(make([]byte, 1)); err == nil {
		t.Error("the server's connection is still open")
	}
}

func TestForwardReportsAReset(t *testing.T) {
	f := startForwarding(t, time.Hour)
	if err := f.server.SetLinger(0); err != nil { // close by reset
		t.Fatal(err)
	}
	f.server.Close()
	if err := <-f.ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("forwarding ended with %v, want a connection reset", err)
	}
}

func TestPortForwardRefusals(t *testing.T) {
	a := &Agent{cfg: Config{Network: NewNetwork()}}
	w := newPodWorker(a, testPod())
	f := &podForwarder{tunnel: context.Background(), worker: w}
	check := func(want string) {
		t.Helper()
		_, stream := tcpPair(t)
		err := f.PortForward(context.Background(), "", "", 8000, tunnelStream{stream})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "localhost:8000") {
			t.Errorf("error = %v, want one that names the port and contains %q", err, want)
		}
	}
	check("no address yet")
	w.at = testAddresses()
	check("connection refused")
	close(w.finished)
	check("the pod is gone")
}
