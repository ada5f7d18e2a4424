package triton

import (
	"context"
	"net"
)

// Sender sends one worker's requests, one at a time. It is not safe for
// concurrent use.
type Sender interface {
	// Send sends request seq and waits for its answer. Random data depends on
	// the spec's seed and seq only. Every error has a method ErrorClass and
	// leaves the sender usable.
	Send(ctx context.Context, seq uint64) (Reply, error)
	// Prepare makes request seq's data ahead of Send with the same seq, so that
	// its cost is not part of the time that Send takes. It is optional.
	Prepare(seq uint64)
	// Close frees the sender's connection.
	Close() error
}

// DialFunc opens a connection to the server, whatever the address says.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// request is the choice of what to send next, common to both protocols.
type request struct {
	spec     *RequestSpec
	sequence sequenceState

	ready   bool
	seq     uint64
	step    sequenceStep
	variant int
}

// choose picks the variant for request seq; built is true if seq is the one
// that was prepared last.
func (r *request) choose(seq uint64) (variant int, step *sequenceStep, built bool) {
	if r.ready && r.seq == seq && (r.spec.sequence == nil || !r.sequence.stale(r.spec)) {
		return r.variant, nil, true
	}
	r.ready, r.seq, r.variant = true, seq, 0
	if r.spec.sequence == nil {
		r.variant = int(seq % uint64(len(r.spec.variants)))
		return r.variant, nil, false
	}
	r.sequence.begin(r.spec)
	r.step = r.sequence.current(r.spec)
	if r.spec.file != nil {
		r.variant = r.step.variant
	}
	return r.variant, &r.step, false
}

// sent moves on after a request.
func (r *request) sent(failed bool) {
	r.ready = false
	if r.spec.sequence != nil {
		r.sequence.done(r.step, failed)
	}
}
