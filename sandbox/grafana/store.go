package grafana

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const stateFile = "grafana.json"

// store is the database. Its fields must be used inside view and change only.
type store struct {
	path string // empty: in memory

	mu    sync.RWMutex
	state state
}

type state struct {
	PasswordSHA256 string        `json:"password_sha256"`
	LastID         int64         `json:"last_id"`
	Annotations    []*annotation `json:"annotations"`
	Dashboards     []*dashboard  `json:"dashboards"`
	Folders        []*folder     `json:"folders"`
}

func openStore(dir, password string) (*store, error) {
	s := &store{state: state{PasswordSHA256: hashPassword(password)}}
	if dir == "" {
		return s, nil
	}
	s.path = filepath.Join(dir, stateFile)
	data, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, s.save()
	case err != nil:
		return nil, fmt.Errorf("read Grafana's state: %w", err)
	}
	if err := json.Unmarshal(data, &s.state); err != nil {
		return nil, fmt.Errorf("the state kept in %s is damaged; remove the file to start anew: %w", s.path, err)
	}
	return s, nil
}

func (s *store) passwordIs(password string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.PasswordSHA256 == hashPassword(password)
}

func (s *store) view(f func(st *state)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(&s.state)
}

// change runs f and saves what it did, unless f fails.
func (s *store) change(f func(st *state) *apiError) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault := f(&s.state); fault != nil {
		return fault
	}
	if err := s.save(); err != nil {
		return failure(500, "Internal Server Error: "+err.Error())
	}
	return nil
}

func (s *store) save() error {
	if s.path == "" {
		return nil
	}
	data, err := json.Marshal(&s.state)
	if err != nil {
		return fmt.Errorf("encode Grafana's state: %w", err)
	}
	next := s.path + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("write Grafana's state: %w", err)
	}
	if err := os.Rename(next, s.path); err != nil {
		return fmt.Errorf("write Grafana's state: %w", err)
	}
	return nil
}

func (st *state) nextID() int64 {
	st.LastID++
	return st.LastID
}
