package h2

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A call that reads for all may itself wait for room to send. The socket's room
// has to wake it: no frame of the server will when its windows are large.
func TestCallThatReadsIsWokenForRoom(t *testing.T) {
	const size = 8 << 20
	opts := testOptions
	opts.attendInterval = time.Hour
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		address := script(t, true, func(p *peer) {
			if p.Framer == nil {
				return
			}
			_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
			_ = p.WriteWindowUpdate(0, maxWindow-initialWindow)
			p.silent = true
			p.echo()
		})
		c := newTestClient(t, address, func(nc net.Conn) net.Conn {
			_ = nc.(*net.TCPConn).SetWriteBuffer(32 << 10)
			return wrap(nc)
		}, opts)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := ask(ctx, newTestCall(t, c), "a", size); err != nil {
			t.Error(err)
		}
	})
}
