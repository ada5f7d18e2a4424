package h2

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// rawConn writes and reads a plain TCP connection by system calls that never
// block, without telling the scheduler, which would cost more than they take.
// One goroutine at a time may read, one may write.
type rawConn struct {
	conn syscall.RawConn
	// The steps are made once, as making them allocates.
	readStep, writeStep func(fd uintptr) (done bool)

	writing    []byte
	writtenNow int
	writeErrno syscall.Errno

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
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{conn: raw}
	r.readStep, r.writeStep = r.nextRead, r.nextWrite
	return r
}

// write writes what fits at once.
func (r *rawConn) write(p []byte) (int, error) {
	r.writing, r.writtenNow, r.writeErrno = p, 0, 0
	err := r.conn.Write(r.writeStep)
	r.writing = nil
	if err == nil && r.writeErrno != 0 {
		err = os.NewSyscallError("write", r.writeErrno)
	}
	return r.writtenNow, err
}

func (r *rawConn) nextWrite(fd uintptr) bool {
	r.writtenNow, r.writeErrno = writeSome(fd, r.writing)
	return true
}

func writeSome(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, errno := rawIO(syscall.SYS_WRITE, fd, p)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			errno = 0
		}
		return n, errno
	}
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
		n, errno := writeSome(fd, r.sending)
		var err error
		if errno != 0 {
			err = os.NewSyscallError("write", errno)
		}
		r.sending = r.sent(n, err)
	}
	if r.mode == waitFirst {
		r.mode = tryAndWait
		return false
	}
	for {
		n, errno := rawIO(syscall.SYS_READ, fd, r.into)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return r.mode == tryOnly
		case errno != 0:
			r.readErr = os.NewSyscallError("read", errno)
		case n == 0:
			r.readErr = io.EOF
		}
		r.read = n
		return true
	}
}

// rawIO reads or writes; the descriptor doesn't block.
func rawIO(call, fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
