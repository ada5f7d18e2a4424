package portforward

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// socket reads and writes a TCP connection by system calls that the scheduler
// isn't told of. They never block, and telling costs more: after the process
// was idle, each first call wakes the runtime's monitor thread.
type socket struct {
	conn        syscall.RawConn // nil where there is none
	read, write transfer
}

// transfer is one direction and the call in progress.
type transfer struct {
	number uintptr // of the system call
	wait   bool    // until the socket is ready
	p      []byte
	n      int
	err    error
	step   func(fd uintptr) bool // t.next, made once as making it allocates
}

func newSocket(conn net.Conn) *socket {
	s := &socket{read: transfer{number: syscall.SYS_READ, wait: true}, write: transfer{number: syscall.SYS_WRITE}}
	s.read.step, s.write.step = s.read.next, s.write.next
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			s.conn = raw
		}
	}
	return s
}

// usable says whether Read can be called, and Write does anything.
func (s *socket) usable() bool { return s.conn != nil }

// Read is that of a net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.read.do(s.conn.Read, p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// tryWrite writes what can be written without waiting, which may be nothing.
func (s *socket) tryWrite(p []byte) (int, error) {
	if s.conn == nil {
		return 0, nil
	}
	return s.write.do(s.conn.Write, p)
}

func (t *transfer) do(call func(func(uintptr) bool) error, p []byte) (int, error) {
	t.p, t.n, t.err = p, 0, nil
	err := call(t.step)
	if err == nil {
		err = t.err
	}
	t.p = nil
	return t.n, err
}

func (t *transfer) next(fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall(t.number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)))
		switch errno {
		case 0:
			t.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return !t.wait
		default:
			t.err = os.NewSyscallError("reading or writing", errno)
			return true
		}
	}
}
