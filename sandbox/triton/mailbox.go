package triton

import (
	"sync"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// mailbox passes the responses of a decoupled request on; putting never waits,
// so that a slow client can't hold up a model's instance.
type mailbox struct {
	mu    sync.Mutex
	ready *sync.Cond
	list  []core.Response
}

func newMailbox() *mailbox {
	m := &mailbox{}
	m.ready = sync.NewCond(&m.mu)
	return m
}

func (m *mailbox) put(response core.Response) {
	m.mu.Lock()
	m.list = append(m.list, response)
	m.mu.Unlock()
	m.ready.Signal()
}

func (m *mailbox) get() core.Response {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.list) == 0 {
		m.ready.Wait()
	}
	response := m.list[0]
	m.list = m.list[1:]
	return response
}
