package rapidjson

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one value of a checked document; the zero Value is absent.
type Value struct{ text []byte }

// Member is one entry of an object.
type Member struct {
	Name  string
	Value Value
}

// Object is an object's entries in their order.
type Object []Member

// Find returns the first entry of that name.
func (o Object) Find(name string) (Value, bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value, true
		}
	}
	return Value{}, false
}

// Text is the value as it stands in the document.
func (v Value) Text() []byte { return v.text }

// IsObject reports whether the value is an object.
func (v Value) IsObject() bool { return v.first() == '{' }

// IsArray reports whether the value is an array.
func (v Value) IsArray() bool { return v.first() == '[' }

// IsString reports whether the value is a string.
func (v Value) IsString() bool { return v.first() == '"' }

// IsBool reports whether the value is true or false.
func (v Value) IsBool() bool { return v.first() == 't' || v.first() == 'f' }

func (v Value) first() byte {
	if len(v.text) == 0 {
		return 0
	}
	return v.text[0]
}

// Members lists an object's entries; nil for anything else.
func (v Value) Members() Object {
	if !v.IsObject() {
		return nil
	}
	var members Object
	s := scanner{text: v.text, pos: 1}
	for s.more('}') {
		name := Value{text: s.value()}
		s.skip(':')
		text, _ := name.Str()
		members = append(members, Member{Name: text, Value: Value{text: s.value()}})
	}
	return members
}

// Each calls f for every element of an array until f returns false.
func (v Value) Each(f func(Value) bool) {
	if !v.IsArray() {
		return
	}
	s := scanner{text: v.text, pos: 1}
	for s.more(']') {
		if !f(Value{text: s.value()}) {
			return
		}
	}
}

// Bool returns a true or false; ok is false for anything else.
func (v Value) Bool() (value, ok bool) {
	return v.first() == 't', v.IsBool()
}

// Int64 returns an integer without fraction or exponent that fits.
func (v Value) Int64() (int64, bool) {
	n, err := strconv.ParseInt(string(v.text), 10, 64)
	return n, err == nil && v.isNumber()
}

// Uint64 returns a non-negative integer without fraction or exponent that fits.
func (v Value) Uint64() (uint64, bool) {
	n, err := strconv.ParseUint(string(v.text), 10, 64)
	return n, err == nil && v.isNumber()
}

func (v Value) isNumber() bool { b := v.first(); return isDigit(b) || b == '-' || b == 'N' || b == 'I' }

// Float64 returns any number, also NaN and infinities.
func (v Value) Float64() (float64, bool) {
	if !v.isNumber() {
		return 0, false
	}
	switch string(v.text) {
	case "NaN", "-NaN":
		return math.NaN(), true
	case "Inf", "Infinity":
		return math.Inf(1), true
	case "-Inf", "-Infinity":
		return math.Inf(-1), true
	}
	f, err := strconv.ParseFloat(string(v.text), 64)
	return f, err == nil || math.IsInf(f, 0)
}

// Str returns a string with its escapes resolved; other bytes are kept as they are.
func (v Value) Str() (string, bool) {
	if !v.IsString() {
		return "", false
	}
	raw := v.text[1 : len(v.text)-1]
	plain := true
	for _, b := range raw {
		if b == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return string(raw), true
	}
	return unescape(raw), true
}

func unescape(raw []byte) string {
	var out strings.Builder
	out.Grow(len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out.WriteByte(raw[i])
			i++
			continue
		}
		if raw[i+1] != 'u' {
			out.WriteByte(escapes(raw[i+1]))
			i += 2
			continue
		}
		r := rune(hex4(raw[i+2:]))
		i += 6
		if utf16.IsSurrogate(r) && i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
			if pair := utf16.DecodeRune(r, rune(hex4(raw[i+2:]))); pair != utf8.RuneError {
				r = pair
				i += 6
			}
		}
		out.WriteRune(r)
	}
	return out.String()
}

func escapes(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return b
}

func hex4(text []byte) uint64 {
	n, err := strconv.ParseUint(string(text[:4]), 16, 32)
	if err != nil {
		return utf8.RuneError
	}
	return n
}

// scanner walks a container's text, which is known to be well-formed.
type scanner struct {
	text []byte
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) more(end byte) bool {
	s.space()
	if s.text[s.pos] == ',' {
		s.pos++
		s.space()
	}
	return s.text[s.pos] != end
}

func (s *scanner) skip(b byte) {
	s.space()
	if s.text[s.pos] == b {
		s.pos++
	}
	s.space()
}

func (s *scanner) value() []byte {
	start := s.pos
	switch s.text[s.pos] {
	case '"':
		s.string()
	case '{', '[':
		depth := 0
		for {
			switch s.text[s.pos] {
			case '"':
				s.string()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			s.pos++
			if depth == 0 {
				return s.text[start:s.pos]
			}
		}
	default:
		for s.pos < len(s.text) && !ends(s.text[s.pos]) {
			s.pos++
		}
	}
	return s.text[start:s.pos]
}

func ends(b byte) bool {
	switch b {
	case ',', ']', '}', ' ', '\t', '\n', '\r', ':':
		return true
	}
	return false
}

func (s *scanner) string() {
	s.pos++
	for s.text[s.pos] != '"' {
		if s.text[s.pos] == '\\' {
			s.pos++
		}
		s.pos++
	}
	s.pos++
}
