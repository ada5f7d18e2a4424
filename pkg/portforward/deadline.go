package portforward

import (
	"sync"
	"time"
)

// deadline is one direction's deadline of a connection: a channel that is
// closed while the deadline is in the past and replaced when it is moved.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	serial  uint64 // tells a stopped timer that fires late from the current one
	expired chan struct{}
}

func newDeadline() *deadline { return &deadline{expired: make(chan struct{})} }

// set moves the deadline; the zero time means none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if isDone(d.expired) {
		d.expired = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.expired)
		return
	}
	serial := d.serial
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.serial == serial {
			close(d.expired)
		}
	})
}

// done is closed once the deadline that is set now has passed.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// stop releases the timer.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
