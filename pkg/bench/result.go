package bench

import "time"

// Result is what one run found. Issued = Completed + Failed + Canceled.
type Result struct {
	// Start is the wall-clock time of the first due time; End is Start +
	// Elapsed by the monotonic clock, so a step of the wall clock during the
	// run moves neither.
	Start, End time.Time
	// Elapsed is from the first due time to the end of the last request, or to
	// the end of the offered time if that is later.
	Elapsed time.Duration
	// Offered is the time over which requests were offered: the duration, or
	// what the number of requests takes at the rate, or until the interrupt.
	// In a closed loop it is Elapsed, or the duration if that is shorter.
	Offered time.Duration
	// Load is the load with its defaults filled in.
	Load Load
	// Interrupted tells that the context ended before the load did.
	Interrupted bool

	// Issued is the number of requests started.
	Issued uint64
	// Completed succeeded; Failed ended with an error, see Errors.
	Completed, Failed uint64
	// Canceled were in flight when the drain after an interrupt ended. They are
	// in no distribution but SendLag.
	Canceled uint64
	// Unsent requests of an open loop were due and never started, because
	// MaxInFlight was reached or the client was too slow until the end.
	Unsent uint64
	// Stuck requests did not return although their context had ended; they are
	// included in Failed (class stuck) or, after an interrupt, in Canceled.
	Stuck uint64
	// Inferences of the completed requests.
	Inferences uint64
	// MaxInFlightReached is the most requests that were in flight at once; in a
	// closed loop, the number of workers that sent any.
	MaxInFlightReached uint64
	// Paused is the time that workers of a closed loop together waited before
	// trying a server again that could not be reached, see Runner.Run.
	Paused time.Duration

	// Response is from the due time and Service from the send to the end of
	// completed requests; they are the same in a closed loop.
	Response, Service Latency
	// SendLag is from the due time to the send of every request of an open
	// loop, whatever became of it; making a new worker's connection is part of
	// it if the Factory does that. Empty in a closed loop.
	SendLag Latency
	// FailedResponse is Response of the failed requests.
	FailedResponse Latency
	// Stream is what the responses of streaming requests add up to, nil if none
	// completed.
	Stream *Stream
	// Errors of the failed requests by class, the most frequent first.
	Errors []ErrorCount
	// Series is in time order without gaps.
	Series []Second
	// CPU is what the run took of this machine, nil where the operating system
	// doesn't tell.
	CPU *ClientCPU
	// Stability of the run by windows, nil for one too short to tell.
	Stability *Stability
}

// RequestRate is Completed per second of Elapsed.
func (r *Result) RequestRate() float64 { return perSecond(r.Completed, r.Elapsed) }

// InferenceRate is Inferences per second of Elapsed.
func (r *Result) InferenceRate() float64 { return perSecond(r.Inferences, r.Elapsed) }

// OfferedRate is the requests that were due (Issued + Unsent) per second of
// Offered.
func (r *Result) OfferedRate() float64 { return perSecond(r.Issued+r.Unsent, r.Offered) }

// ErrorRatio is Failed / (Completed + Failed), 0 if no request finished.
func (r *Result) ErrorRatio() float64 {
	if r.Completed+r.Failed == 0 {
		return 0
	}
	return float64(r.Failed) / float64(r.Completed+r.Failed)
}

// ScheduleKept tells that every due request of an open loop was sent.
func (r *Result) ScheduleKept() bool { return r.Unsent == 0 }

func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Progress is a glance at a run, given once per second and once at its end.
type Progress struct {
	// Elapsed since the start; Total is the duration, 0 if the load has none.
	Elapsed, Total time.Duration
	// TotalRequests is the number of requests asked for, 0 if without limit.
	TotalRequests                       uint64
	Issued, Completed, Failed, InFlight uint64
	// RatePerSecond of completed requests and P99 of their response times since
	// the previous Progress; of the whole run if Final.
	RatePerSecond float64
	P99           time.Duration
	Final         bool
}
