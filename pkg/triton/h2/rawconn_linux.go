package h2

import (
	"net"
	"syscall"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/internal/rawtcp"
)

// rawConn writes and reads a plain TCP connection. One goroutine at a time may
// read, one may write.
type rawConn struct {
	conn syscall.RawConn
	// The steps are made once, as making them allocates.
	readStep, writeStep func(fd uintptr) (done bool)

	writing    []byte
	writtenNow int
	writeErr   error

	sending []byte // before it reads
	into    []byte
	mode    readMode
	read    int
	readErr error
	// sent is told of each write of exchange and returns what to write next.
	sent func(n int, err error) (next []byte)
}

// readMode is what a read does at first.
type readMode int

const (
	tryAndWait readMode = iota
	tryOnly             // what has arrived, if anything
	waitFirst           // nothing can have arrived before the request is sent
)

// newRawConn returns nil for a connection that is not plain TCP.
func newRawConn(conn net.Conn) *rawConn {
	raw := rawtcp.Conn(conn)
	if raw == nil {
		return nil
	}
	r := &rawConn{conn: raw}
	r.readStep, r.writeStep = r.nextRead, r.nextWrite
	return r
}

// write writes what fits at once.
func (r *rawConn) write(p []byte) (int, error) {
	r.writing, r.writtenNow, r.writeErr = p, 0, nil
	err := r.conn.Write(r.writeStep)
	r.writing = nil
	if err == nil {
		err = r.writeErr
	}
	return r.writtenNow, err
}

func (r *rawConn) nextWrite(fd uintptr) bool {
	r.writtenNow, r.writeErr = rawtcp.Write(fd, r.writing)
	return true
}

// exchange writes out, if there is any, and reads into in. After waitFirst, what
// arrived before the call is not seen until more does. unsent tells that it failed
// before it began to write.
func (r *rawConn) exchange(out, in []byte, mode readMode) (n int, unsent bool, err error) {
	r.sending, r.into, r.mode = out, in, mode
	r.read, r.readErr = 0, nil
	err = r.conn.Read(r.readStep)
	if err == nil {
		err = r.readErr
	}
	unsent = len(r.sending) > 0
	r.sending, r.into = nil, nil
	return r.read, unsent, err
}

// nextRead is called at first, when the poller has forgotten earlier events, and
// then each time that there may be something to read.
func (r *rawConn) nextRead(fd uintptr) (done bool) {
	for len(r.sending) > 0 {
		r.sending = r.sent(rawtcp.Write(fd, r.sending))
	}
	if r.mode == waitFirst {
		r.mode = tryAndWait
		return false
	}
	n, arrived, err := rawtcp.Read(fd, r.into)
	if !arrived {
		return r.mode == tryOnly
	}
	r.read, r.readErr = n, err
	return true
}
