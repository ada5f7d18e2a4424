package bench

import "time"

// ClientCPU is what a run took of this process's processors, by the kernel's
// accounts of all its threads.
type ClientCPU struct {
	// Used is CPU time; Waited is how long threads were ready to run and had to
	// wait for a processor. A request that such a thread reads late seems slow,
	// although the server is not.
	Used, Waited time.Duration
	// DelayMean is an estimate of what that added to a request: the mean of the
	// waits, since a thread that comes late is late for all that it finds, or
	// what all of them are per completed request, if that is more.
	DelayMean time.Duration
}

// usage is the reading of a moment. turns counts how often a thread was given a
// processor, after a wait or without one.
type usage struct {
	used, waited time.Duration
	turns        uint64
}

// clientCPU is what was used between two readings.
func clientCPU(before, after usage, completed uint64) *ClientCPU {
	c := &ClientCPU{Used: max(0, after.used-before.used), Waited: max(0, after.waited-before.waited)}
	for _, n := range []uint64{completed, after.turns - min(before.turns, after.turns)} {
		if n > 0 {
			c.DelayMean = max(c.DelayMean, c.Waited/time.Duration(n))
		}
	}
	return c
}
