package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAClientThatReadsLateIsSeen: where the process's threads had to wait for a
// processor, the verdict names the client, in both loops, although starts were in
// time and the server's figures are healthy.
func TestAClientThatReadsLateIsSeen(t *testing.T) {
	const answer = 10 * time.Millisecond
	server := &ServerFacts{ComputeInfer: answer}
	for _, tc := range []struct {
		name   string
		load   Load
		known  bool
		waited time.Duration // in the run of 4 s
		turns  uint64
		delay  time.Duration
		kind   VerdictKind
	}{
		{"closed, idle machine", Load{Concurrency: 1}, true, 4 * time.Millisecond, 1000, 10 * time.Microsecond, VerdictHealthy},
		{"closed, a hog beside", Load{Concurrency: 1}, true, 2 * time.Second, 1000, 5 * time.Millisecond, VerdictClientBound},
		{"16 read at a time, a hog beside", Load{Concurrency: 16}, true, 2 * time.Second, 400, 5 * time.Millisecond, VerdictClientBound},
		{"16 in flight, busy and soon served", Load{Concurrency: 16}, true, 2 * time.Second, 6400, 312500 * time.Nanosecond, VerdictComputeBound},
		{"open, idle machine", Load{RatePerSecond: 50}, true, 2 * time.Millisecond, 1000, 10 * time.Microsecond, VerdictHealthy},
		{"open, a hog beside", Load{RatePerSecond: 50}, true, time.Second, 1000, 5 * time.Millisecond, VerdictClientBound},
		{"not known", Load{Concurrency: 1}, false, 2 * time.Second, 1000, 0, VerdictHealthy},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newVirtual(always(func(ctx context.Context, _ uint64) (int, error) { return after(ctx, answer) }))
			reading := usage{time.Second, time.Second, 100}
			r.usage = func() (usage, bool) {
				now := reading
				reading = usage{reading.used + time.Second, reading.waited + tc.waited, reading.turns + tc.turns}
				return now, tc.known
			}
			defer r.Close()
			tc.load.Duration, tc.load.Timeout = 4*time.Second, time.Minute
			res, err := r.Run(t.Context(), tc.load, nil)
			if err != nil {
				t.Fatal(err)
			}
			verdict := Judge(Facts{Result: res, Server: server})
			if verdict.Kind != tc.kind {
				t.Errorf("%s: the verdict is %s: %s %v", tc.name, verdict.Kind, verdict.Summary, verdict.Evidence)
			}
			switch c := res.CPU; {
			case (c != nil) != tc.known:
				t.Errorf("%s: the accounts are %+v", tc.name, c)
			case c != nil && *c != ClientCPU{Used: time.Second, Waited: tc.waited, DelayMean: tc.delay}:
				t.Errorf("%s: the accounts are %+v", tc.name, c)
			}
		})
	}
}
