package triton

// sequenceState is a sender's place in its current sequence.
type sequenceState struct {
	open   bool
	number uint64
	id     uint64
	step   int
}

// sequenceStep is what one request of a sequence carries.
type sequenceStep struct {
	id         uint64
	start, end bool
	variant    int
}

// begin opens a sequence unless one is open.
func (q *sequenceState) begin(spec *RequestSpec) {
	if !q.open {
		q.number, q.id = spec.sequence.next()
		q.open, q.step = true, 0
	}
}

// current is the step to send next. A sequence plays one of the file's streams
// from its first step to its last; without a file all steps are alike.
func (q *sequenceState) current(spec *RequestSpec) sequenceStep {
	length, first := spec.sequence.length, 0
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
	if failed || sent.end {
		q.open = false
	}
}
