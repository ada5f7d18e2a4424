package check

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultTimeout = 10 * time.Second
	DefaultPause   = 500 * time.Millisecond
	DefaultGrace   = time.Second
)

// Options bound a run.
type Options struct {
	// Timeout bounds one attempt of one checker; 0 is DefaultTimeout.
	Timeout time.Duration
	// Grace is how long a checker may take to return once its time is over,
	// before it is left behind; 0 is DefaultGrace.
	Grace time.Duration
	// RetryUntil is when a checker with transient findings is asked no more. The
	// zero time means one attempt each.
	RetryUntil time.Time
	// Insist asks again whatever is wrong or could not be asked, not only what is
	// known to pass by waiting.
	Insist bool
	// Pause is between two attempts; 0 is DefaultPause.
	Pause time.Duration
}

// Observer hears of a run as it goes on. Calls come one at a time. Either field
// may be nil.
type Observer struct {
	// Attempt is called after each attempt of each checker.
	Attempt func(category string, r Result)
	// Category is called when a category is complete.
	Category func(CategoryResult)
}

// Run asks everything. It returns when all is answered, or ctx has ended; what
// was not asked by then is skipped.
func Run(ctx context.Context, categories []Category, options Options, observer Observer) *Report {
	began := time.Now()
	report := &Report{Schema: Schema, Time: began.UTC()}
	r := &run{options: options.withDefaults(), observer: observer, done: map[string]*pending{}}
	for _, c := range categories {
		report.Categories = append(report.Categories, r.category(ctx, c))
	}
	report.Interrupted = ctx.Err() != nil
	report.TookSeconds = time.Since(began).Seconds()
	report.count()
	return report
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&o.Timeout, DefaultTimeout}, {&o.Pause, DefaultPause}, {&o.Grace, DefaultGrace}} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return o
}

// run is one run's state.
type run struct {
	options  Options
	done     map[string]*pending
	mu       sync.Mutex // one call of the observer at a time
	observer Observer
}

// pending is a checker that others may wait for; result is set before ended is
// closed.
type pending struct {
	ended  chan struct{}
	result Result
}

func (r *run) category(ctx context.Context, c Category) CategoryResult {
	out := CategoryResult{Name: c.Name, Checks: make([]Result, len(c.Checkers))}
	var wg sync.WaitGroup
	for i, k := range c.Checkers {
		// Only what stands before it can be needed, so that none waits for itself.
		needs := make([]*pending, len(k.Needs))
		for n, id := range k.Needs {
			needs[n] = r.done[id]
		}
		p := &pending{ended: make(chan struct{})}
		r.done[k.ID] = p
		wg.Go(func() {
			p.result = r.checker(ctx, c.Name, k, needs)
			out.Checks[i] = p.result
			close(p.ended)
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.observer.Category != nil {
		r.observer.Category(out)
	}
	return out
}

// enough says that a result need not be asked for again.
func (r *run) enough(last Result) bool {
	if r.options.Insist {
		return last.State == StateOK || last.State == StateSkipped
	}
	return last.Settled()
}

// checker waits for what k needs and asks until the answer is good or the time
// is over.
func (r *run) checker(ctx context.Context, category string, k Checker, needs []*pending) Result {
	began := time.Now()
	last := Result{ID: k.ID, Description: k.Description}
	if reason := await(ctx, k.Needs, needs); reason != "" {
		last.State, last.SkipReason = StateSkipped, reason
		return last
	}
	for attempts := 1; ; attempts++ {
		now := judge(k, r.attempt(ctx, k))
		now.Attempts, now.TookSeconds = attempts, time.Since(began).Seconds()
		if ctx.Err() != nil && now.State != StateOK && now.State != StateSkipped {
			if last.Attempts > 0 {
				return last // what it found, not that it was cut short
			}
			return now
		}
		last = now
		r.mu.Lock()
		if r.observer.Attempt != nil {
			r.observer.Attempt(category, last)
		}
		r.mu.Unlock()
		if r.enough(last) || time.Until(r.options.RetryUntil) < r.options.Pause {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(r.options.Pause):
		}
	}
}

// await waits for other checkers and says why the one that needs them is
// pointless; "" when it isn't.
func await(ctx context.Context, ids []string, needs []*pending) string {
	for i, p := range needs {
		if p == nil {
			return "it needs " + ids[i] + ", which is not asked before it"
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return "interrupted"
		}
		switch p.result.State {
		case StateFailed:
			return "needs that " + p.result.Description
		case StateSkipped:
			return p.result.SkipReason
		}
	}
	if ctx.Err() != nil {
		return "interrupted"
	}
	return ""
}

// attempt asks once. A checker that panics or hangs is a finding, not the end.
func (r *run) attempt(ctx context.Context, k Checker) Outcome {
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	answer := make(chan Outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answer <- Outcome{Unknown: true, Findings: []Finding{{
					What: fmt.Sprintf("the check %s failed by itself: %v", k.ID, p), Why: "this is a defect of the check and says nothing of the cluster",
				}}}
			}
		}()
		answer <- k.Check(ctx)
	}()
	select {
	case o := <-answer:
		return o
	case <-ctx.Done():
	}
	grace := time.NewTimer(r.options.Grace)
	defer grace.Stop()
	select {
	case o := <-answer:
		return o
	case <-grace.C:
		return Outcome{Unknown: true, Transient: true, Findings: []Finding{{
			What: fmt.Sprintf("the check %s did not end within %s and was cut off", k.ID, r.options.Timeout),
		}}}
	}
}

// judge turns an answer into a result.
func judge(k Checker, o Outcome) Result {
	r := Result{ID: k.ID, Description: k.Description, Detail: o.Detail, State: StateOK}
	if o.Skipped != "" {
		r.State, r.SkipReason = StateSkipped, o.Skipped
		return r
	}
	if len(o.Findings) == 0 {
		return r
	}
	r.State, r.Transient, r.Unknown = StateWarning, o.Transient, o.Unknown
	for _, f := range o.Findings {
		if f.Level == "" {
			f.Level = k.Severity
		}
		if f.Level == "" {
			f.Level = Fatal
		}
		if f.Command == "" {
			f.Command = k.Hint
		}
		f.What = strings.TrimSpace(f.What)
		if f.Level == Fatal {
			r.State = StateFailed
		}
		r.Findings = append(r.Findings, f)
	}
	return r
}
