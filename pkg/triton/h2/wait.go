package h2

import (
	"runtime"
	"time"
)

// need is what a call waits for.
type need int

const (
	needAnswer  need = iota
	needTurn         // the server's leave to open one stream more
	needRoom         // to send more of its message
	needTraffic      // a call that reads for itself; of the idler
	needNothing
)

// busyInterval is how long after a read a connection counts as busy.
const busyInterval = 5 * time.Millisecond

// wait returns when k has what it needs, or has ended. Of the calls that wait,
// one leads: it reads for all, and sends what is pending before it blocks. When
// it is done, it hands that to another one. The lock is held.
func (c *conn) wait(k *Call, what need) {
	k.need = what
	for !c.satisfied(k) {
		switch c.leader {
		case nil:
			c.leader = k
		case k:
			if !c.yield() {
				c.read(k)
			}
		default:
			k.parkedAt = len(c.parked)
			c.parked = append(c.parked, k)
			c.unlock()
			<-k.awake
			c.mu.Lock()
		}
	}
	k.need = needNothing
	if c.leader == k {
		c.handOver()
	}
}

// handOver ends the lead of the call that has it.
func (c *conn) handOver() {
	c.leader = nil
	if n := len(c.parked); n > 0 {
		c.leader = c.parked[n-1]
		c.wake(c.leader)
	}
	// Without another one, what is in line is an answer to a ping or the like. It
	// goes with the next call, or when the connection has been quiet.
}

func (c *conn) satisfied(k *Call) bool {
	if k.done || c.err != nil || k.ended.Load() {
		return true
	}
	switch k.need {
	case needTurn:
		return k.stream != 0
	case needRoom:
		return c.room(k) > 0
	case needTraffic:
		return c.raw != nil && (c.served || len(c.parked) > 0)
	}
	return false
}

// wake lets a call that is parked look again. The lock is held.
func (c *conn) wake(k *Call) {
	if k.parkedAt < 0 {
		return
	}
	n := len(c.parked) - 1
	last := c.parked[n]
	c.parked[k.parkedAt], last.parkedAt = last, k.parkedAt
	c.parked[n] = nil
	c.parked = c.parked[:n]
	k.parkedAt = notParked
	c.woken = append(c.woken, k)
}

const notParked = -1

// unlock releases the lock and then the calls that were woken under it, which
// would else run into it.
func (c *conn) unlock() {
	var some [16]*Call
	n := copy(some[:], c.woken)
	for _, k := range c.woken[n:] {
		k.awake <- struct{}{}
	}
	clear(c.woken)
	c.woken = c.woken[:0]
	c.mu.Unlock()
	for _, k := range some[:n] {
		k.awake <- struct{}{}
	}
}

// yield lets the calls that ended last come back with their next message, so
// that one write takes what several send. It costs less than a write, and no
// time if nothing else is to run. The lock is held, and released meanwhile.
func (c *conn) yield() (yielded bool) {
	if c.expected == 0 || len(c.out) == 0 || c.writing || c.yielding {
		return false
	}
	c.expected, c.yielding = 0, true
	c.unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.yielding = false
	return true
}

// read reads once, for k. The lock is held, and released meanwhile.
func (c *conn) read(k *Call) {
	c.served = false
	c.reads++
	if c.raw == nil {
		c.reading = true
		c.flush()
		c.unlock()
		n, err := c.net.Read(c.in[c.last:])
		c.mu.Lock()
		c.reading = false
		c.arrived(n, err)
		return
	}
	var out []byte
	mode := tryAndWait
	if !c.writing && len(c.out) > 0 {
		// Of the only call, the server can't have answered what it has not seen.
		if len(c.streams) == 1 && c.untold > 0 && c.untold == k.stream && k.began.Sub(c.lastRead) < busyInterval {
			mode = waitFirst
		}
		out = c.takeOut()
	}
	c.reading = true
	c.unlock()
	n, unsent, err := c.raw.exchange(out, c.in[c.last:], mode)
	c.mu.Lock()
	c.reading = false
	if unsent {
		c.putBack()
	}
	c.arrived(n, err)
}

// arrived takes what a read brought.
func (c *conn) arrived(n int, err error) {
	if c.err != nil {
		return
	}
	c.last += n
	if frameErr := c.process(); frameErr != nil {
		c.fail(frameErr)
		return
	}
	if err != nil && !c.interrupted(err) {
		c.fail(c.readError(err))
	}
}

// look reads what has arrived while nobody read. The lock is held.
func (c *conn) look(now time.Time) {
	if c.raw == nil || c.leader != nil || now.Sub(c.lastRead) < busyInterval {
		return
	}
	c.leader = c.idler
	c.unlock()
	n, _, err := c.raw.exchange(nil, c.in[c.last:], tryOnly)
	c.mu.Lock()
	c.arrived(n, err)
	c.handOver()
}

// attend reads while no call does, so that an idle connection answers pings and
// is known to be lost when it is. Where plain system calls are at hand, calls
// read for themselves while there are some.
func (c *conn) attend() {
	c.mu.Lock()
	defer c.unlock()
	if c.raw == nil {
		c.wait(c.idler, needTraffic)
		return
	}
	ticker := time.NewTicker(c.client.options.attendInterval)
	defer ticker.Stop()
	for seen := uint64(0); c.err == nil; {
		c.unlock()
		select {
		case <-ticker.C:
		case <-c.over:
		}
		c.mu.Lock()
		quiet := c.reads == seen
		seen = c.reads
		switch {
		case c.err != nil || !quiet:
		case c.leader == nil: // which sends what is in line, too
			c.served = false
			c.wait(c.idler, needTraffic)
		case c.reading:
			// Its call may have begun to wait without a look at what had come.
			c.interrupt()
		}
	}
}

const defaultAttendInterval = 250 * time.Millisecond
