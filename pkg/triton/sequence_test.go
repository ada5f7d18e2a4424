package triton

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func sequenceModel(t *testing.T) *strictModel {
	m := allTypesModel(4, []Datatype{Int32})
	m.cfg.Input[0].Dims = []int64{1}
	m.cfg.SequenceBatching = sequenceConfig(t, false)
	return m
}

// TestSequencesVaryAroundTheirMean: every length of the range occurs, none
// beyond it, the mean is what was asked for, and a seed repeats them.
func TestSequencesVaryAroundTheirMean(t *testing.T) {
	plan := newSequencePlan(10, 0.3, 7, false, time.Second)
	again := newSequencePlan(10, 0.3, 7, false, time.Second)
	seen, sum := map[int]int{}, 0
	for n := range uint64(7000) {
		length := plan.lengthOf(n)
		seen[length]++
		sum += length
		if again.lengthOf(n) != length {
			t.Fatalf("sequence %d is %d long, then %d", n, length, again.lengthOf(n))
		}
	}
	for length := 7; length <= 13; length++ {
		if seen[length] < 850 || seen[length] > 1150 {
			t.Errorf("%d of 7000 sequences are %d long", seen[length], length)
		}
	}
	if len(seen) != 7 || sum < 69_000 || sum > 71_000 {
		t.Errorf("lengths %v, sum %d", seen, sum)
	}
	if short := newSequencePlan(1, 1, 7, false, time.Second); min(short.lengthOf(0), short.lengthOf(1), short.lengthOf(2), short.lengthOf(3)) < 1 {
		t.Error("a sequence without requests")
	}
}

// TestSequencesOfManySendersStayApart: each sequence is sent in order by one
// sender, and no id is used twice or is 0.
func TestSequencesOfManySendersStayApart(t *testing.T) {
	m := sequenceModel(t)
	spec := build(t, m, RequestOptions{SequenceLength: 5, SequenceLengthVariation: 0.4})
	dial := m.serveHTTP(t)
	const senders, each = 8, 60
	owner := make([]map[string]bool, senders)
	var wg sync.WaitGroup
	for i := range senders {
		owner[i] = map[string]bool{}
		wg.Go(func() {
			s, err := NewHTTPSender(dial, spec, HTTPOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = s.Close() }()
			state := &s.(*httpSender).request
			for n := range uint64(each) {
				seq := uint64(i)*each + n
				s.Prepare(seq)
				owner[i][fmt.Sprint(state.step.id)] = true
				if _, err := s.Send(t.Context(), seq); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	users := map[string]int{}
	for _, ids := range owner {
		for id := range ids {
			users[id]++
		}
	}
	for id, n := range users {
		if n != 1 || id == "0" {
			t.Errorf("sequence %s was sent by %d senders", id, n)
		}
	}
	// As the server saw them: start first, end last, in one run each.
	open, ended := map[string]bool{}, map[string]bool{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.received {
		id := fmt.Sprint(r.parameters["sequence_id"])
		if start := r.parameters["sequence_start"] == true; start == open[id] || ended[id] {
			t.Errorf("sequence %s: start %t while open %t, ended %t", id, start, open[id], ended[id])
		}
		open[id] = true
		ended[id] = r.parameters["sequence_end"] == true
	}
	if len(open) != len(users) || len(open) < senders*each/7 {
		t.Errorf("the server saw %d sequences, the senders sent %d", len(open), len(users))
	}
}

// TestAnIdleSequenceIsNotContinued: the server may have forgotten it.
func TestAnIdleSequenceIsNotContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sequenceModel(t)
		m.cfg.SequenceBatching.MaxSequenceIdleMicroseconds = 1_000_000
		r := request{spec: build(t, m, RequestOptions{SequenceLength: 100})}
		send := func(seq uint64) sequenceStep {
			_, step, _ := r.choose(seq)
			sent := *step
			r.sent(false)
			return sent
		}
		first := send(0)
		time.Sleep(400 * time.Millisecond)
		if next := send(1); next.id != first.id || next.start {
			t.Errorf("after 400 ms: %+v, then %+v", first, next)
		}
		time.Sleep(600 * time.Millisecond)
		second := send(2)
		if second.id == first.id || !second.start {
			t.Errorf("after 600 ms: %+v, then %+v", first, second)
		}
		// Prepared in time, sent too late.
		r.choose(3)
		time.Sleep(600 * time.Millisecond)
		if late, step, built := r.choose(3); built || !step.start || step.id == second.id {
			t.Errorf("built %t, variant %d, %+v", built, late, step)
		}
	})
}
