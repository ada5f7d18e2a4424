package portforward

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/moby/spdystream/spdy"
)

// send sends one data frame of c, waiting for room in the send buffer.
func (s *session) send(c *conn, p []byte) error {
	if isDone(c.writeDone) {
		return c.writeError()
	}
	if isDone(c.writeDeadline.done()) {
		return os.ErrDeadlineExceeded
	}
	if len(p) == 0 {
		return nil
	}
	if err := s.queue(c, p); err != nil {
		return err
	}
	s.flush()
	return nil
}

// queue appends a data frame once there is room.
func (s *session) queue(c *conn, p []byte) error {
	s.mu.Lock()
	for len(s.out) >= maxSendBytes && s.lostLocked() == nil {
		s.waiting = true
		space := s.space
		s.mu.Unlock()
		select {
		case <-space:
		case <-c.writeDone:
			return c.writeError()
		case <-c.writeDeadline.done():
			return os.ErrDeadlineExceeded
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if err := s.lostLocked(); err != nil {
		return err
	}
	s.out = binary.BigEndian.AppendUint32(s.out, c.dataID)
	s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(p)))
	s.out = append(s.out, p...)
	return nil
}

// finish sends an empty last data frame of a stream.
func (s *session) finish(id uint32) {
	s.mu.Lock()
	s.out = binary.BigEndian.AppendUint32(s.out, id)
	s.out = binary.BigEndian.AppendUint32(s.out, uint32(spdy.DataFlagFin)<<24)
	s.mu.Unlock()
	s.flush()
}

// control sends a frame that the library encodes.
func (s *session) control(frame spdy.Frame) {
	s.mu.Lock()
	// Writing into memory cannot fail.
	_ = s.encoder.WriteFrame(frame)
	s.mu.Unlock()
	s.flush()
}

// flush sends what is queued, unless someone else will. It does not wait.
func (s *session) flush() {
	for range maxBatches {
		batch := s.takeBatch()
		if batch == nil {
			return
		}
		_, err := s.transport.Write(batch)
		s.giveBack(batch)
		if err != nil {
			s.stopSending(err)
			return
		}
	}
	notify(s.wake)
}

// stopSending notes that nothing can be sent any more. What the node has sent
// before may still be on its way, so the tunnel ends with the reader, or soon.
func (s *session) stopSending(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsendable != nil || s.err != nil {
		return
	}
	err = fmt.Errorf("writing to the tunnel: %w", err)
	s.unsendable = err
	close(s.space)
	notify(s.wake)
	s.wg.Go(func() {
		timer := time.NewTimer(s.lastReads)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.fail(err)
		case <-s.done:
		}
	})
}

// lostLocked is why nothing can be sent.
func (s *session) lostLocked() error {
	switch {
	case s.err != nil:
		return s.err
	case s.unsendable != nil:
		return &LostError{Pod: s.pod, Err: s.unsendable}
	}
	return nil
}

func (s *session) takeBatch() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) == 0 || s.sending || s.gathering || s.lostLocked() != nil || s.wire.isBlocked() {
		return nil
	}
	batch := s.out
	s.out, s.spare = s.spare, nil
	s.sending = true
	if s.waiting {
		s.waiting = false
		close(s.space)
		s.space = make(chan struct{})
	}
	return batch
}

func (s *session) giveBack(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	if cap(batch) <= 2*maxSendBytes {
		s.spare = batch[:0]
	}
	if s.closing != nil {
		notify(s.wake)
	}
}

// gather is called by the reader before it may wait. When it has handed out
// several frames, their owners are about to send the next ones: it lets them
// queue and sends all in one write.
func (s *session) gather() {
	several := s.served > 1
	s.served = 0
	if !several {
		return
	}
	s.setGathering(true)
	runtime.Gosched()
	s.setGathering(false)
	s.flush()
}

func (s *session) setGathering(gathering bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathering = gathering
}

// writeRest sends what the network did not take at once, until the tunnel
// ends.
func (s *session) writeRest() error {
	for {
		if err := s.wire.drain(); err != nil {
			s.stopSending(err)
		}
		s.flush()
		if err := s.closed(); err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-s.done:
			return nil
		}
	}
}

// closed is why the tunnel was closed, once everything is sent that can be.
func (s *session) closed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsendable == nil && (len(s.out) > 0 || s.sending || s.wire.isBlocked()) {
		return nil
	}
	return s.closing
}
