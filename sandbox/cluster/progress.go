package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// message is one line that a daemon sends to the command that started it.
// The last one has Ready or Error set.
type message struct {
	Step  string `json:"step,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

// reporter is the daemon's end.
type reporter struct {
	mu     sync.Mutex
	w      io.Writer
	orphan func() // called when nobody listens any more
}

func (r *reporter) send(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(m)
	if err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	if err != nil {
		r.orphan()
	}
}

func (r *reporter) step(format string, args ...any) {
	r.send(message{Step: fmt.Sprintf(format, args...)})
}

var errDaemonDied = errors.New("the sandbox's daemon ended unexpectedly")

// follow is the command's end: it passes each step on and returns when the
// daemon is ready, has failed or has died.
func follow(r io.Reader, step func(string)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var m message
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			return fmt.Errorf("cannot understand the sandbox's daemon: %w", err)
		}
		switch {
		case m.Error != "":
			return errors.New(m.Error)
		case m.Ready:
			return nil
		case m.Step != "":
			step(m.Step)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("cannot hear the sandbox's daemon: %w", err)
	}
	return errDaemonDied
}
