package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// streamer answers request seq with responses at the given times, and fails
// requests for which fails says so, after them.
type streamer struct {
	times  func(seq uint64) []time.Duration
	fails  func(seq uint64) bool
	tokens int
}

func (streamer) Do(context.Context, uint64) (int, error) { panic("a Streamer's Do is not used") }
func (streamer) Close() error                            { return nil }

func (s streamer) DoStream(ctx context.Context, seq uint64, arrived func(int)) (int, error) {
	begin := time.Now()
	for _, at := range s.times(seq) {
		if n, err := after(ctx, at-time.Since(begin)); err != nil {
			return n, err
		}
		arrived(s.tokens)
	}
	if s.fails != nil && s.fails(seq) {
		return 0, errors.New("broke off")
	}
	return after(ctx, time.Millisecond) // the final marker
}

func TestStreamsAreRecordedByResponse(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s := streamer{tokens: 2, times: func(seq uint64) []time.Duration {
			if seq%2 == 0 {
				return []time.Duration{10 * ms, 15 * ms, 25 * ms}
			}
			return []time.Duration{20 * ms}
		}}
		res := runVirtual(t, t.Context(), func(int) (Requester, error) { return s, nil }, Load{Concurrency: 1, Requests: 10})
		st := res.Stream
		if st == nil {
			t.Fatal("nothing was recorded")
		}
		if st.Requests != 10 || st.Responses != 20 || st.Tokens != 40 || st.MinResponses != 1 || st.MaxResponses != 3 || st.MedianResponses != 1 {
			t.Errorf("got %+v", st)
		}
		if f := st.FirstResponse; f.Count() != 10 || f.Min() != 10*ms || f.Max() != 20*ms || f.Mean() != 15*ms {
			t.Errorf("first responses: %s", f)
		}
		if g := st.Gap; g.Count() != 10 || g.Min() != 5*ms || g.Max() != 10*ms {
			t.Errorf("gaps: %s", g)
		}
		if res.Response.Min() != 21*ms || res.Response.Max() != 26*ms {
			t.Errorf("responses end at the final marker: %s", res.Response)
		}
	})
}

// TestFirstResponseCountsFromTheSchedule: in an open loop behind a slow request,
// the wait for a free place is part of the time to the first response.
func TestFirstResponseCountsFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := streamer{times: func(uint64) []time.Duration { return []time.Duration{30 * time.Millisecond} }}
		res := runVirtual(t, t.Context(), func(int) (Requester, error) { return s, nil }, Load{RatePerSecond: 100, Requests: 2, MaxInFlight: 1})
		// The second was due at 10 ms and sent at 31 ms.
		if f := res.Stream.FirstResponse; f.Min() != 30*time.Millisecond || f.Max() != 51*time.Millisecond {
			t.Errorf("got %s", f)
		}
	})
}

func TestFailedStreamsLeaveNoResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := streamer{
			times: func(uint64) []time.Duration { return []time.Duration{time.Millisecond, 2 * time.Millisecond} },
			fails: func(seq uint64) bool { return seq < 3 },
		}
		res := runVirtual(t, t.Context(), func(int) (Requester, error) { return s, nil }, Load{Concurrency: 2, Requests: 5})
		if res.Failed != 3 || res.Stream.Requests != 2 || res.Stream.Responses != 4 || res.Stream.Gap.Count() != 2 {
			t.Errorf("%d failed; %+v", res.Failed, res.Stream)
		}
		s.fails = func(uint64) bool { return true }
		res = runVirtual(t, t.Context(), func(int) (Requester, error) { return s, nil }, Load{Concurrency: 2, Requests: 5})
		if res.Stream != nil {
			t.Errorf("no request completed, but %+v", res.Stream)
		}
	})
}

func TestRequestsWithoutStreamsHaveNone(t *testing.T) {
	res := runVirtual(t, t.Context(), newNoop, Load{Concurrency: 1, Requests: 3})
	if res.Stream != nil {
		t.Errorf("got %+v", res.Stream)
	}
}
