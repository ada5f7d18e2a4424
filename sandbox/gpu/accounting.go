package gpu

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// heartbeat bounds by how much the last kernel of a killed process can be
// mismeasured when nobody samples the device.
const heartbeat = 100 * time.Millisecond

// Accounting is one process's share of one device. Its methods may be called
// from any goroutine; after Close they do nothing.
type Accounting struct {
	process string
	slot    int
	stop    chan struct{}
	stopped chan struct{}

	mu      sync.Mutex
	mapping *mapping // nil once closed
	open    int      // kernels of this process that are open now
}

// OpenAccounting attaches this process to the device. process names it in
// errors. A device has room for 16 handles; one per process is enough, since
// kernels of a process may overlap.
func OpenAccounting(dir, uuid, process string) (*Accounting, error) {
	devices, err := ReadInventory(dir)
	if err != nil {
		return nil, fmt.Errorf("attach %s to GPU %s: %w", process, uuid, err)
	}
	if !contains(devices, uuid) {
		return nil, fmt.Errorf("attach %s to GPU %s: the inventory in %s has no such device, only %s", process, uuid, dir, uuids(devices))
	}
	m, err := openMapping(dir, uuid)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", process, err)
	}
	slot, err := m.claim()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach %s to GPU %s: %w", process, uuid, err), m.close())
	}
	a := &Accounting{process: process, slot: slot, mapping: m, stop: make(chan struct{}), stopped: make(chan struct{})}
	go a.beat()
	return a, nil
}

func contains(devices []Device, uuid string) bool {
	for _, d := range devices {
		if d.UUID == uuid {
			return true
		}
	}
	return false
}

func uuids(devices []Device) []string {
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.UUID
	}
	return names
}

// Begin reports that a kernel starts. The device is busy while any kernel of
// any process is open.
func (a *Accounting) Begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping == nil {
		return
	}
	a.open++
	if a.open == 1 {
		a.mapping.open(a.slot, a.mapping.now())
	}
}

// End reports that a kernel that began has ended. An End without its Begin is
// a fault of the caller and panics.
func (a *Accounting) End() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping == nil {
		return
	}
	if a.open == 0 {
		panic("gpu: End without Begin by " + a.process)
	}
	a.open--
	if a.open == 0 {
		a.mapping.shut(a.slot, a.mapping.now())
	}
}

// SetMemoryBytes reports how much of the device's memory this process holds.
func (a *Accounting) SetMemoryBytes(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping != nil {
		a.mapping.state.slots[a.slot].memoryBytes.Store(n)
	}
}

// Close ends this process's kernels and frees its memory.
func (a *Accounting) Close() error {
	a.mu.Lock()
	m := a.mapping
	a.mapping = nil
	a.mu.Unlock()
	if m == nil {
		return nil
	}
	close(a.stop)
	<-a.stopped
	err := m.underLock(func() error {
		m.free(a.slot, m.now())
		return nil
	})
	return errors.Join(err, m.close())
}

// beat lets readers know until when this process was surely in its kernel,
// and cleans up after processes that weren't able to.
func (a *Accounting) beat() {
	defer close(a.stopped)
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-ticker.C:
		}
		a.mu.Lock()
		m := a.mapping
		if m != nil && a.open > 0 {
			m.touch(m.now())
		}
		a.mu.Unlock()
		if m != nil {
			// Close unmaps only after this goroutine has stopped. A failure to
			// look at another process is for readers to report.
			_, _ = m.survey()
		}
	}
}

// claim takes a free slot, or that of a dead process.
func (m *mapping) claim() (int, error) {
	me, err := ownIdentity()
	if err != nil {
		return 0, err
	}
	if _, err := m.survey(); err != nil {
		return 0, err
	}
	claimed := -1
	err = m.underLock(func() error {
		for i := range m.state.slots {
			if m.state.slots[i].owner.CompareAndSwap(0, me) {
				claimed = i
				return nil
			}
		}
		return fmt.Errorf("%d handles are open on it already, which is all it has room for", maxProcesses)
	})
	return claimed, err
}

// survey frees the slots of dead processes and returns the memory held by the
// others.
func (m *mapping) survey() (memoryBytes uint64, err error) {
	for i := range m.state.slots {
		s := &m.state.slots[i]
		owner := s.owner.Load()
		if owner == 0 {
			continue
		}
		seen := m.now()
		living, err := alive(owner)
		if err != nil {
			return 0, err
		}
		if !living {
			if err := m.reap(i, owner); err != nil {
				return 0, err
			}
			continue
		}
		if m.inKernel(i) {
			m.touch(seen)
		}
		memoryBytes += s.memoryBytes.Load()
	}
	return memoryBytes, nil
}

// reap frees a dead process's slot, unless another reader has done so.
func (m *mapping) reap(slot int, owner uint64) error {
	return m.underLock(func() error {
		if m.state.slots[slot].owner.Load() == owner {
			m.free(slot, m.state.lastActive.Load())
		}
		return nil
	})
}

// free must run under the lock. The owner goes last: a process that dies
// half-way leaves a slot that can be reaped again.
func (m *mapping) free(slot int, endedAt uint64) {
	m.state.slots[slot].memoryBytes.Store(0)
	if m.inKernel(slot) {
		m.shut(slot, endedAt)
	}
	m.state.slots[slot].owner.Store(0)
}

func isNoSuchProcess(err error) bool { return errors.Is(err, syscall.ESRCH) }
