//go:build !linux

package triton

import "net"

// rawExchange exists on Linux only; elsewhere net.Conn does it all.
type rawExchange struct{}

const maxRawBytes = 0

func newRawExchange(net.Conn) *rawExchange { return nil }

func (*rawExchange) exchange(_, _ []byte) (written, read int, writeErr, err error) {
	return 0, 0, nil, nil
}

func (*rawExchange) ended() bool { return false }
