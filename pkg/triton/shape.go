package triton

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// elements is the number of elements of a shape; ok is false when it has a
// negative dimension or the number overflows.
func elements(shape []int64) (n int64, ok bool) {
	n = 1
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		if d == 0 {
			// Later dimensions can't overflow a product that is 0.
			return 0, !slices.ContainsFunc(shape, func(d int64) bool { return d < 0 })
		}
		if n > math.MaxInt64/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// mismatch says how a concrete shape contradicts the model's, "" if it doesn't.
func mismatch(given, pattern []int64) string {
	if len(given) != len(pattern) {
		return fmt.Sprintf("%s, not %d", count(len(pattern), "dimension"), len(given))
	}
	for i, want := range pattern {
		switch got := given[i]; {
		case got < 0:
			return fmt.Sprintf("dimension %d is %d", i+1, got)
		case want >= 0 && got != want:
			return fmt.Sprintf("dimension %d is %d, not %d", i+1, want, got)
		}
	}
	return ""
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func shapeText(shape []int64) string {
	return "[" + joinDims(shape, ",") + "]"
}

func joinDims(shape []int64, separator string) string {
	texts := make([]string, len(shape))
	for i, d := range shape {
		texts[i] = strconv.FormatInt(d, 10)
	}
	return strings.Join(texts, separator)
}

// example is the text for --shape with a d for each variable dimension.
func example(pattern []int64) string {
	texts := make([]string, len(pattern))
	for i, d := range pattern {
		texts[i] = strconv.FormatInt(d, 10)
		if d < 0 {
			texts[i] = "d"
		}
	}
	return strings.Join(texts, ",")
}

// Describe is one line on what a request holds, such as
// "INPUT0 FP32 [8,3,-1→1], 96 B of random data". A dimension that nobody set
// is marked by an arrow.
func (s *RequestSpec) Describe() string {
	if len(s.inputs) == 0 {
		return "no inputs"
	}
	parts := make([]string, len(s.inputs))
	for i, in := range s.inputs {
		shape := s.form(0).shapes[i]
		texts := make([]string, len(shape))
		for j, d := range shape {
			texts[j] = strconv.FormatInt(d, 10)
		}
		offset := len(shape) - len(in.dims)
		for _, j := range in.assumed {
			texts[offset+j] = "-1→" + texts[offset+j]
		}
		text := strings.Join(texts, ",")
		if s.shapeVaries(i) {
			text += " …"
		}
		parts[i] = fmt.Sprintf("%s %s [%s]", in.name, in.datatype, text)
	}
	data := "random data"
	switch s.mode {
	case DataZero:
		data = "zeros"
	case DataFile:
		data = fmt.Sprintf("data of %s in %s", count(len(s.file.steps), "step"), s.file.path)
	}
	return fmt.Sprintf("%s, %d B of %s", strings.Join(parts, ", "), s.BytesPerRequest(), data)
}

func (s *RequestSpec) shapeVaries(i int) bool {
	return slices.ContainsFunc(s.forms, func(f form) bool { return !slices.Equal(f.shapes[i], s.forms[0].shapes[i]) })
}
