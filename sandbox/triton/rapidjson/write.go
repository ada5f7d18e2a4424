package rapidjson

import (
	"math"
	"strconv"
)

// AppendString appends a quoted string. Bytes from 0x20 on, quotes and
// backslashes apart, are written as they are, UTF-8 or not.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	const upperHex = "0123456789ABCDEF"
	dst = append(dst, '"')
	for i := range len(s) {
		switch b := s[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b >= 0x20:
			dst = append(dst, b)
		case b == '\b':
			dst = append(dst, '\\', 'b')
		case b == '\f':
			dst = append(dst, '\\', 'f')
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[b>>4], upperHex[b&15])
		}
	}
	return append(dst, '"')
}

// AppendFloat appends the shortest digits that read back as f, laid out as
// RapidJSON's Prettify does: plain from 1e-6 to below 1e21, always with a
// point or an exponent, and NaN, Infinity and -Infinity as bare words.
func AppendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == 0:
		if math.Signbit(f) {
			dst = append(dst, '-')
		}
		return append(dst, '0', '.', '0')
	}
	var buf [32]byte
	text := strconv.AppendFloat(buf[:0], f, 'e', -1, 64)
	if text[0] == '-' {
		dst = append(dst, '-')
		text = text[1:]
	}
	digits, exponent := split(text)
	point := exponent + 1 // digits before the decimal point
	n := len(digits)
	switch {
	case n <= point && point <= 21:
		dst = append(dst, digits...)
		for range point - n {
			dst = append(dst, '0')
		}
		return append(dst, '.', '0')
	case 0 < point && point <= 21:
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		return append(dst, digits[point:]...)
	case -6 < point && point <= 0:
		dst = append(dst, '0', '.')
		for range -point {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if n > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, 'e')
	return strconv.AppendInt(dst, int64(exponent), 10)
}

// split takes d.ddde±xx apart; the digits are moved together in place.
func split(text []byte) (digits []byte, exponent int) {
	for i, b := range text {
		if b == 'e' {
			exponent, _ = strconv.Atoi(string(text[i+1:]))
			text = text[:i]
			break
		}
	}
	if len(text) > 1 {
		copy(text[1:], text[2:])
		text = text[:len(text)-1]
	}
	return text, exponent
}
