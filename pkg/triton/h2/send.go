package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// maxPending is how much of messages may wait to be written, in bytes. What one
// write system call takes is no more than that and a few frames.
const maxPending = 64 << 10

// lastWords is how long after a failed write what the server said before it is
// read.
const lastWords = time.Second

// openStream begins k's call. Streams must begin in the order of their numbers,
// so that the headers are put in line at once.
func (c *conn) openStream(k *Call) {
	k.stream, c.untold = c.nextStream, c.nextStream
	c.nextStream += 2
	k.window = c.streamWindow
	c.streams[k.stream] = k
	at := len(c.out)
	c.out = appendFrameHeader(c.out, 0, http2.FrameHeaders, http2.FlagHeadersEndHeaders, k.stream)
	c.out = c.requestHeader.append(c.out, k.timeout)
	length := len(c.out) - at - frameHeaderBytes
	c.out[at], c.out[at+1], c.out[at+2] = byte(length>>16), byte(length>>8), byte(length)
	if c.nextStream > maxStreamID {
		c.refuseMore()
	}
}

// room is how many bytes of k's message can be put in line now.
func (c *conn) room(k *Call) int {
	if c.writeErr != nil {
		return 0
	}
	return int(min(c.window, k.window, int64(maxPending-len(c.out))))
}

// sendMessage puts k's message in line. It returns before all of it is if the
// call ends. The lock is held, and released meanwhile.
func (c *conn) sendMessage(k *Call) {
	for !k.done && !k.ended.Load() {
		room := c.room(k)
		if room <= 0 {
			c.roomWanted++
			c.flush()
			c.wait(k, needRoom)
			c.roomWanted--
			continue
		}
		for room > 0 && len(k.unsent) > 0 {
			n := min(room, len(k.unsent), c.maxFrameBytes)
			flags := http2.Flags(0)
			if n == len(k.unsent) {
				flags = http2.FlagDataEndStream
			}
			c.out = appendFrameHeader(c.out, n, http2.FrameData, flags, k.stream)
			c.out = append(c.out, k.unsent[:n]...)
			k.unsent = k.unsent[n:]
			k.window -= int64(n)
			c.window -= int64(n)
			room -= n
		}
		if len(k.unsent) == 0 {
			return
		}
	}
}

// submit sees to it that what is in line is sent, for a caller that is going to
// wait: a leader that isn't blocked sends before it reads, and so does who yields.
func (c *conn) submit() {
	if c.reading && !c.yielding {
		c.yield()
		c.flush()
	}
}

// flush sends what is in line, unless somebody is sending already, who then goes
// on. The lock is held, and released meanwhile.
func (c *conn) flush() {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return
	}
	out := c.takeOut()
	if c.raw == nil {
		c.background.Go(func() { c.sendBlocking(out) })
		return
	}
	for len(out) > 0 {
		c.unlock()
		n, err := c.raw.write(out)
		c.mu.Lock()
		out = c.wrote(n, err)
	}
}

// takeOut takes the right to write, and what is in line.
func (c *conn) takeOut() []byte {
	c.writing, c.untold = true, 0
	c.beingSent, c.out, c.spare = c.out, c.spare[:0], nil
	return c.beingSent
}

// putBack gives the right to write back without having used it.
func (c *conn) putBack() {
	c.beingSent = append(c.beingSent, c.out...)
	c.out, c.spare = c.beingSent, c.out[:0]
	c.writing, c.beingSent = false, nil
}

// sent is wrote for an exchange.
func (c *conn) sent(n int, err error) (next []byte) {
	c.mu.Lock()
	defer c.unlock()
	return c.wrote(n, err)
}

// wrote is told that n bytes of what takeOut returned were written. It returns
// what came in line meanwhile, or nil with the right to write given back.
func (c *conn) wrote(n int, err error) (next []byte) {
	switch {
	case c.err != nil:
		c.writing = false
		return nil
	case err != nil:
		c.writing = false
		c.writeFailed(err)
		return nil
	case n < len(c.beingSent):
		// The socket is full, so that somebody has to wait; calls must not, who
		// may have to read before there is room.
		rest := c.beingSent[n:]
		c.background.Go(func() { c.sendBlocking(rest) })
		return nil
	}
	c.spare = c.beingSent
	if len(c.out) > 0 {
		next = c.takeOut()
	} else {
		c.writing, c.beingSent = false, nil
	}
	c.wakeForRoom()
	return next
}

// sendBlocking sends by calls that may block.
func (c *conn) sendBlocking(out []byte) {
	for len(out) > 0 {
		_, err := c.net.Write(out)
		c.mu.Lock()
		out = c.wrote(len(c.beingSent), err)
		c.unlock()
	}
}

// wakeForRoom lets calls look whether there is room for them.
func (c *conn) wakeForRoom() {
	if c.roomWanted == 0 {
		return
	}
	for i := len(c.parked) - 1; i >= 0; i-- {
		if k := c.parked[i]; k.need == needRoom {
			c.wake(k)
		}
	}
	// The call that reads may be one of them, and nothing more to read.
	if k := c.leader; k != nil && k.need == needRoom && c.reading && c.room(k) > 0 {
		c.interrupt()
	}
}

// writeFailed ends the connection as soon as what the server said before is read,
// which may well be the reason.
func (c *conn) writeFailed(err error) {
	if c.writeErr != nil {
		return
	}
	c.writeErr, c.out = err, nil
	_ = c.net.SetReadDeadline(time.Now().Add(lastWords))
	c.refuseMore()
}

// refuseMore takes no more calls; those that wait for their turn go elsewhere.
func (c *conn) refuseMore() {
	c.draining = true
	c.refuseQueue()
	c.drained()
}

func (c *conn) refuseQueue() {
	for _, k := range c.queue {
		k.finish(errNotSent)
		c.wake(k)
	}
	c.queue = nil
}

// drained ends a connection that takes no more calls once it has none left.
func (c *conn) drained() {
	if c.draining && len(c.streams) == 0 {
		c.fail(errDrained)
	}
}
