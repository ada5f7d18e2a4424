package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// classed is an error with a class of its own.
type classed string

func (c classed) Error() string      { return "failed as " + string(c) }
func (c classed) ErrorClass() string { return string(c) }

func TestClassOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{classed("http 503"), "http 503"},
		{fmt.Errorf("around: %w", classed("wrong answer")), "wrong answer"},
		{classed(""), ClassOther},
		{errors.New("odd"), ClassOther},
		{fmt.Errorf("around: %w", context.DeadlineExceeded), ClassTimeout},
		{context.Canceled, ClassCanceled},
		{&connectError{errors.New("refused")}, ClassConnect},
		{&connectError{classed("tls")}, "tls"},
		{&connectError{context.DeadlineExceeded}, ClassTimeout},
	} {
		if got := classOf(tc.err); got != tc.want {
			t.Errorf("%v has class %q, want %q", tc.err, got, tc.want)
		}
	}
}

func TestErrorTable(t *testing.T) {
	message := func(s string) func() string { return func() string { return s } }
	a, b := errorTable{}, errorTable{}
	a.add("x", 5*time.Second, message("second"))
	b.add("x", 3*time.Second, message("first"))
	b.add("x", 4*time.Second, message("between"))
	b.add("y", 9*time.Second, message("y: why")) // the class is printed before it
	a.merge(b)
	got := a.sorted()
	if len(got) != 2 || got[0] != (ErrorCount{Class: "x", Count: 3, First: "first", FirstAt: 3 * time.Second}) || got[1].Class != "y" || got[1].First != "why" || got[1].Count != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestErrorTableIsBounded(t *testing.T) {
	a, b := errorTable{}, errorTable{}
	for i := range 1000 {
		a.add(fmt.Sprintf("a%d", i), time.Duration(1000-i), func() string { return fmt.Sprint(i) })
		b.add(fmt.Sprintf("b%d", i), time.Duration(i), func() string { return fmt.Sprint(i) })
	}
	a.merge(b)
	var n uint64
	for _, e := range a.sorted() {
		n += e.Count
	}
	if len(a) > maxClasses || n != 2000 || a[ClassOther] == nil || a[ClassOther].FirstAt != 0 {
		t.Errorf("%d classes with %d errors, other is %+v", len(a), n, a[ClassOther])
	}
}
