package main

import (
	"runtime"
	"sync"
	"time"
)

// stall stops the server for the last part of each period, as a garbage
// collection or a noisy neighbour would. What has come meanwhile is answered in
// the order in which it came.
type stall struct {
	begin         time.Time
	every, length time.Duration

	mu      sync.Mutex
	waiting []chan struct{}
}

func newStall(every, length time.Duration) *stall {
	return &stall{begin: time.Now(), every: every, length: length}
}

// wait returns at once outside of a stall, else at its end.
func (s *stall) wait() {
	if s.every == 0 {
		return
	}
	into := time.Since(s.begin) % s.every
	if into < s.every-s.length {
		return
	}
	turn := make(chan struct{})
	s.mu.Lock()
	s.waiting = append(s.waiting, turn)
	if len(s.waiting) == 1 {
		go s.release(time.Now().Add(s.every - into))
	}
	s.mu.Unlock()
	<-turn
}

// release ends the stall on time: the runtime's timers, which count in
// milliseconds when nothing else happens, serve for all but the last of it.
func (s *stall) release(end time.Time) {
	time.Sleep(time.Until(end) - 3*time.Millisecond)
	for time.Now().Before(end) {
		runtime.Gosched()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, turn := range s.waiting {
		close(turn)
	}
	s.waiting = s.waiting[:0]
}

// takeTurns lets the other connections have theirs. Without it one whose client
// is quick is served again and again, for as long as the scheduler's time slice,
// while those that have waited longer still wait.
func (s *stall) takeTurns() {
	if s.every > 0 {
		runtime.Gosched()
	}
}
