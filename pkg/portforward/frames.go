package portforward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/moby/spdystream/spdy"
)

// readFrames handles what the node sends until the tunnel ends.
// The frame format is section 2 of the SPDY protocol, draft 3.1.
func (s *session) readFrames(decoder *spdy.Framer) error {
	for {
		head, err := s.reader.Peek(8)
		if err != nil {
			return readError(err)
		}
		s.activity.Add(1)
		if head[0]&0x80 == 0 {
			id := binary.BigEndian.Uint32(head)
			if id == 0 {
				return errStreamZero
			}
			word := binary.BigEndian.Uint32(head[4:])
			if _, err := s.reader.Discard(8); err != nil {
				return readError(err)
			}
			if err := s.readData(id, spdy.DataFlags(word>>24), int(word&0xffffff)); err != nil {
				return readError(err)
			}
			continue
		}
		frame, err := decoder.ReadFrame()
		if err != nil {
			return readError(err)
		}
		s.handle(frame)
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the API server or the node closed the tunnel")
	}
	return fmt.Errorf("reading from the tunnel: %w", err)
}

// readData handles the payload of one data frame, as it arrives.
func (s *session) readData(id uint32, flags spdy.DataFlags, length int) error {
	c := s.stream(id)
	var message []byte
	for length > 0 {
		if _, err := s.reader.Peek(1); err != nil {
			return err
		}
		s.activity.Add(1)
		part, err := s.reader.Peek(min(length, s.reader.Buffered()))
		if err != nil {
			return err
		}
		switch {
		case c == nil:
		case id == c.errID:
			message = append(message, part[:min(len(part), maxErrorBytes-len(message))]...)
		default:
			if c.receive(part) {
				s.awaitRoom(c)
			}
		}
		length -= len(part)
		if _, err := s.reader.Discard(len(part)); err != nil {
			return err
		}
	}
	if c == nil {
		return nil
	}
	s.served++
	if len(message) > 0 {
		c.fail(c.nodeError(string(message)))
		s.onNodeError()
	}
	if flags&spdy.DataFlagFin != 0 {
		s.remoteEnd(c, id, false)
	}
	return nil
}

// awaitRoom holds the tunnel until the owner of c has read or closed it.
func (s *session) awaitRoom(c *conn) {
	s.stalled.Store(true)
	defer s.stalled.Store(false)
	for c.full() {
		select {
		case <-c.room:
		case <-s.done:
			return
		}
	}
}

// handle acts upon a control frame.
func (s *session) handle(frame spdy.Frame) {
	switch f := frame.(type) {
	case *spdy.SynReplyFrame:
		c := s.stream(uint32(f.StreamId))
		if c == nil {
			return
		}
		c.taken(uint32(f.StreamId))
		if f.CFHeader.Flags&spdy.ControlFlagFin != 0 {
			s.remoteEnd(c, uint32(f.StreamId), false)
		}
	case *spdy.RstStreamFrame:
		if c := s.stream(uint32(f.StreamId)); c != nil {
			s.remoteEnd(c, uint32(f.StreamId), true)
		}
	case *spdy.HeadersFrame:
		if c := s.stream(uint32(f.StreamId)); c != nil && f.CFHeader.Flags&spdy.ControlFlagFin != 0 {
			s.remoteEnd(c, uint32(f.StreamId), false)
		}
	case *spdy.SynStreamFrame:
		// A node has no reason to open streams.
		s.control(&spdy.RstStreamFrame{StreamId: f.StreamId, Status: spdy.RefusedStream})
	case *spdy.PingFrame:
		if f.Id%2 == 0 { // the node's own; odd ones are answers to ours
			s.control(&spdy.PingFrame{Id: f.Id})
		}
	case *spdy.GoAwayFrame:
		s.retire()
	}
}

// remoteEnd notes that the node has ended its side of a stream.
func (s *session) remoteEnd(c *conn, id uint32, reset bool) {
	if id == c.errID {
		c.errorEnded()
	} else {
		c.dataEnded(reset)
	}
}

func (s *session) stream(id uint32) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}
