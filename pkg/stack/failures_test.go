package stack

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestJoinTellsOneLine(t *testing.T) {
	a, b, c := errors.New("a is wrong"), errors.New("b is wrong"), errors.New("c is wrong")
	for _, test := range []struct {
		shown int
		errs  []error
		want  string
	}{
		{1, []error{nil, nil}, "<nil>"},
		{1, []error{nil, a}, "a is wrong"},
		{1, []error{a, nil, b, c}, "a is wrong (and 2 more like this)"},
		{3, []error{a, b, c}, "a is wrong; b is wrong; c is wrong"},
	} {
		err := join(test.shown, test.errs...)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("join(%d, %v) = %q, want %q", test.shown, test.errs, got, test.want)
		}
	}
	if err := join(1, a, b); !errors.Is(err, b) {
		t.Error("an error that isn't shown is lost to errors.Is")
	}
}

func TestEachStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := each(ctx, make([]int, 3*requestsAtOnce), func(ctx context.Context, i int, _ int) error {
		if i == 0 {
			cancel()
		}
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("each gives %v after its context ended", err)
	}
}

func TestWithinEndsWithItsContext(t *testing.T) {
	silent := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := within(ctx, func() (int, error) { <-silent; return 1, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("within gives %v after its context ended", err)
	}
	close(silent)
	if got, err := within(t.Context(), func() (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Errorf("within gives %d, %v", got, err)
	}
}
