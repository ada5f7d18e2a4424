package stack

import (
	"fmt"
	"slices"
	"strings"
)

// failures are errors of parts that ran side by side, told in one line.
type failures struct {
	all   []error
	shown int
}

// join gives the errors as one that tells the first few; nil when there are none.
func join(shown int, errs ...error) error {
	all := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &failures{all: all, shown: shown}
}

func (f *failures) Error() string {
	texts := make([]string, 0, f.shown)
	for _, err := range f.all[:min(f.shown, len(f.all))] {
		texts = append(texts, err.Error())
	}
	text := strings.Join(texts, "; ")
	if more := len(f.all) - f.shown; more > 0 {
		text += fmt.Sprintf(" (and %d more like this)", more)
	}
	return text
}

func (f *failures) Unwrap() []error { return f.all }
