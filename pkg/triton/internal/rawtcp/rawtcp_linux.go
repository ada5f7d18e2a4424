// Package rawtcp reads and writes plain TCP connections by system calls that
// never block, without telling the scheduler, which would cost more than they
// take. It exists on Linux only.
package rawtcp

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// Conn returns nil for a connection that is not plain TCP.
func Conn(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Write writes what fits at once.
func Write(fd uintptr, p []byte) (int, error) {
	for {
		n, errno := do(syscall.SYS_WRITE, fd, p)
		switch errno {
		case 0, syscall.EAGAIN:
			return n, nil
		case syscall.EINTR:
			continue
		}
		return 0, os.NewSyscallError("write", errno)
	}
}

// Read reads what has arrived, if anything; the end is io.EOF.
func Read(fd uintptr, p []byte) (n int, arrived bool, err error) {
	for {
		n, errno := do(syscall.SYS_READ, fd, p)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return 0, false, nil
		case errno != 0:
			return 0, true, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, true, io.EOF
		}
		return n, true, nil
	}
}

// do reads or writes; the descriptor doesn't block.
func do(call, fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
