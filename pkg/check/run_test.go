package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fixed(id string, o Outcome, needs ...string) Checker {
	return Checker{ID: id, Description: id + " is well", Needs: needs, Check: func(context.Context) Outcome { return o }}
}

func find(t *testing.T, r *Report, id string) Result {
	t.Helper()
	for _, c := range r.Categories {
		for _, k := range c.Checks {
			if k.ID == id {
				return k
			}
		}
	}
	t.Fatalf("no result of %s", id)
	return Result{}
}

// TestFailureStopsOnlyWhatNeedsIt: also across categories and through a skip.
func TestFailureStopsOnlyWhatNeedsIt(t *testing.T) {
	r := Run(t.Context(), []Category{
		{Name: "one", Checkers: []Checker{
			fixed("first", Wrong(Finding{What: "broken"})),
			fixed("second", OK("2"), "first"),
			fixed("other", OK("fine")),
			fixed("warns", Wrong(Finding{What: "hm", Level: Warning})),
		}},
		{Name: "two", Checkers: []Checker{
			fixed("third", OK(""), "second"), fixed("after-warning", OK(""), "warns"), fixed("alone", OK("")),
			fixed("needs-unknown", OK(""), "nothing-of-that-name"), fixed("needs-later", OK(""), "last"), fixed("last", OK(""), "last"),
		}},
	}, Options{}, Observer{})
	for id, want := range map[string]State{
		"first": StateFailed, "second": StateSkipped, "third": StateSkipped, "other": StateOK, "warns": StateWarning,
		"after-warning": StateOK, "alone": StateOK,
		"needs-unknown": StateSkipped, "needs-later": StateSkipped, "last": StateSkipped,
	} {
		if got := find(t, r, id); got.State != want {
			t.Errorf("%s is %s (%s), want %s", id, got.State, got.SkipReason, want)
		}
	}
	if got := find(t, r, "second").SkipReason; got != "needs that first is well" {
		t.Errorf("the reason of a skip is %q", got)
	}
	if got := find(t, r, "third").SkipReason; got != "needs that first is well" {
		t.Errorf("the reason of a skip through a skip is %q", got)
	}
	if r.Success || r.Counts != (Counts{OK: 3, Warnings: 1, Failed: 1, Skipped: 5}) {
		t.Errorf("%+v, success %v", r.Counts, r.Success)
	}
}

// TestCategoryRunsSideBySide: every checker of a category is under way at once,
// and none of the next category is.
func TestCategoryRunsSideBySide(t *testing.T) {
	const n = 8
	var inside, later atomic.Int32
	all := make(chan struct{})
	var first, second Category
	first.Name, second.Name = "first", "second"
	for i := range n {
		first.Checkers = append(first.Checkers, Checker{ID: fmt.Sprint("a", i), Check: func(ctx context.Context) Outcome {
			if inside.Add(1) == n {
				close(all)
			}
			select {
			case <-all:
				return OK(fmt.Sprint(later.Load()))
			case <-ctx.Done():
				return Unknown(ctx.Err())
			}
		}})
		second.Checkers = append(second.Checkers, Checker{ID: fmt.Sprint("b", i), Check: func(context.Context) Outcome {
			later.Add(1)
			return OK("")
		}})
	}
	r := Run(t.Context(), []Category{first, second}, Options{}, Observer{})
	if !r.Success {
		t.Fatalf("%+v", r)
	}
	for i := range n {
		if got := find(t, r, fmt.Sprint("a", i)).Detail; got != "0" {
			t.Errorf("%s checkers of the second category ran with the first", got)
		}
	}
}

// TestHang: a checker that ignores its context is cut off and named; the rest
// is asked.
func TestHang(t *testing.T) {
	release, gone := make(chan struct{}), make(chan struct{})
	r := Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{
		{ID: "stuck", Description: "it ends", Check: func(context.Context) Outcome {
			defer close(gone)
			<-release
			return OK("")
		}},
		fixed("next", OK("")),
	}}, {Name: "d", Checkers: []Checker{fixed("later", OK(""))}}}, Options{Timeout: 10 * time.Millisecond, Grace: 10 * time.Millisecond}, Observer{})
	close(release)
	<-gone
	k := find(t, r, "stuck")
	if k.State != StateFailed || k.Findings[0].What != "the check stuck did not end within 10ms and was cut off" {
		t.Errorf("%+v", k)
	}
	if find(t, r, "next").State != StateOK || find(t, r, "later").State != StateOK {
		t.Errorf("the rest was not asked: %+v", r.Categories)
	}
}

// TestPanic: an error with the checker's name, no crash and no stack trace.
func TestPanic(t *testing.T) {
	r := Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{
		{ID: "wild", Description: "it is calm", Check: func(context.Context) Outcome {
			var m map[string]int
			m["x"] = 1 //nolint:staticcheck // meant to panic
			return OK("")
		}},
		fixed("next", OK("")),
	}}}, Options{}, Observer{})
	k := find(t, r, "wild")
	if k.State != StateFailed || !strings.HasPrefix(k.Findings[0].What, "the check wild failed by itself: ") || strings.Contains(fmt.Sprint(k), "goroutine") {
		t.Errorf("%+v", k)
	}
	if find(t, r, "next").State != StateOK {
		t.Error("the panic stopped the rest")
	}
}

// TestRetry: transient findings are asked again until they pass, others not.
func TestRetry(t *testing.T) {
	var soon, never atomic.Int32
	var mu sync.Mutex
	heard := map[string]int{}
	r := Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{
		{ID: "soon", Check: func(context.Context) Outcome {
			if soon.Add(1) < 3 {
				return Pending("not yet", "", "")
			}
			return OK("there")
		}},
		{ID: "settled", Check: func(context.Context) Outcome {
			never.Add(1)
			return Wrong(Finding{What: "broken for good"})
		}},
	}}}, Options{RetryUntil: time.Now().Add(time.Hour), Pause: time.Millisecond}, Observer{Attempt: func(_ string, r Result) {
		if !mu.TryLock() {
			t.Error("two calls of the observer at once")
			return
		}
		defer mu.Unlock()
		heard[r.ID]++
	}})
	if k := find(t, r, "soon"); k.State != StateOK || k.Attempts != 3 || heard["soon"] != 3 {
		t.Errorf("%+v, heard %d", k, heard["soon"])
	}
	if never.Load() != 1 || heard["settled"] != 1 {
		t.Errorf("a settled failure was asked %d times", never.Load())
	}
}

// TestInsist: what could not be asked, or looks final, is asked again too.
func TestInsist(t *testing.T) {
	var away, broken atomic.Int32
	r := Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{
		{ID: "away", Check: func(context.Context) Outcome {
			if away.Add(1) < 3 {
				return Outcome{Unknown: true, Findings: []Finding{{What: "nobody answers"}}}
			}
			return OK("there")
		}},
		{ID: "broken", Check: func(context.Context) Outcome {
			if broken.Add(1) < 2 {
				return Wrong(Finding{What: "broken"})
			}
			return OK("mended")
		}},
	}}}, Options{RetryUntil: time.Now().Add(time.Hour), Pause: time.Millisecond, Insist: true}, Observer{})
	for id, attempts := range map[string]int{"away": 3, "broken": 2} {
		if k := find(t, r, id); k.State != StateOK || k.Attempts != attempts {
			t.Errorf("%s: %+v", id, k)
		}
	}
}

// TestDeadline: what is still not so when the time is over fails with what was
// found.
func TestDeadline(t *testing.T) {
	var asked atomic.Int32
	r := Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{{ID: "x", Check: func(context.Context) Outcome {
		return Pending(fmt.Sprint("not yet ", asked.Add(1)), "", "")
	}}}}}, Options{RetryUntil: time.Now().Add(50 * time.Millisecond), Pause: time.Millisecond}, Observer{})
	if k := find(t, r, "x"); k.State != StateFailed || k.Attempts < 2 || k.Findings[0].What != fmt.Sprint("not yet ", asked.Load()) {
		t.Errorf("%+v", k)
	}
	// Without one there is one attempt.
	asked.Store(0)
	Run(t.Context(), []Category{{Name: "c", Checkers: []Checker{{ID: "x", Check: func(context.Context) Outcome {
		asked.Add(1)
		return Pending("not yet", "", "")
	}}}}}, Options{}, Observer{})
	if asked.Load() != 1 {
		t.Errorf("%d attempts without a deadline", asked.Load())
	}
}

// TestInterrupt: what was found stays, what was not asked is skipped, and the
// run has no success.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := 0
	r := Run(ctx, []Category{
		{Name: "a", Checkers: []Checker{
			{ID: "found", Check: func(ctx context.Context) Outcome {
				if attempts++; attempts == 1 {
					return Pending("really broken", "", "")
				}
				cancel()
				return Unknown(ctx.Err())
			}},
			fixed("good", OK("")),
		}},
		{Name: "b", Checkers: []Checker{fixed("late", OK(""))}},
	}, Options{RetryUntil: time.Now().Add(time.Hour), Pause: time.Millisecond}, Observer{})
	if k := find(t, r, "found"); k.Findings[0].What != "really broken" {
		t.Errorf("%+v", k)
	}
	if k := find(t, r, "late"); k.State != StateSkipped || k.SkipReason != "interrupted" {
		t.Errorf("%+v", k)
	}
	if !r.Interrupted || r.Success {
		t.Errorf("interrupted %v, success %v", r.Interrupted, r.Success)
	}
}

// TestJudge: levels and hints that a finding leaves open are the checker's.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		severity Severity
		outcome  Outcome
		state    State
		levels   []Severity
	}{
		"nothing":          {"", Outcome{}, StateOK, nil},
		"default is fatal": {"", Wrong(Finding{What: "x"}), StateFailed, []Severity{Fatal}},
		"the checker's":    {Warning, Wrong(Finding{What: "x"}), StateWarning, []Severity{Warning}},
		"the worst counts": {Warning, Wrong(Finding{What: "x"}, Finding{What: "y", Level: Fatal}), StateFailed, []Severity{Warning, Fatal}},
		"unknown fails":    {"", Unknown(errors.New("x")), StateFailed, []Severity{Fatal}},
		"skip":             {"", Skip("x"), StateSkipped, nil},
	} {
		r := judge(Checker{Severity: c.severity, Hint: "try this"}, c.outcome)
		if r.State != c.state || len(r.Findings) != len(c.levels) {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		for i, f := range r.Findings {
			if f.Level != c.levels[i] || f.Command != "try this" {
				t.Errorf("%s: finding %+v", name, f)
			}
		}
	}
}
