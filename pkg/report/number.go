package report

import (
	"math"
	"strconv"
	"strings"
)

// Significant formats v with three significant digits and thousands
// separators: 0.921, 12.1, 474, 3,620.
func Significant(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if v == 0 {
		return "0"
	}
	exponent := math.Floor(math.Log10(math.Abs(v)))
	scale := math.Pow(10, 2-exponent)
	rounded := math.Round(v*scale) / scale
	// Rounding may carry into the next decade (9.996 → 10.0).
	if carried := math.Floor(math.Log10(math.Abs(rounded))); carried > exponent {
		exponent = carried
	}
	decimals := max(0, 2-int(exponent))
	if decimals > 6 {
		return strconv.FormatFloat(v, 'e', 2, 64)
	}
	return group(strconv.FormatFloat(rounded, 'f', decimals, 64))
}

// Count formats a count exactly, with thousands separators.
func Count(n uint64) string { return group(strconv.FormatUint(n, 10)) }

// Microseconds formats a duration given in µs in the unit that suits it.
func Microseconds(us float64) string {
	switch abs := math.Abs(us); {
	case abs == 0:
		return "0 ms"
	case abs < 99.95:
		return Significant(us) + " µs"
	case abs < 999_500:
		return Significant(us/1e3) + " ms"
	default:
		return Significant(us/1e6) + " s"
	}
}

// Seconds formats a duration given in s.
func Seconds(s float64) string {
	switch {
	case s >= 3600:
		return Significant(s/3600) + " h"
	case s >= 600:
		return Significant(s/60) + " min"
	case s == 0 || s >= 1:
		return Significant(s) + " s"
	default:
		return Microseconds(s * 1e6)
	}
}

// Percent formats a ratio 0–1 as a percentage.
func Percent(ratio float64) string {
	p := ratio * 100
	switch {
	case p == 0:
		return "0 %"
	case p < 0.01:
		return "<0.01 %"
	case p < 99.95:
		return Significant(p) + " %"
	case p < 100:
		return strconv.FormatFloat(math.Floor(p*100)/100, 'f', 2, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
}

// Bytes formats a size with binary prefixes.
func Bytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return Significant(n) + " " + units[i]
}

func group(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	whole, fraction, hasFraction := strings.Cut(digits, ".")
	var b strings.Builder
	for i, r := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	if hasFraction {
		b.WriteByte('.')
		b.WriteString(fraction)
	}
	return sign + b.String()
}
