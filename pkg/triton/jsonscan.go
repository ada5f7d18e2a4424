package triton

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// jsonScanner walks JSON as Triton writes it, which encoding/json doesn't
// accept: numbers may be NaN, Infinity or -Infinity, and strings may hold any
// bytes. It is lenient about the form of numbers and words, and never about
// structure.
type jsonScanner struct {
	text  []byte
	at    int
	depth int
}

// maxJSONDepth bounds the recursion that a hostile answer can cause.
const maxJSONDepth = 200

func (s *jsonScanner) fail(want string) error {
	if s.at >= len(s.text) {
		return fmt.Errorf("the JSON ends at byte %d where %s is expected", s.at, want)
	}
	return fmt.Errorf("the JSON has %q at byte %d where %s is expected", s.text[s.at], s.at, want)
}

func (s *jsonScanner) peek() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

func (s *jsonScanner) accept(c byte) bool {
	if s.peek() == c && s.at < len(s.text) {
		s.at++
		return true
	}
	return false
}

func (s *jsonScanner) expect(c byte) error {
	if !s.accept(c) {
		return s.fail(strconv.QuoteRune(rune(c)))
	}
	return nil
}

// end fails unless only white space is left.
func (s *jsonScanner) end() error {
	if s.peek(); s.at < len(s.text) {
		return s.fail("the end")
	}
	return nil
}

// rawString is a string's bytes between its quotes, escapes as they are.
func (s *jsonScanner) rawString() (raw []byte, escaped bool, err error) {
	if err := s.expect('"'); err != nil {
		return nil, false, err
	}
	start := s.at
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '"':
			s.at++
			return s.text[start : s.at-1], escaped, nil
		case '\\':
			escaped = true
			s.at++
		}
	}
	s.at = len(s.text)
	return nil, false, s.fail("the end of a string")
}

func (s *jsonScanner) string() (string, error) {
	raw, escaped, err := s.rawString()
	if err != nil || !escaped {
		return string(raw), err
	}
	var text string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if err := json.Unmarshal(quoted, &text); err != nil {
		return "", fmt.Errorf("the JSON has an unreadable string before byte %d: %w", s.at, err)
	}
	return text, nil
}

// object calls member for each name; member has to consume the value.
func (s *jsonScanner) object(member func(name string) error) error {
	if err := s.enter('{'); err != nil {
		return err
	}
	defer s.leave()
	if s.accept('}') {
		return nil
	}
	for {
		name, err := s.string()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if s.accept('}') {
			return nil
		}
		if err := s.expect(','); err != nil {
			return err
		}
	}
}

// array calls element for each element; element has to consume it.
func (s *jsonScanner) array(element func() error) error {
	if err := s.enter('['); err != nil {
		return err
	}
	defer s.leave()
	if s.accept(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.accept(']') {
			return nil
		}
		if err := s.expect(','); err != nil {
			return err
		}
	}
}

func (s *jsonScanner) enter(open byte) error {
	if s.depth == maxJSONDepth {
		return fmt.Errorf("the JSON is nested deeper than %d levels", maxJSONDepth)
	}
	if err := s.expect(open); err != nil {
		return err
	}
	s.depth++
	return nil
}

func (s *jsonScanner) leave() { s.depth-- }

// word is a number or a literal such as true or NaN.
func (s *jsonScanner) word() ([]byte, error) {
	s.peek()
	start := s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.' {
			s.at++
			continue
		}
		break
	}
	if s.at == start {
		return nil, s.fail("a value")
	}
	return s.text[start:s.at], nil
}

func (s *jsonScanner) integer() (int64, error) {
	at := s.at
	w, err := s.word()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(string(w), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the JSON has %q at byte %d where a whole number is expected", shorten(string(w)), at)
	}
	return v, nil
}

// skip consumes any value and returns how many leaves it has: numbers,
// strings and literals, at any depth.
func (s *jsonScanner) skip() (leaves int, err error) {
	switch s.peek() {
	case '{':
		err = s.object(func(string) error {
			n, err := s.skip()
			leaves += n
			return err
		})
		return leaves, err
	case '[':
		err = s.array(func() error {
			n, err := s.skip()
			leaves += n
			return err
		})
		return leaves, err
	case '"':
		_, _, err = s.rawString()
		return 1, err
	default:
		_, err = s.word()
		return 1, err
	}
}
