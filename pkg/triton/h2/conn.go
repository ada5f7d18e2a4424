package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// conn is one HTTP/2 connection.
type conn struct {
	client *Client
	net    net.Conn
	raw    *rawConn // nil where there is none

	// background are the goroutines of the connection's own.
	background sync.WaitGroup
	over       chan struct{} // closed at the end

	mu  sync.Mutex
	err error // why the connection ended, nil while it is open
	// draining tells that it takes no more calls.
	draining bool

	streams    map[uint32]*Call
	nextStream uint32
	// queue are calls that wait until the server allows one stream more.
	queue []*Call

	// What the server allows.
	settled       bool // its first settings have come
	maxStreams    int
	maxFrameBytes int
	streamWindow  int64 // of a new stream
	window        int64 // of the connection, in bytes left
	requestHeader *requestHeader
	received      receiveWindow

	// Sending, see send.go.
	out, spare []byte
	untold     uint32 // the last stream whose beginning is in out, 0 if none is
	beingSent  []byte
	writing    bool // somebody has the right to write
	writeErr   error
	roomWanted int // calls that need room

	// Receiving, see receive.go.
	in           []byte // the buffer, which holds whole frames from first to last
	first, last  int
	responses    *headerDecoder
	block        []byte // of a header block that is continued
	blockStream  uint32 // 0 if none is
	blockFlags   http2.Flags
	goAwayStream uint32

	// Waiting, see wait.go.
	leader   *Call // that reads
	reading  bool  // it may be blocked in that
	parked   []*Call
	woken    []*Call
	lastRead time.Time
	reads    uint64
	served   bool  // a call ended by the last read
	expected int   // calls that ended and may soon be followed by the next
	yielding bool  // somebody waits for these before sending
	idler    *Call // reads when no call does
}

// inBytes of a connection's read buffer.
const inBytes = 64 << 10

// connect dials and exchanges the first settings. With an error the conn is nil
// or still to be closed.
func connect(ctx context.Context, client *Client) (*conn, error) {
	nc, err := client.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(client, nc)
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.greet(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return c, err
}

func newConn(client *Client, nc net.Conn) *conn {
	c := &conn{
		client: client, net: nc, raw: newRawConn(nc), over: make(chan struct{}),
		streams: map[uint32]*Call{}, nextStream: 1,
		maxStreams: math.MaxInt32, maxFrameBytes: maxFrameBytes, streamWindow: initialWindow, window: initialWindow,
		in: make([]byte, inBytes), responses: newHeaderDecoder(), goAwayStream: maxStreamID,
	}
	c.idler = &Call{client: client, awake: make(chan struct{}, 1), parkedAt: notParked}
	if c.raw != nil {
		c.raw.sent = c.sent
	}
	c.received.size = int64(client.options.receiveWindow)
	return c
}

// greet sends the preface and reads up to the server's.
func (c *conn) greet(ctx context.Context) error {
	scheme := "http"
	if secure, ok := c.net.(*tls.Conn); ok {
		scheme = "https"
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		if p := secure.ConnectionState().NegotiatedProtocol; p != http2.NextProtoTLS {
			return fmt.Errorf("the server does not offer HTTP/2 over TLS (it chose the protocol %q)", p)
		}
	}
	c.requestHeader = newRequestHeader(scheme, c.client.options)
	hello := append(make([]byte, 0, 128), preface...)
	hello = appendFrameHeader(hello, 12, http2.FrameSettings, 0, 0)
	hello = appendSetting(hello, http2.SettingEnablePush, 0)
	hello = appendSetting(hello, http2.SettingInitialWindowSize, uint32(c.received.size))
	if more := c.received.size - initialWindow; more > 0 {
		hello = appendWindowUpdate(hello, 0, uint32(more))
	}
	if _, err := c.net.Write(hello); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.unlock()
	for !c.settled {
		c.mu.Unlock()
		n, err := c.net.Read(c.in[c.last:])
		c.mu.Lock()
		c.last += n
		if frameErr := c.process(); frameErr != nil {
			return frameErr
		}
		if err != nil && !c.settled {
			return fmt.Errorf("the server ended the connection before its first settings: %w", err)
		}
	}
	return nil
}

// start begins what the connection does by itself.
func (c *conn) start() {
	c.mu.Lock()
	defer c.unlock()
	if c.err != nil {
		return
	}
	c.lastRead = time.Now()
	if c.raw == nil {
		c.leader = c.idler
	}
	c.background.Go(c.attend)
	c.flush()
}

// close ends the connection and its calls. Only the first reason counts.
func (c *conn) close(reason error) {
	c.mu.Lock()
	defer c.unlock()
	c.fail(reason)
}

// fail is close with the lock held.
func (c *conn) fail(reason error) {
	if c.err != nil {
		return
	}
	c.err, c.draining = reason, true
	var broken *protocolError
	if errors.As(reason, &broken) && !c.writing {
		c.sayGoAway(broken)
	}
	_ = c.net.Close()
	close(c.over)
	for _, k := range c.streams {
		k.finish(&LostError{reason})
	}
	clear(c.streams)
	c.refuseQueue()
	for len(c.parked) > 0 {
		c.wake(c.parked[len(c.parked)-1])
	}
	c.client.ended(c)
}

// sayGoAway tells the server why, if it listens at once.
func (c *conn) sayGoAway(why *protocolError) {
	frame := appendFrameHeader(nil, 8, http2.FrameGoAway, 0, 0)
	frame = append(frame, 0, 0, 0, 0, 0, 0, 0, byte(why.code))
	_ = c.net.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = c.net.Write(frame)
}

var errDrained = errors.New("the server wants no more calls on the connection")

// readError is what the end of reading means.
func (c *conn) readError(err error) error {
	if c.writeErr != nil {
		return c.writeErr
	}
	return err
}

// interrupt ends a blocked read, which then goes on unless its call has ended.
// The lock is held.
func (c *conn) interrupt() { _ = c.net.SetReadDeadline(time.Unix(1, 0)) }

// interrupted tells that a read was, and undoes it. The lock is held.
func (c *conn) interrupted(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.writeErr != nil {
		return false
	}
	return c.net.SetReadDeadline(time.Time{}) == nil
}
