//go:build !linux

package portforward

import (
	"errors"
	"net"
)

// socket is not used on this system: all writing is left to drain.
type socket struct{}

func newSocket(net.Conn) *socket { return &socket{} }

func (*socket) usable() bool { return false }

func (*socket) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

func (*socket) tryWrite([]byte) (int, error) { return 0, nil }
