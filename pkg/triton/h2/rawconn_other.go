//go:build !linux

package h2

import "net"

// rawConn exists on Linux only; elsewhere net.Conn does it all.
type rawConn struct {
	sent func(n int, err error) (next []byte)
}

type readMode int

const (
	tryAndWait readMode = iota
	tryOnly
	waitFirst
)

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) write([]byte) (int, error) { return 0, nil }

func (*rawConn) exchange(_, _ []byte, _ readMode) (n int, unsent bool, err error) {
	return 0, false, nil
}
