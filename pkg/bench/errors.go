package bench

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Classes of errors that the engine itself knows. A Requester's error names its
// class by a method ErrorClass() string anywhere in its chain.
const (
	// ClassConnect: no connection could be made, or the Factory failed.
	ClassConnect = "connect"
	// ClassConnectionLost: the connection broke under the request.
	ClassConnectionLost = "connection lost"
	// ClassTimeout: no answer within Load.Timeout.
	ClassTimeout = "timeout"
	// ClassCanceled: the requester reports a cancellation that was not the
	// engine's.
	ClassCanceled = "canceled"
	// ClassStuck: the requester did not return although its context had ended.
	ClassStuck = "stuck"
	// ClassOther: an error without a class, and what exceeds maxClasses.
	ClassOther = "other"
)

// maxClasses bounds the memory that classes of errors can take.
const maxClasses = 64

// ErrorCount is one class of failed requests.
type ErrorCount struct {
	Class string
	Count uint64
	// First is the message of the earliest one, which ended FirstAt after the
	// start of the run.
	First   string
	FirstAt time.Duration
}

// classOf names the class of a requester's error.
func classOf(err error) string {
	var classed interface{ ErrorClass() string }
	if errors.As(err, &classed) {
		if class := classed.ErrorClass(); class != "" {
			return class
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ClassTimeout
	case errors.Is(err, context.Canceled):
		return ClassCanceled
	}
	return ClassOther
}

// connectError gives a Factory's error the class connect if it has none.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }
func (e *connectError) ErrorClass() string {
	if class := classOf(e.err); class != ClassOther {
		return class
	}
	return ClassConnect
}

// errorTable counts errors by class.
type errorTable map[string]*ErrorCount

func (t errorTable) add(class string, at time.Duration, message func() string) {
	e, known := t.entry(class)
	e.Count++
	if !known || at < e.FirstAt {
		e.First, e.FirstAt = strings.TrimPrefix(message(), class+": "), at
	}
}

// entry finds or makes the entry of a class; false if it is new.
func (t errorTable) entry(class string) (*ErrorCount, bool) {
	if e, ok := t[class]; ok {
		return e, true
	}
	if len(t) >= maxClasses-1 {
		class = ClassOther
		if e, ok := t[class]; ok {
			return e, true
		}
	}
	e := &ErrorCount{Class: class}
	t[class] = e
	return e, false
}

func (t errorTable) merge(from errorTable) {
	for class, f := range from {
		e, known := t.entry(class)
		if !known || f.FirstAt < e.FirstAt {
			e.First, e.FirstAt = f.First, f.FirstAt
		}
		e.Count += f.Count
	}
}

// sorted lists the classes, the most frequent first.
func (t errorTable) sorted() []ErrorCount {
	var list []ErrorCount
	for _, e := range t {
		list = append(list, *e)
	}
	slices.SortStableFunc(list, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
	return list
}
