package triton

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// DefaultSequenceLength is the number of requests of a sequence unless set.
const DefaultSequenceLength = 20

// sequencePlan is shared by senders, so that no two sequences share an id.
type sequencePlan struct {
	length   int
	spread   int // lengths are within length ± spread
	seed     uint64
	textID   bool
	idle     time.Duration // after which the server forgets a sequence
	sequence atomic.Uint64
	baseID   uint64
}

func newSequencePlan(length int, variation float64, seed uint64, textID bool, idle time.Duration) *sequencePlan {
	return &sequencePlan{
		length: length, spread: int(math.Round(float64(length) * variation)), seed: seed, textID: textID, idle: idle,
		// Ids below 2^52 survive every JSON reader. They start anywhere, so that a
		// sequence that an earlier run left open isn't met again.
		baseID: rand.Uint64N(1<<52-1<<40) + 1,
	}
}

// next starts a sequence: its number and its id, which is never 0.
func (p *sequencePlan) next() (number, id uint64) {
	number = p.sequence.Add(1) - 1
	return number, p.baseID + number
}

// lengthOf is the number of requests of a sequence: uniform over length ±
// spread, by its number and the seed, and at least 1.
func (p *sequencePlan) lengthOf(number uint64) int {
	if p.spread == 0 {
		return p.length
	}
	draw := splitmix(splitmix(p.seed) ^ number)
	return max(1, p.length-p.spread+int(draw%uint64(2*p.spread+1)))
}

// sequenceState is a sender's place in its current sequence.
type sequenceState struct {
	open   bool
	number uint64
	id     uint64
	step   int
	last   time.Time // when the last request of it was answered
}

// stale tells that the server may have forgotten the sequence: a sender that
// had nothing to do for most of the time that it is kept begins another.
func (q *sequenceState) stale(spec *RequestSpec) bool {
	return q.open && q.step > 0 && time.Since(q.last) > spec.sequence.idle/2
}

// sequenceStep is what one request of a sequence carries.
type sequenceStep struct {
	id         uint64
	start, end bool
	variant    int
}

// begin opens a sequence unless a live one is open.
func (q *sequenceState) begin(spec *RequestSpec) {
	if !q.open || q.stale(spec) {
		q.number, q.id = spec.sequence.next()
		q.open, q.step = true, 0
	}
}

// current is the step to send next. A sequence plays one of the file's streams
// from its first step to its last; without a file all steps are alike.
func (q *sequenceState) current(spec *RequestSpec) sequenceStep {
	length, first := spec.sequence.lengthOf(q.number), 0
	if spec.file != nil {
		s := spec.file.streams[q.number%uint64(len(spec.file.streams))]
		length, first = s.length, s.first+q.step
	}
	return sequenceStep{id: q.id, start: q.step == 0, end: q.step == length-1, variant: first}
}

// done moves on after an answer; a failed request ends its sequence, as the
// server may not know it any more.
func (q *sequenceState) done(sent sequenceStep, failed bool) {
	q.step++
	q.last = time.Now()
	if failed || sent.end {
		q.open = false
	}
}
