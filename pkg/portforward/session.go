package portforward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/spdystream/spdy"
)

const (
	maxDataFrameBytes   = 32 << 10
	maxSendBytes        = 256 << 10 // unsent bytes of a tunnel before Write waits
	maxBatches          = 8         // that one caller sends in a row
	maxErrorBytes       = 4 << 10
	readBufferBytes     = 64 << 10
	maxStreamID         = 1<<31 - 8
	flushTimeout        = time.Second
	defaultReplyTimeout = 10 * time.Second
	// impatientAfter is when a caller's own deadline counts as a sign that the
	// node takes no more streams.
	impatientAfter      = 2 * time.Second
	defaultPingInterval = 5 * time.Second
	silentPings         = 6 // unanswered in a row: the peer is dead
)

// Stream headers of the port-forward protocol, as the kubelet names them.
const (
	headerStreamType = "streamType"
	headerPort       = "port"
	headerRequestID  = "requestID"
)

var (
	errWriteClosed = errors.New("write after CloseWrite")
	errStreamZero  = errors.New("reading from the tunnel: a data frame of stream 0, which there can't be")
	errSessionOver = errors.New("the tunnel takes no new connections")
	errStuck       = errors.New("the node did not take the connection in time; its end of the tunnel is stuck")
	errRetired     = errors.New("the tunnel was retired and its last connection has ended")
)

// session is a tunnel to one pod: SPDY/3.1 on an upgraded connection, which
// opens any number of connections to the pod's ports. Whoever queues a frame
// sends it, with all frames that are waiting, in one write; a goroutine of the
// session's own sends only what the network did not take at once.
type session struct {
	pod          PodRef
	transport    io.ReadWriteCloser
	wire         *wire
	reader       *bufio.Reader
	pingInterval time.Duration
	replyTimeout time.Duration
	lastReads    time.Duration // for the reader, when nothing can be sent any more
	onNodeError  func()        // a connection failed for a reason told by the node

	mu        sync.Mutex // the fields below, and the order of frames on the wire
	out       []byte
	spare     []byte       // the memory of the batch sent before
	sending   bool         // someone is writing a batch
	gathering bool         // the reader will send what is queued
	encoder   *spdy.Framer // its header compression depends on the order of frames
	nextID    uint32
	streams   map[uint32]*conn
	space     chan struct{} // replaced and closed when out has been taken
	waiting   bool          // someone waits for space
	retired   bool          // takes no new connections, ends with the last one
	closing   error         // flush, then end with this
	// unsendable is why nothing can be sent any more, while the reader goes on.
	unsendable error
	err        error

	served int // of the reader: frames handed out since it last waited

	wake     chan struct{} // one token: there may be something for the writer
	done     chan struct{}
	activity atomic.Uint64 // anything read
	stalled  atomic.Bool   // the reader waits for the owner of a full connection
	wg       sync.WaitGroup
}

func newSession(pod PodRef, on upgraded, pingInterval, replyTimeout time.Duration, onNodeError func()) (*session, error) {
	s := &session{
		pod: pod, transport: on.transport, wire: on.wire, reader: on.reader,
		pingInterval: pingInterval, replyTimeout: replyTimeout, lastReads: flushTimeout, onNodeError: onNodeError,
		nextID:  1,
		streams: map[uint32]*conn{},
		space:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	var err error
	if s.encoder, err = spdy.NewFramer(appender{&s.out}, nil); err != nil {
		return nil, err
	}
	decoder, err := spdy.NewFramer(io.Discard, s.reader)
	if err != nil {
		return nil, err
	}
	s.wire.start(s.gather, func() { notify(s.wake) })
	s.wg.Add(3)
	go func() { defer s.wg.Done(); s.fail(s.readFrames(decoder)) }()
	go func() { defer s.wg.Done(); s.fail(s.writeRest()) }()
	go func() { defer s.wg.Done(); s.fail(s.ping()) }()
	return s, nil
}

type appender struct{ to *[]byte }

func (a appender) Write(p []byte) (int, error) {
	*a.to = append(*a.to, p...)
	return len(p), nil
}

// open makes a connection to a port of the pod.
func (s *session) open(ctx context.Context, port int32) (net.Conn, error) {
	pod := s.pod
	pod.Port = port
	c := newConn(s, pod)
	if err := s.register(c); err != nil {
		return nil, err
	}
	began := time.Now()
	timeout := time.NewTimer(s.replyTimeout)
	defer timeout.Stop()
	var err error
	stuck := false
	select {
	case <-c.replied:
		// The error stream carries nothing from this side.
		s.finish(c.errID)
		if err = c.writeError(); err == nil {
			return c, nil
		}
	case <-c.writeDone:
		err = c.writeError()
	case <-ctx.Done():
		err = fmt.Errorf("the node has not taken the connection to port %d of pod %s: %w", port, s.pod, ctx.Err())
		stuck = errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(began) > impatientAfter
	case <-timeout.C:
		err = &LostError{Pod: pod, Err: errStuck}
		stuck = true
	}
	if stuck {
		s.retire()
	}
	_ = c.Close()
	return nil, err
}

// register gives c its streams and announces them to the node.
func (s *session) register(c *conn) error {
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.usableLocked() {
		if err := s.lostLocked(); err != nil {
			return err
		}
		return errSessionOver
	}
	c.errID, c.dataID = s.nextID, s.nextID+2
	s.nextID += 4
	request := strconv.FormatUint(uint64(c.errID), 10)
	port := strconv.Itoa(int(c.pod.Port))
	if err := s.announceLocked(c.errID, "error", port, request); err != nil {
		return err
	}
	if err := s.announceLocked(c.dataID, "data", port, request); err != nil {
		return err
	}
	s.streams[c.errID], s.streams[c.dataID] = c, c
	return nil
}

func (s *session) announceLocked(id uint32, kind, port, request string) error {
	return s.encoder.WriteFrame(&spdy.SynStreamFrame{
		StreamId: spdy.StreamId(id),
		Headers:  http.Header{headerPort: {port}, headerRequestID: {request}, headerStreamType: {kind}},
	})
}

// usable says whether new connections can be opened.
func (s *session) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usableLocked()
}

func (s *session) usableLocked() bool {
	return s.lostLocked() == nil && s.closing == nil && !s.retired && s.nextID < maxStreamID
}

// release forgets the streams of c and resets those that the node still holds.
func (s *session) release(c *conn, resetData, resetErr bool) {
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, reset := range map[uint32]bool{c.dataID: resetData, c.errID: resetErr} {
		if s.streams[id] == nil {
			continue
		}
		delete(s.streams, id)
		if reset && s.err == nil {
			// Writing into memory cannot fail.
			_ = s.encoder.WriteFrame(&spdy.RstStreamFrame{StreamId: spdy.StreamId(id), Status: spdy.Cancel})
		}
	}
	s.endIfUnusedLocked()
}

// retire lets the tunnel end with its last connection and keeps new ones off:
// the peer is going away, or its end hangs behind a connection that nobody
// reads there, which the streaming library of the nodes can suffer from.
func (s *session) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	s.endIfUnusedLocked()
}

func (s *session) endIfUnusedLocked() {
	if s.retired && len(s.streams) == 0 && s.closing == nil {
		s.closing = errRetired
		notify(s.wake)
	}
}

// close sends what is queued, says goodbye, ends every connection with the
// reason and waits until the tunnel is gone.
func (s *session) close(reason error) {
	s.mu.Lock()
	if s.closing == nil && s.err == nil {
		s.closing = reason
		_ = s.encoder.WriteFrame(&spdy.GoAwayFrame{Status: spdy.GoAwayOK})
	}
	notify(s.wake)
	s.mu.Unlock()
	timer := time.AfterFunc(flushTimeout, func() { s.fail(reason) })
	defer timer.Stop()
	s.wg.Wait()
}

// fail ends the tunnel and every connection; the first reason counts.
func (s *session) fail(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	switch {
	case s.closing != nil:
		err = s.closing
	case s.unsendable != nil:
		err = s.unsendable
	}
	s.err = &LostError{Pod: s.pod, Err: err}
	streams := s.streams
	s.streams = map[uint32]*conn{}
	close(s.done)
	s.mu.Unlock()
	s.transport.Close()
	for id, c := range streams {
		if id == c.dataID {
			c.fail(&LostError{Pod: c.pod, Err: err})
		}
	}
}

// ping asks the node for a sign of life and gives up on a silent one.
func (s *session) ping() error {
	ticker := time.NewTicker(s.pingInterval)
	defer ticker.Stop()
	var id uint32 = 1
	var seen uint64
	for silent := 0; ; {
		select {
		case <-s.done:
			return nil
		case <-ticker.C:
		}
		now := s.activity.Load()
		if silent++; now != seen || s.stalled.Load() {
			silent = 0
		}
		if silent > silentPings {
			return fmt.Errorf("no answer to pings for %s", silentPings*s.pingInterval)
		}
		seen = now
		s.control(&spdy.PingFrame{Id: id})
		if id += 2; id > maxStreamID {
			id = 1
		}
	}
}
