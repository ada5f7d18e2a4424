package gpu

// open marks a slot as being in a kernel since the given tick.
func (m *mapping) open(slot int, at uint64) {
	bit := uint64(1) << (valueBits + slot)
	m.touch(at)
	for {
		old := m.state.clock.Load()
		value := old & valueMask
		if old&^valueMask == 0 {
			value = sub(at, value)
		}
		if m.state.clock.CompareAndSwap(old, old&^valueMask|bit|value) {
			return
		}
	}
}

// shut marks a slot as out of its kernel since the given tick.
func (m *mapping) shut(slot int, at uint64) {
	bit := uint64(1) << (valueBits + slot)
	m.touch(at)
	for {
		old := m.state.clock.Load()
		if old&bit == 0 {
			return
		}
		value, open := old&valueMask, old&^valueMask&^bit
		if open == 0 {
			value = sub(at, value)
		}
		if m.state.clock.CompareAndSwap(old, open|value) {
			return
		}
	}
}

// busyTicks is the device's busy time until the given tick, and whether it is
// in a kernel now.
func (m *mapping) busyTicks(at uint64) (ticks uint64, busy bool) {
	word := m.state.clock.Load()
	value := word & valueMask
	if word&^valueMask == 0 {
		return value, false
	}
	return sub(at, value), true
}

func (m *mapping) inKernel(slot int) bool {
	return m.state.clock.Load()&(1<<(valueBits+slot)) != 0
}

// touch raises lastActive to at.
func (m *mapping) touch(at uint64) {
	for {
		old := m.state.lastActive.Load()
		if old >= at || m.state.lastActive.CompareAndSwap(old, at) {
			return
		}
	}
}

func sub(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return (a - b) & valueMask
}
