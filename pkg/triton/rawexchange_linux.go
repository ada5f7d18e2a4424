package triton

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/internal/rawtcp"
)

// maxRawBytes bounds what is written while the scheduler can't have the thread.
const maxRawBytes = 64 << 10

// rawExchange writes a request and reads the beginning of its answer with one
// system call each. A net.Conn needs three, as it tries to read before it waits;
// and it tells the scheduler of each call, which costs more than calls that
// never block are worth.
type rawExchange struct {
	conn syscall.RawConn
	// step is r.next, made once as making it allocates.
	step func(fd uintptr) (done bool)

	out      []byte // to be written before anything is read
	in       []byte // to be read into
	wrote    bool   // all of out is written
	written  int
	read     int
	writeErr error
	readErr  error
}

// newRawExchange returns nil for a connection that is not plain TCP.
func newRawExchange(conn net.Conn) *rawExchange {
	raw := rawtcp.Conn(conn)
	if raw == nil {
		return nil
	}
	r := &rawExchange{conn: raw}
	r.step = r.next
	return r
}

// exchange writes out, waits, and reads into in. When written is less than out
// without an error, the rest is the caller's to write; read is then 0. err is
// that of waiting or reading. It must be used only when nothing is to be read:
// what arrived before is not seen until more does.
func (r *rawExchange) exchange(out, in []byte) (written, read int, writeErr, err error) {
	r.out, r.in = out, in
	r.wrote, r.written, r.read, r.writeErr, r.readErr = false, 0, 0, nil, nil
	err = r.conn.Read(r.step)
	if err == nil {
		err = r.readErr
	}
	r.out, r.in = nil, nil
	return r.written, r.read, r.writeErr, err
}

// next is called by RawConn.Read at first and then each time that there may be
// something to read. The poller has forgotten earlier events by the first call,
// so that an answer to what is written in it wakes the next one.
func (r *rawExchange) next(fd uintptr) (done bool) {
	if !r.wrote {
		r.written, r.writeErr = rawtcp.Write(fd, r.out)
		r.wrote = r.written == len(r.out)
		return !r.wrote
	}
	n, arrived, err := rawtcp.Read(fd, r.in)
	r.read, r.readErr = n, err
	return arrived
}

// ended tells whether the other side has closed its direction and nothing of it
// is unread.
func (r *rawExchange) ended() (ended bool) {
	var one [1]byte
	err := r.conn.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = n == 0 && err == nil
	})
	return ended && err == nil
}
