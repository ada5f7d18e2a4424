package portforward

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxReceiveBytes is how much of a connection is held for an owner that does
// not read, before the whole tunnel waits for it.
const maxReceiveBytes = 1 << 20

// maxIdleBufferBytes is the receive buffer that a drained connection keeps.
const maxIdleBufferBytes = 64 << 10

// conn is one connection through a tunnel: a data stream and an error stream.
type conn struct {
	s      *session
	pod    PodRef
	dataID uint32
	errID  uint32

	replied             chan struct{} // closed once the node has taken both streams
	errTaken, dataTaken bool          // the session's reader's

	mu        sync.Mutex
	buf       []byte // received and not yet read: buf[off:]
	off       int
	received  bool  // anything ever arrived on the data stream
	readErr   error // what Read returns once buf is empty
	writeErr  error // why writeDone is closed
	closed    bool
	sentFin   bool
	dataOver  bool // the node has ended its side of the data stream
	dataReset bool
	errOver   bool

	readable      chan struct{} // one token: look at the state again
	room          chan struct{} // one token: the buffer has been read
	writeDone     chan struct{} // closed when writing is over
	readDeadline  *deadline
	writeDeadline *deadline
}

func newConn(s *session, pod PodRef) *conn {
	return &conn{
		s: s, pod: pod,
		replied:       make(chan struct{}),
		readable:      make(chan struct{}, 1),
		room:          make(chan struct{}, 1),
		writeDone:     make(chan struct{}),
		readDeadline:  newDeadline(),
		writeDeadline: newDeadline(),
	}
}

// Read returns what has arrived. After the node reported an error it returns
// that error (*RefusedError or *LostError) once everything before it is read.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if isDone(c.readDeadline.done()) && !c.isClosed() {
			return 0, os.ErrDeadlineExceeded
		}
		n, ready, err := c.take(p)
		if ready {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.readDeadline.done():
		}
	}
}

// take is one attempt to read without waiting.
func (c *conn) take(p []byte) (n int, ready bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		ready, err = true, net.ErrClosed
	case len(p) == 0:
		return 0, true, nil
	case c.off < len(c.buf):
		n, ready = copy(p, c.buf[c.off:]), true
		c.off += n
		if c.off == len(c.buf) {
			c.off, c.buf = 0, reusable(c.buf)
		}
		notify(c.room)
		if c.off == len(c.buf) && c.readErr == nil {
			return n, true, nil
		}
	case c.readErr != nil:
		ready, err = true, c.readErr
	default:
		return 0, false, nil
	}
	// More is to be seen here: pass the token on to another waiting Read.
	notify(c.readable)
	return n, ready, err
}

// WriteTo copies until the end of the connection, without a buffer between.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	var total int64
	var spare []byte
	for {
		if isDone(c.readDeadline.done()) && !c.isClosed() {
			return total, os.ErrDeadlineExceeded
		}
		chunk, err := c.swap(spare)
		if len(chunk) > 0 {
			n, werr := w.Write(chunk)
			total += int64(n)
			if werr != nil {
				return total, werr
			}
			spare = chunk
			continue
		}
		spare = chunk
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		select {
		case <-c.readable:
		case <-c.readDeadline.done():
		}
	}
}

// swap takes everything received in exchange for an empty buffer.
func (c *conn) swap(spare []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		notify(c.readable)
		return nil, net.ErrClosed
	}
	if c.off == len(c.buf) {
		if c.readErr != nil {
			notify(c.readable)
		}
		return reusable(spare), c.readErr
	}
	chunk := c.buf[c.off:]
	c.buf, c.off = reusable(spare), 0
	notify(c.room)
	return chunk, nil
}

// Write hands p to the tunnel. It waits only while the tunnel's send buffer is
// full.
func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for {
		chunk := p[written:min(len(p), written+maxDataFrameBytes)]
		if err := c.s.send(c, chunk); err != nil {
			return written, err
		}
		written += len(chunk)
		if written == len(p) {
			return written, nil
		}
	}
}

// CloseWrite ends the sending direction: the pod reads an end of file.
func (c *conn) CloseWrite() error {
	if !c.endWrites(errWriteClosed) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if errors.Is(c.writeErr, errWriteClosed) {
			return nil
		}
		return c.writeErr
	}
	c.mu.Lock()
	c.sentFin = true
	c.mu.Unlock()
	c.s.finish(c.dataID)
	return nil
}

// Close ends both directions and gives the streams back. It never waits for
// the network; what was written before is still sent.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.buf, c.off = nil, 0
	resetData := !c.dataReset && (!c.dataOver || !c.sentFin)
	resetErr := !c.errOver
	c.mu.Unlock()
	c.endWrites(net.ErrClosed)
	notify(c.readable)
	notify(c.room)
	c.readDeadline.stop()
	c.writeDeadline.stop()
	c.s.release(c, resetData, resetErr)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.s.wire.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return Addr{Pod: c.pod} }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.isClosed() {
		return net.ErrClosed
	}
	c.readDeadline.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.isClosed() {
		return net.ErrClosed
	}
	c.writeDeadline.set(t)
	return nil
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// endWrites makes every Write from now on return err; false if one was set.
func (c *conn) endWrites(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeErr != nil {
		if errors.Is(err, net.ErrClosed) {
			c.writeErr = err
		}
		return false
	}
	c.writeErr = err
	close(c.writeDone)
	return true
}

func (c *conn) writeError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeErr
}

// The methods below are called by the session's reader.

// taken notes that the node has taken a stream.
func (c *conn) taken(id uint32) {
	both := c.errTaken && c.dataTaken
	if id == c.errID {
		c.errTaken = true
	} else {
		c.dataTaken = true
	}
	if !both && c.errTaken && c.dataTaken {
		close(c.replied)
	}
}

// receive keeps b for Read and says whether the buffer is now full.
func (c *conn) receive(b []byte) (full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received = true
	if c.closed || c.readErr != nil {
		return false
	}
	if c.off > 0 && len(c.buf)+len(b) > cap(c.buf) {
		c.buf = c.buf[:copy(c.buf, c.buf[c.off:])]
		c.off = 0
	}
	c.buf = append(c.buf, b...)
	notify(c.readable)
	return len(c.buf)-c.off >= maxReceiveBytes
}

func (c *conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && len(c.buf)-c.off >= maxReceiveBytes
}

// end makes Read return err after what has arrived; the first end counts.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readErr == nil {
		c.readErr = err
	}
	notify(c.readable)
}

// fail ends both directions: writing first, so that whoever has read of the
// failure can't write any more.
func (c *conn) fail(err error) {
	c.endWrites(err)
	c.end(err)
}

// dataEnded notes that the node sends nothing more on the data stream.
func (c *conn) dataEnded(reset bool) {
	c.mu.Lock()
	c.dataOver = true
	c.dataReset = c.dataReset || reset
	over := c.errOver
	c.mu.Unlock()
	switch {
	case reset:
		c.fail(&LostError{Pod: c.pod, Reason: "the node reset it"})
	default:
		c.end(io.EOF)
		if over {
			c.endWrites(&LostError{Pod: c.pod, Reason: "the pod closed it"})
		}
	}
}

// errorEnded notes the end of the error stream. The node closes both streams
// when its copying is over, so nothing reads what would still be written.
func (c *conn) errorEnded() {
	c.mu.Lock()
	c.errOver = true
	over := c.dataOver
	c.mu.Unlock()
	if over {
		c.endWrites(&LostError{Pod: c.pod, Reason: "the pod closed it"})
	}
}

// nodePrefix is what the kubelet's streaming server puts before the reason.
var nodePrefix = regexp.MustCompile(`^error forwarding port \d+ to pod [^,]*, uid [^:]*: `)

// nodeError makes an error of the text on the error stream.
func (c *conn) nodeError(text string) error {
	reason := nodePrefix.ReplaceAllString(strings.TrimSpace(text), "")
	c.mu.Lock()
	received := c.received
	c.mu.Unlock()
	lower := strings.ToLower(reason)
	if !received && (strings.Contains(lower, "refused") || strings.Contains(lower, "dial") || strings.Contains(lower, "failed to connect")) {
		return &RefusedError{Pod: c.pod, Reason: reason}
	}
	return &LostError{Pod: c.pod, Reason: reason}
}

// Addr is the remote address of a connection: a port of a pod.
type Addr struct{ Pod PodRef }

// Network is "portforward".
func (Addr) Network() string { return "portforward" }

// String is namespace/pod:port.
func (a Addr) String() string { return a.Pod.address() }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reusable empties a buffer and lets go of a large one.
func reusable(b []byte) []byte {
	if cap(b) > maxIdleBufferBytes {
		return nil
	}
	return b[:0]
}
