package h2

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// PrefixBytes precede a message: whether it is compressed, and its length.
const PrefixBytes = 5

// PutPrefix makes message, whose first PrefixBytes are free, one that Do takes.
func PutPrefix(message []byte) {
	message[0] = 0
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-PrefixBytes))
}

// Call makes one call after the other, for one goroutine.
type Call struct {
	client *Client

	// The watch on the context of the calls, which stays as long as they have
	// the same.
	watched <-chan struct{}
	unwatch func() bool
	acted   chan struct{} // closed when the context's end was acted upon
	ended   atomic.Bool   // the watched context has ended
	current atomic.Pointer[conn]

	began time.Time

	// Guarded by the connection's lock.
	stream   uint32
	timeout  time.Duration
	unsent   []byte // of the message
	window   int64  // what the server takes of the stream, in bytes
	header   *responseHeader
	received []byte
	arriving receiveWindow
	done     bool
	err      error

	need     need
	parkedAt int // in the connection's list
	awake    chan struct{}
}

// NewCall returns a Call.
func (c *Client) NewCall() *Call {
	return &Call{client: c, awake: make(chan struct{}, 1), parkedAt: notParked}
}

// The ways for a call to end that mean another attempt.
var (
	errNotSent     = errors.New("the connection takes no more calls")
	errUnprocessed = errors.New("the server ended the connection before it read the call")
	errRefused     = errors.New("the server refused the stream")
)

// maxAttempts at a call that provably no server has begun with.
const maxAttempts = 5

// Do sends a message (its prefix included, see PutPrefix) and returns the
// answer's without prefix; it stands until the next Do. A call that the server
// answered with another status than OK, or not as gRPC wants it, gives an error
// for status.FromError; else it is a *ConnectError, a *LostError, or the cause
// of the context's end. Only calls that no server has begun with are sent again.
func (k *Call) Do(ctx context.Context, message []byte) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	k.watch(ctx)
	k.header = nil
	var stale *conn
	refused := false
	for attempt := 1; ; attempt++ {
		c, err := k.client.connection(ctx, stale)
		if err != nil {
			return nil, err
		}
		err = k.exchange(ctx, c, message)
		switch {
		case err == nil:
			return k.message()
		case errors.Is(err, errRefused) && !refused:
			refused, stale = true, nil
			continue
		case errors.Is(err, errRefused):
			return nil, status.Error(codes.Unavailable, "the server refused the stream twice")
		case !errors.Is(err, errNotSent) && !errors.Is(err, errUnprocessed):
			return nil, err
		case attempt == maxAttempts:
			return nil, &LostError{err}
		}
		stale = c
	}
}

// Answered tells whether the server has sent headers in the last call.
func (k *Call) Answered() bool { return k.header != nil }

// Close ends the watch on the last context.
func (k *Call) Close() { k.release() }

func (k *Call) watch(ctx context.Context) {
	done := ctx.Done()
	if done == k.watched {
		return
	}
	k.release()
	if done == nil {
		return
	}
	acted := make(chan struct{})
	k.watched, k.acted = done, acted
	k.unwatch = context.AfterFunc(ctx, func() {
		defer close(acted)
		k.end()
	})
}

func (k *Call) release() {
	if k.watched == nil {
		return
	}
	if !k.unwatch() {
		<-k.acted
	}
	k.watched, k.unwatch, k.acted = nil, nil, nil
	k.ended.Store(false)
}

// end ends the call that is on its way, if any.
func (k *Call) end() {
	k.ended.Store(true)
	c := k.current.Load()
	if c == nil {
		return // it looks before it waits
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case c.leader != k:
		c.wake(k)
	case c.reading:
		c.interrupt()
	}
}

// exchange makes the call on one connection.
func (k *Call) exchange(ctx context.Context, c *conn, message []byte) error {
	k.began = time.Now()
	k.timeout = 0
	if deadline, ok := ctx.Deadline(); ok {
		k.timeout = max(1, deadline.Sub(k.began))
	}
	c.mu.Lock()
	defer c.unlock()
	k.current.Store(c)
	c.expected = max(0, c.expected-1)
	c.look(k.began)
	if c.draining {
		return errNotSent
	}
	k.stream, k.header, k.done, k.err = 0, nil, false, nil
	k.unsent, k.received, k.arriving = message, k.received[:0], receiveWindow{size: c.received.size}
	if len(c.queue) > 0 || len(c.streams) >= c.maxStreams {
		c.queue = append(c.queue, k)
		c.wait(k, needTurn)
	} else {
		c.openStream(k)
	}
	if k.stream != 0 {
		c.sendMessage(k)
		c.submit()
		c.wait(k, needAnswer)
	}
	if !k.done {
		c.abandon(k)
		return context.Cause(ctx)
	}
	k.unsent = nil
	return k.err
}

// finish ends the call.
func (k *Call) finish(err error) { k.done, k.err = true, err }

// abandon takes back a call whose context has ended.
func (c *conn) abandon(k *Call) {
	k.unsent = nil
	if k.stream == 0 {
		c.queue = slices.DeleteFunc(c.queue, func(other *Call) bool { return other == k })
		return
	}
	c.cancelStream(k)
	c.submit()
	if c.leader == nil {
		c.flush()
	}
}

// message is the answer's, of a call that ended well.
func (k *Call) message() ([]byte, error) {
	switch {
	case len(k.received) == 0:
		return nil, status.Error(codes.Internal, "the server ended the call with status OK but without a message")
	case k.received[0] != 0:
		return nil, status.Errorf(codes.Unimplemented, "the answer is compressed (%s), which was not asked for", k.header.encoding)
	case len(k.received) < PrefixBytes:
		return nil, status.Errorf(codes.Internal, "the answer breaks off in the prefix of its message, after %d bytes", len(k.received))
	}
	length := int(binary.BigEndian.Uint32(k.received[1:]))
	switch rest := len(k.received) - PrefixBytes; {
	case rest < length:
		return nil, status.Errorf(codes.Internal, "the answer breaks off after %d of %d bytes", rest, length)
	case rest > length:
		return nil, status.Errorf(codes.Internal, "the answer has %d bytes more than its one message of %d", rest-length, length)
	}
	return k.received[PrefixBytes:], nil
}
