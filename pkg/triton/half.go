package triton

import "math"

// halfFromFloat rounds to the nearest IEEE 754 binary16, ties to even. Values
// beyond its range become infinities.
func halfFromFloat(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	exponent := int(bits>>23&0xFF) - 127
	fraction := bits & 0x7FFFFF
	switch {
	case exponent == 128 && fraction != 0:
		return sign | 0x7E00 // NaN
	case exponent > 15:
		return sign | 0x7C00
	case exponent < -25:
		return sign
	}
	// mantissa with its hidden bit, and the number of low bits to round off.
	mantissa, drop := fraction|0x800000, uint(13)
	biased := uint32(exponent + 15)
	if exponent < -14 {
		drop += uint(-14 - exponent)
		biased = 1
	}
	rounded := mantissa >> drop
	rest, half := mantissa&(1<<drop-1), uint32(1)<<(drop-1)
	if rest > half || rest == half && rounded&1 == 1 {
		rounded++
	}
	// A carry out of the fraction moves into the exponent, as it should; the
	// hidden bit stands for one exponent step, which subnormals lack.
	return sign | uint16((biased-1)<<10+rounded)
}

// floatFromHalf is exact.
func floatFromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch {
	case exponent == 0x1F:
		return math.Float32frombits(sign | 0x7F800000 | fraction<<13)
	case exponent != 0:
		return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
	}
	value := float32(fraction) / (1 << 24)
	return math.Float32frombits(math.Float32bits(value) | sign)
}

// bfloatFromFloat rounds to the nearest bfloat16, ties to even.
func bfloatFromFloat(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7FFF + bits>>16&1) >> 16)
}

func floatFromBfloat(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
