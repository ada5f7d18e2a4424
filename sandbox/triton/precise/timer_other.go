//go:build !linux

package precise

import (
	"os"
	"sync"
	"time"
)

// Timer fires once per Set, as exactly as the runtime's timers allow.
type Timer struct {
	timer  *time.Timer
	closed chan struct{}
	once   sync.Once
}

// NewTimer returns a disarmed timer.
func NewTimer() (*Timer, error) {
	t := &Timer{timer: time.NewTimer(time.Hour), closed: make(chan struct{})}
	t.timer.Stop()
	return t, nil
}

// Set arms the timer to fire after d, replacing what was set before.
func (t *Timer) Set(d time.Duration) error {
	t.timer.Reset(max(d, 1))
	return nil
}

// Stop disarms the timer; a waiter keeps waiting for the next Set.
func (t *Timer) Stop() error {
	t.timer.Stop()
	return nil
}

// Wait returns when the timer has fired, or with an error once it is closed.
func (t *Timer) Wait() error {
	select {
	case <-t.timer.C:
		return nil
	case <-t.closed:
		return os.ErrClosed
	}
}

// Sleep waits for d. It must not be used together with Set and Wait.
func (t *Timer) Sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t.timer.Reset(d)
	return t.Wait()
}

// Close wakes the waiter with an error.
func (t *Timer) Close() error {
	t.once.Do(func() { close(t.closed) })
	t.timer.Stop()
	return nil
}
