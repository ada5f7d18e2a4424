package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sharedMagic   = 0x6770755f61636374 // "gpu_acct"
	maxProcesses  = 16
	tick          = 100 * time.Nanosecond
	valueBits     = 48 // 2^48 ticks are 325 days
	valueMask     = 1<<valueBits - 1
	sharedSize    = int(unsafe.Sizeof(sharedState{}))
	accountingExt = ".acct"
)

// sharedState is the content of a device's memory-mapped file.
//
// clock holds everything about busy time in one word, so that each change is
// one compare-and-swap and a process can die between any two instructions.
// Its top 16 bits say which slots are in a kernel. Its lower 48 bits hold, on
// an idle device, the busy time so far, and on a busy one the moment it became
// busy minus the busy time before that: in both cases the busy time at any
// moment follows from the one word, and it is the union of all open kernels.
type sharedState struct {
	magic uint64
	epoch int64 // CLOCK_BOOTTIME of the first inventory, ns; one second before tick zero
	clock atomic.Uint64
	// lastActive is the latest tick at which a live process was known to be in
	// a kernel. It bounds the last kernel of a process that died in it.
	lastActive atomic.Uint64
	slots      [maxProcesses]slot
}

type slot struct {
	owner       atomic.Uint64 // identity of the process, 0 when free
	memoryBytes atomic.Uint64
}

func sharedPath(dir, uuid string) string { return filepath.Join(dir, uuid+accountingExt) }

// createShared makes the device's file unless there is one.
func createShared(dir, uuid string) error {
	path := sharedPath(dir, uuid)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	now, err := bootTime()
	if err != nil {
		return err
	}
	var state sharedState
	state.magic = sharedMagic
	state.epoch = int64(now - time.Second)
	content := unsafe.Slice((*byte)(unsafe.Pointer(&state)), sharedSize)
	tmp, err := writeTemporary(path, content)
	if err != nil {
		return err
	}
	err = os.Link(tmp, path)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(tmp))
}

// mapping is one process's view of a device's shared file.
type mapping struct {
	file  *os.File // also carries the lock
	bytes []byte
	state *sharedState

	// The clock of all processes is CLOCK_BOOTTIME. It is read once; from then
	// on Go's monotonic clock gives the distance at a fraction of the cost.
	base      time.Time
	baseTicks uint64
}

func openMapping(dir, uuid string) (*mapping, error) {
	file, err := os.OpenFile(sharedPath(dir, uuid), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the accounting file of GPU %s: %w", uuid, err)
	}
	m, err := mapFile(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the accounting file of GPU %s: %w", uuid, err), file.Close())
	}
	return m, nil
}

func mapFile(file *os.File) (*mapping, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(sharedSize) {
		return nil, fmt.Errorf("%s has %d bytes instead of %d; it is not an accounting file of this version", file.Name(), info.Size(), sharedSize)
	}
	bytes, err := unix.Mmap(int(file.Fd()), 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	m := &mapping{file: file, bytes: bytes, state: (*sharedState)(unsafe.Pointer(&bytes[0]))}
	if m.state.magic != sharedMagic {
		return nil, errors.Join(fmt.Errorf("%s is not an accounting file", file.Name()), unix.Munmap(bytes))
	}
	now, err := bootTime()
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(bytes))
	}
	m.base = time.Now()
	m.baseTicks = uint64((int64(now) - m.state.epoch) / int64(tick))
	return m, nil
}

func (m *mapping) close() error {
	err := unix.Munmap(m.bytes)
	m.bytes, m.state = nil, nil
	return errors.Join(err, m.file.Close())
}

func bootTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot-time clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// ticksAt converts a time of this process to the shared clock.
func (m *mapping) ticksAt(t time.Time) uint64 {
	return uint64(max(0, int64(m.baseTicks)+int64(t.Sub(m.base)/tick)))
}

func (m *mapping) now() uint64 { return m.ticksAt(time.Now()) }

// underLock runs f while no other process claims, frees or reaps a slot. The
// kernel releases the lock of a process that dies.
func (m *mapping) underLock(f func() error) error {
	fd := int(m.file.Fd())
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", m.file.Name(), err)
		}
	}
	err := f()
	return errors.Join(err, unix.Flock(fd, unix.LOCK_UN))
}
