package bench

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// starvedPacer is one on a machine with too little CPU: it wakes late.
type starvedPacer struct {
	pacer
	late time.Duration
}

func (p *starvedPacer) wait(due int64, stop <-chan struct{}) {
	p.pacer.wait(due, stop)
	time.Sleep(p.late)
}

// TestASlowClientIsSeen: whatever makes the client late is in the response time
// and in the send lag, not in the service time, and the verdict names the client
// although the server's own figures are healthy.
func TestASlowClientIsSeen(t *testing.T) {
	const answer = time.Millisecond
	answering := func(ctx context.Context, _ uint64) (int, error) { return after(ctx, answer) }
	healthy := &ServerFacts{ComputeInfer: answer}
	for _, tc := range []struct {
		name    string
		late    time.Duration // each wake-up
		prepare time.Duration // each request's data
		rate    float64
		lag     time.Duration // p50 of the send lag, 0 for growing
		kind    VerdictKind
	}{
		{"in time", 0, 0, 50, 0, VerdictHealthy},
		{"late each time, the rate is kept", 10 * time.Millisecond, 0, 50, 10 * time.Millisecond, VerdictClientBound},
		{"too late to keep the rate", 10 * time.Millisecond, 0, 1000, 0, VerdictClientBound},
		{"data takes longer than the schedule gives", 0, 5 * time.Millisecond, 1000, 0, VerdictClientBound},
		{"data fits the schedule", 0, 5 * time.Millisecond, 50, 0, VerdictHealthy},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newVirtual(func(int) (Requester, error) {
				if tc.prepare == 0 {
					return requester(answering), nil
				}
				return &preparingFirst{preparing{cost: tc.prepare, matched: &atomic.Uint64{}}, answering}, nil
			})
			r.pacer = func(_ Pacing, c clock) pacer { return &starvedPacer{newTimerPacer(c), tc.late} }
			defer r.Close()
			load := Load{RatePerSecond: tc.rate, Duration: 5 * time.Second, MaxInFlight: 64, Timeout: time.Minute}
			res, err := r.Run(t.Context(), load, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCounts(t, res)
			if res.Service.Min() != answer || res.Service.Max() != answer {
				t.Errorf("%s: service time %s", tc.name, res.Service)
			}
			// The schedule's due times all happened: sent, or said to be unsent.
			if due := uint64(tc.rate * 5); res.Issued+res.Unsent != due {
				t.Errorf("%s: %d issued and %d unsent of %d", tc.name, res.Issued, res.Unsent, due)
			}
			verdict := Judge(Facts{Result: res, Server: healthy})
			if verdict.Kind != tc.kind {
				t.Errorf("%s: the verdict is %s: %s %v", tc.name, verdict.Kind, verdict.Summary, verdict.Evidence)
			}
			kept := res.Unsent == 0
			switch {
			case tc.kind == VerdictHealthy:
				if !kept || res.SendLag.Quantile(0.99) != 0 || res.Response.Quantile(0.99) > answer*1001/1000 {
					t.Errorf("%s: lag %s, response %s, %d unsent", tc.name, res.SendLag, res.Response, res.Unsent)
				}
			case tc.lag > 0:
				if lag, response := res.SendLag.Min(), res.Response.Min(); !kept || lag != tc.lag || response != tc.lag+answer {
					t.Errorf("%s: lag %s, response %s, %d unsent", tc.name, lag, response, res.Unsent)
				}
			default:
				// Behind by ever more: at the end by seconds.
				if kept || res.SendLag.Max() < 3*time.Second || res.Response.Max() != res.SendLag.Max()+answer {
					t.Errorf("%s: lag %s, response %s, %d unsent", tc.name, res.SendLag, res.Response, res.Unsent)
				}
			}
		})
	}
}

// preparingFirst takes time to prepare and then answers.
type preparingFirst struct {
	preparing
	answer requester
}

func (p *preparingFirst) Do(ctx context.Context, seq uint64) (int, error) { return p.answer(ctx, seq) }
