package precise

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Timer fires once per Set, within about 0.1 ms on an idle machine. One
// goroutine waits; any goroutine may call Set, Stop and Close.
type Timer struct {
	file *os.File
	conn rawConn
}

type rawConn interface {
	Control(func(fd uintptr)) error
}

// NewTimer returns a disarmed timer. It holds one file descriptor until Close.
func NewTimer() (*Timer, error) {
	// A timerfd is woken by the kernel's high-resolution timers and, being
	// non-blocking, parks its reader on the runtime's poller: no thread waits.
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create a timer: %w", err), file.Close())
	}
	return &Timer{file: file, conn: conn}, nil
}

// Set arms the timer to fire after d, replacing what was set before.
func (t *Timer) Set(d time.Duration) error {
	if d <= 0 {
		d = 1
	}
	return t.settime(d)
}

// Stop disarms the timer; a waiter keeps waiting for the next Set.
func (t *Timer) Stop() error { return t.settime(0) }

func (t *Timer) settime(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	var settimeErr error
	err := t.conn.Control(func(fd uintptr) {
		settimeErr = unix.TimerfdSettime(int(fd), 0, &spec, nil)
	})
	return errors.Join(err, settimeErr)
}

// Wait returns when the timer has fired, or with an error once it is closed.
func (t *Timer) Wait() error {
	var expirations [8]byte
	_, err := t.file.Read(expirations[:])
	return err
}

// Sleep waits for d. It must not be used together with Set and Wait.
func (t *Timer) Sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := t.Set(d); err != nil {
		return err
	}
	return t.Wait()
}

// Close wakes the waiter with an error and frees the descriptor.
func (t *Timer) Close() error { return t.file.Close() }
