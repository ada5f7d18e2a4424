package triton

import (
	"net"
	"sync"
)

// connections are those that a test server has open.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]bool
	closed  bool
	serving sync.WaitGroup
}

func (c *connections) serve(conn net.Conn, handle func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return
	}
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	c.serving.Go(func() {
		defer func() {
			_ = conn.Close()
			c.mu.Lock()
			delete(c.open, conn)
			c.mu.Unlock()
		}()
		handle()
	})
}

func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	for conn := range c.open {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.serving.Wait()
}
