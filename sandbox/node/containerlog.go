package node

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// maxLogLineBytes is where the container runtime interface splits a line.
const maxLogLineBytes = 16 << 10

// containerLog writes a container's output in the format of the container
// runtime interface, which the kubelet's log library reads:
// "<RFC 3339 time> stdout|stderr F|P <line>".
type containerLog struct {
	mu   sync.Mutex
	file *os.File
	now  func() time.Time
	// onLine, if set, sees each full line, without its end, as it is written.
	onLine func(line []byte)
}

func createContainerLog(path string, onLine func([]byte)) (*containerLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot create the container's log: %w", err)
	}
	return &containerLog{file: file, now: time.Now, onLine: onLine}, nil
}

func (l *containerLog) close() error { return l.file.Close() }

// stream returns a writer for one of "stdout" and "stderr". Close writes the
// last line if it has no end.
func (l *containerLog) stream(name string) io.WriteCloser { return &logStream{log: l, name: name} }

// note adds a line of the agent's own.
func (l *containerLog) note(text string) error {
	return l.write("stderr", 'F', []byte(text))
}

func (l *containerLog) write(stream string, tag byte, line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.onLine != nil && tag == 'F' {
		l.onLine(line)
	}
	buf := make([]byte, 0, len(line)+64)
	buf = l.now().AppendFormat(buf, "2006-01-02T15:04:05.000000000Z07:00")
	buf = append(buf, ' ')
	buf = append(buf, stream...)
	buf = append(buf, ' ', tag, ' ')
	buf = append(buf, line...)
	buf = append(buf, '\n')
	_, err := l.file.Write(buf)
	return err
}

type logStream struct {
	log     *containerLog
	name    string
	pending []byte
}

func (s *logStream) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		room := maxLogLineBytes - len(s.pending)
		switch {
		case end >= 0 && end <= room:
			line := slices.Concat(s.pending, p[:end])
			if err := s.log.write(s.name, 'F', line); err != nil {
				return 0, err
			}
			s.pending, p = s.pending[:0], p[end+1:]
		case len(p) >= room:
			line := slices.Concat(s.pending, p[:room])
			if err := s.log.write(s.name, 'P', line); err != nil {
				return 0, err
			}
			s.pending, p = s.pending[:0], p[room:]
		default:
			s.pending, p = append(s.pending, p...), nil
		}
	}
	return written, nil
}

func (s *logStream) Close() error {
	if len(s.pending) == 0 {
		return nil
	}
	err := s.log.write(s.name, 'F', s.pending)
	s.pending = nil
	return err
}
