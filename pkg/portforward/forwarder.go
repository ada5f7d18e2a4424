package portforward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	defaultAddress     = "127.0.0.1"
	defaultDialTimeout = 30 * time.Second
	// nextFreeTries is how many ports after the wanted one are tried.
	nextFreeTries   = 100
	copyBufferBytes = 32 << 10
)

// ContextDialer opens connections; an *Endpoint is one.
type ContextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// ForwarderConfig says where a Forwarder listens.
type ForwarderConfig struct {
	Address  string // 127.0.0.1 when empty
	Port     int    // 0 means any free port
	NextFree bool   // when Port is taken, take the next free one after it
	// DialTimeout bounds the wait for the pod per connection, restarts of the
	// pod included; 30 s when zero.
	DialTimeout time.Duration
	// OnError hears why a forwarded connection failed, from many goroutines;
	// nil drops it.
	OnError func(error)
}

// Forwarder is a local listener in front of an endpoint. A failed connection
// is reset; the listener and the other connections go on.
type Forwarder struct {
	dialer  ContextDialer
	config  ForwarderConfig
	buffers sync.Pool

	mu       sync.Mutex
	listener net.Listener
	closed   bool
	ctx      context.Context // of the forwarded connections
	cancel   context.CancelFunc
	conns    map[*net.TCPConn]struct{}
	wg       sync.WaitGroup
}

// NewForwarder makes a Forwarder; Listen opens its port and Serve runs it.
func NewForwarder(dialer ContextDialer, config ForwarderConfig) *Forwarder {
	if config.Address == "" {
		config.Address = defaultAddress
	}
	if config.DialTimeout <= 0 {
		config.DialTimeout = defaultDialTimeout
	}
	if config.OnError == nil {
		config.OnError = func(error) {}
	}
	f := &Forwarder{dialer: dialer, config: config, conns: map[*net.TCPConn]struct{}{}}
	f.buffers.New = func() any { b := make([]byte, copyBufferBytes); return &b }
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Listen opens the local port. Clients can connect from then on and are served
// once Serve runs.
func (f *Forwarder) Listen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return net.ErrClosed
	}
	if f.listener != nil {
		return nil
	}
	tries := 1
	if f.config.NextFree && f.config.Port != 0 {
		tries += nextFreeTries
	}
	var first error
	for i := 0; i < tries && f.config.Port+i <= 65535; i++ {
		l, err := net.Listen("tcp", net.JoinHostPort(f.config.Address, strconv.Itoa(f.config.Port+i)))
		if err == nil {
			f.listener = l
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if errors.Is(first, syscall.EADDRINUSE) {
		return fmt.Errorf("local port %d on %s is taken; choose another port, or 0 for any free one: %w", f.config.Port, f.config.Address, first)
	}
	return fmt.Errorf("cannot listen on %s port %d: %w", f.config.Address, f.config.Port, first)
}

// LocalAddr is where the Forwarder listens; nil before Listen.
func (f *Forwarder) LocalAddr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		return nil
	}
	return f.listener.Addr()
}

// Active is the number of connections that are being forwarded.
func (f *Forwarder) Active() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// Serve accepts and forwards connections until ctx is over or Close is called;
// both end it without an error. It listens first if Listen was not called, and
// returns after all its connections have ended.
func (f *Forwarder) Serve(ctx context.Context) error {
	if err := f.Listen(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, f.shut)
	defer stop()
	defer func() { _ = f.Close() }()
	for delay := time.Duration(0); ; {
		accepted, err := f.listener.Accept()
		if err != nil {
			if f.isClosed() {
				return nil
			}
			// Out of file descriptors, for one, passes; a broken listener stays.
			var temporary interface{ Temporary() bool }
			if !errors.As(err, &temporary) || !temporary.Temporary() {
				return fmt.Errorf("accepting local connections: %w", err)
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			sleep(f.ctx, delay)
			continue
		}
		delay = 0
		local := accepted.(*net.TCPConn)
		if !f.add(local) {
			_ = local.Close()
			return nil
		}
		go f.forward(local)
	}
}

// Close ends the listener and all connections and waits for them.
func (f *Forwarder) Close() error {
	f.shut()
	f.wg.Wait()
	return nil
}

func (f *Forwarder) shut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cancel()
	if f.listener != nil {
		f.listener.Close()
	}
	for c := range f.conns {
		_ = c.Close()
	}
}

func (f *Forwarder) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *Forwarder) add(c *net.TCPConn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.conns[c] = struct{}{}
	f.wg.Add(1)
	return true
}

func (f *Forwarder) remove(c *net.TCPConn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	f.wg.Done()
}

// forward serves one local connection.
func (f *Forwarder) forward(local *net.TCPConn) {
	defer f.remove(local)
	defer func() { _ = local.Close() }()
	err := f.exchange(local)
	if err == nil || f.isClosed() {
		return
	}
	// The client must not take a failure for a regular end.
	_ = local.SetLinger(0)
	f.config.OnError(err)
}

func (f *Forwarder) exchange(local *net.TCPConn) error {
	ctx, cancel := context.WithTimeout(f.ctx, f.config.DialTimeout)
	remote, err := f.dialer.DialContext(ctx, "tcp", "")
	cancel()
	if err != nil {
		return err
	}
	defer remote.Close()
	stop := context.AfterFunc(f.ctx, func() { remote.Close() })
	defer stop()

	up := make(chan error, 1)
	go func() { up <- f.upload(remote, local) }()
	// What is still to be sent is of no use once the pod's side has ended, so
	// the end of this direction ends the other.
	_, downErr := io.Copy(local, remote)
	if downErr == nil {
		downErr = local.CloseWrite()
	}
	remote.Close()
	_ = local.SetReadDeadline(time.Unix(1, 0))
	upErr := <-up
	switch {
	case downErr == nil || isReset(downErr):
		return nil
	case errors.Is(downErr, net.ErrClosed) && isReset(upErr):
		return nil // the client went away, and upload closed the pod's side
	case errors.Is(downErr, net.ErrClosed) && upErr != nil:
		return upErr
	}
	return downErr
}

// upload copies what the client sends, and its end of file.
func (f *Forwarder) upload(remote net.Conn, local *net.TCPConn) error {
	buffer := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buffer)
	_, err := io.CopyBuffer(onlyWriter{remote}, onlyReader{local}, *buffer)
	if err != nil {
		// The client is gone, or the pod takes nothing more.
		remote.Close()
		return err
	}
	if half, ok := remote.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// onlyReader and onlyWriter keep io.CopyBuffer to the buffer it was given.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// isReset says that the local client has gone away, which is no one's fault. A
// reset of the tunnel's own connection is within a *LostError.
func isReset(err error) bool {
	var lost *LostError
	return !errors.As(err, &lost) && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}
