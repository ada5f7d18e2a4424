package portforward

import (
	"net"
	"sync"
)

// wire is what a tunnel is written to at the very bottom, under TLS and
// WebSocket. Until started it is an ordinary connection. From then on its Write
// never waits: what the network doesn't take at once is kept for drain. So
// whoever has something to send can send it, without a goroutine in between
// and without hanging where it can't be interrupted.
type wire struct {
	net.Conn
	socket *socket

	// Set by start.
	started   bool
	onBlocked func() // unsent bytes are waiting for drain
	onRead    func() // before each read, all that arrived before is handled

	mu      sync.Mutex
	blocked bool // until drain has sent everything
	unsent  []byte
}

func newWire(conn net.Conn) *wire { return &wire{Conn: conn, socket: newSocket(conn)} }

// start must be called while nobody reads or writes.
func (w *wire) start(onRead, onBlocked func()) {
	w.started, w.onRead, w.onBlocked = true, onRead, onBlocked
}

func (w *wire) Read(p []byte) (int, error) {
	if !w.started {
		return w.Conn.Read(p)
	}
	w.onRead()
	if w.socket.usable() {
		return w.socket.Read(p)
	}
	return w.Conn.Read(p)
}

// Write takes all of p, unless the connection has failed.
func (w *wire) Write(p []byte) (int, error) {
	if !w.started {
		return w.Conn.Write(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := 0
	if !w.blocked {
		var err error
		if sent, err = w.socket.tryWrite(p); err != nil {
			return sent, err
		}
	}
	if sent < len(p) {
		w.unsent = append(w.unsent, p[sent:]...)
		if !w.blocked {
			w.blocked = true
			w.onBlocked()
		}
	}
	return len(p), nil
}

// isBlocked says whether what is written now waits for drain.
func (w *wire) isBlocked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocked
}

// drain sends what Write has kept, as fast as the network takes it. One
// goroutine calls it.
func (w *wire) drain() error {
	var spare []byte
	for {
		w.mu.Lock()
		batch := w.unsent
		if len(batch) == 0 {
			w.blocked = false
			w.unsent = reusable(spare)
			w.mu.Unlock()
			return nil
		}
		w.unsent = reusable(spare)
		w.mu.Unlock()
		if _, err := w.Conn.Write(batch); err != nil {
			return err
		}
		spare = batch
	}
}
