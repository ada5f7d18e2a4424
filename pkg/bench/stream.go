package bench

import "context"

// Streamer is a Requester whose requests bring any number of responses one
// after the other, such as those of a decoupled model or the events of a
// generated text.
type Streamer interface {
	Requester
	// DoStream is Do that calls arrived for each response as soon as it is
	// there, with the number of tokens that it holds, 0 where tokens mean
	// nothing. It must not call arrived after it has returned.
	DoStream(ctx context.Context, seq uint64, arrived func(tokens int)) (inferences int, err error)
}

// responses are those of one worker's request in flight. They count once the
// request has succeeded. The memory is reused; it grows with the longest
// request.
type responses struct {
	clock  clock
	at     []int64 // when each arrived
	tokens uint64
}

func (r *responses) arrived(tokens int) {
	r.at = append(r.at, r.clock.now())
	r.tokens += uint64(max(0, tokens))
}

// do sends one request through the worker's Requester; streamed are its
// responses, nil if the Requester has only one per request.
func (w *worker) do(ctx context.Context, seq uint64) (inferences int, streamed *responses, err error) {
	s, ok := w.slot.requester.(Streamer)
	if !ok {
		inferences, err = w.slot.requester.Do(ctx, seq)
		return inferences, nil, err
	}
	if w.responses == nil {
		w.responses = &responses{clock: w.run.clock}
		w.arrived = w.responses.arrived
	}
	w.responses.at, w.responses.tokens = w.responses.at[:0], 0
	inferences, err = s.DoStream(ctx, seq, w.arrived)
	return inferences, w.responses, err
}

// streamTally is what the responses of completed streaming requests add up to.
type streamTally struct {
	requests, responses, tokens uint64
	// first counts from the due time, gap from one response of a request to
	// its next. perRequest holds numbers of responses.
	first, gap, perRequest histogram
}

func (s *streamTally) record(due int64, r *responses) {
	s.requests++
	s.responses += uint64(len(r.at))
	s.tokens += r.tokens
	s.perRequest.record(int64(len(r.at)))
	for i, at := range r.at {
		if i == 0 {
			s.first.record(at - due)
		} else {
			s.gap.record(at - r.at[i-1])
		}
	}
}

func (s *streamTally) merge(from *streamTally) {
	s.requests += from.requests
	s.responses += from.responses
	s.tokens += from.tokens
	s.first.merge(&from.first)
	s.gap.merge(&from.gap)
	s.perRequest.merge(&from.perRequest)
}

func (s *streamTally) reset() {
	s.first.reset()
	s.gap.reset()
	s.perRequest.reset()
	*s = streamTally{first: s.first, gap: s.gap, perRequest: s.perRequest}
}

// Stream is what the responses of completed streaming requests add up to.
// Responses of requests that failed in the middle are not part of it.
type Stream struct {
	// Requests that completed, and their Responses and Tokens.
	Requests, Responses, Tokens uint64
	// FirstResponse is from the due time of a request to its first response,
	// of those that had any.
	FirstResponse Latency
	// Gap is from one response of a request to its next.
	Gap Latency
	// Responses of one request: the least, the median and the most.
	MinResponses, MedianResponses, MaxResponses uint64
}

// result is nil if no streaming request completed.
func (s *streamTally) result() *Stream {
	if s.requests == 0 {
		return nil
	}
	return &Stream{
		Requests: s.requests, Responses: s.responses, Tokens: s.tokens,
		FirstResponse: Latency{s.first}, Gap: Latency{s.gap},
		MinResponses: uint64(s.perRequest.min), MedianResponses: uint64(s.perRequest.quantile(0.5)), MaxResponses: uint64(s.perRequest.max),
	}
}
