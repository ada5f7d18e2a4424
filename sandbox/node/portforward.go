package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// lingerAfterAnswer is how long a forwarded connection waits for more from a
// client that sends nothing, once the server has closed its side. Clients that
// await the node's verdict before they close their own side need it to end.
const lingerAfterAnswer = 3 * time.Second

// podForwarder connects the streams of one tunnel to the ports of one pod.
type podForwarder struct {
	tunnel context.Context
	worker *podWorker
}

// PortForward copies between a stream and a port until both directions have
// ended. One that ends early closes only its own half: an answer that comes
// after the request's end arrives whole, however slow it is.
func (f *podForwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	refused := func(err error) error {
		return fmt.Errorf("failed to connect to localhost:%d inside namespace of pod %q: %w", port, f.worker.key, err)
	}
	select {
	case <-f.worker.finished:
		return refused(errors.New("the pod is gone"))
	default:
	}
	at := f.worker.address()
	if !at.IsValid() {
		return refused(errors.New("the pod has no address yet"))
	}
	conn, err := f.worker.agent.cfg.Network.dial(f.tunnel, at, port)
	if err != nil {
		return refused(fmt.Errorf("dial tcp4 127.0.0.1:%d: connect: connection refused", port))
	}
	return forward(f.tunnel, conn, stream, lingerAfterAnswer)
}

func forward(tunnel context.Context, conn net.Conn, stream io.ReadWriteCloser, linger time.Duration) error {
	stop := context.AfterFunc(tunnel, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	request := &countingReader{r: stream}
	answered, asked := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, conn)
		answered <- errors.Join(err, stream.Close())
	}()
	go func() {
		_, err := io.Copy(conn, request)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite())
		}
		asked <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return faultOnly(err)
		}
		return request.await(asked, linger)
	case err := <-asked:
		if faultOnly(err) != nil {
			return err
		}
		return faultOnly(<-answered)
	}
}

type countingReader struct {
	r     io.Reader
	bytes atomic.Uint64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.bytes.Add(uint64(n))
	return n, err
}

// await returns when ended delivers, or when nothing was read for linger.
func (c *countingReader) await(ended <-chan error, linger time.Duration) error {
	ticker := time.NewTicker(linger)
	defer ticker.Stop()
	for seen := c.bytes.Load(); ; {
		select {
		case err := <-ended:
			return faultOnly(err)
		case <-ticker.C:
			now := c.bytes.Load()
			if now == seen {
				return nil
			}
			seen = now
		}
	}
}

// faultOnly drops the errors of writing to a side that has ended by itself,
// which is no fault of the forwarding.
func faultOnly(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN) {
		return nil
	}
	return err
}
