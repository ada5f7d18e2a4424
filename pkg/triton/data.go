package triton

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// generator makes the tensors of one sender's requests.
type generator struct {
	spec   *RequestSpec
	random *rand.PCG
	halves []uint16
}

func newGenerator(spec *RequestSpec) *generator {
	g := &generator{spec: spec, random: rand.NewPCG(0, 0)}
	for _, in := range spec.inputs {
		if in.datatype == FP16 && g.halves == nil {
			g.halves = make([]uint16, halfSteps)
			for i := range g.halves {
				g.halves[i] = halfFromFloat(float32(i) / halfSteps)
			}
		}
	}
	return g
}

// halfSteps is the number of evenly spaced values in [0, 1) that binary16
// represents exactly; bfloat16 has bfloatSteps.
const (
	halfSteps   = 2048
	bfloatSteps = 256
	// randomIntegers is the exclusive upper bound of random integers: small
	// enough for every type, for token ids and for table indices.
	randomIntegers = 100
)

// start sets the state for request seq. The two words are scrambled, as PCG
// streams with neighbouring states begin alike.
func (g *generator) start(seq uint64) {
	g.random.Seed(splitmix(g.spec.seed), splitmix(seq^0x5851F42D4C957F2D))
}

// splitmix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func splitmix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// append writes tensor i of a variant as binary data. Random tensors have to be
// taken in the order of the inputs after start, to be reproducible.
func (g *generator) append(dst []byte, i, variant int) []byte {
	in := &g.spec.inputs[i]
	size := g.spec.form(variant).bytes[i]
	switch {
	case g.spec.mode == DataFile:
		return g.spec.appendFileTensor(dst, i, variant)
	case in.shapeTensor:
		return appendOnes(dst, in.datatype, size)
	}
	from := len(dst)
	dst = grow(dst, size)
	if g.spec.mode == DataZero {
		zeroTensor(dst[from:], in.datatype, g.spec.stringLength)
	} else {
		g.fill(dst[from:], in.datatype)
	}
	return dst
}

// grow lengthens dst by n bytes of any content.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst[:len(dst)+n]
	}
	return append(dst, make([]byte, n)...)
}

func zeroTensor(dst []byte, d Datatype, stringLength int) {
	clear(dst)
	if d != Bytes {
		return
	}
	for len(dst) > 0 {
		binary.LittleEndian.PutUint32(dst, uint32(stringLength))
		for i := range stringLength {
			dst[4+i] = '0'
		}
		dst = dst[4+stringLength:]
	}
}

func appendOnes(dst []byte, d Datatype, size int) []byte {
	one := encodeInteger(d, 1)
	for n := 0; n < size; n += len(one) {
		dst = append(dst, one...)
	}
	return dst
}

// fill writes random elements over the whole of dst, eight bytes per draw.
func (g *generator) fill(dst []byte, d Datatype) {
	switch d {
	case Bool:
		g.words(dst, func(u uint64) uint64 { return u & 0x0101010101010101 })
	case Int8, Uint8:
		g.words(dst, func(u uint64) uint64 {
			// Two bytes of randomness per element would need two draws; one
			// byte scaled by 100/256 is uneven by less than half a percent.
			var out uint64
			for shift := 0; shift < 64; shift += 8 {
				out |= (u >> shift & 0xFF) * randomIntegers >> 8 << shift
			}
			return out
		})
	case Int16, Uint16:
		g.words(dst, func(u uint64) uint64 {
			var out uint64
			for shift := 0; shift < 64; shift += 16 {
				out |= (u >> shift & 0xFFFF) * randomIntegers >> 16 << shift
			}
			return out
		})
	case Int32, Uint32:
		g.words(dst, func(u uint64) uint64 {
			return u>>32*randomIntegers>>32<<32 | u&0xFFFFFFFF*randomIntegers>>32
		})
	case Int64, Uint64:
		g.words(dst, func(u uint64) uint64 { return u >> 32 * randomIntegers >> 32 })
	case FP16:
		g.words(dst, func(u uint64) uint64 {
			const mask = halfSteps - 1
			return uint64(g.halves[u&mask]) | uint64(g.halves[u>>16&mask])<<16 |
				uint64(g.halves[u>>32&mask])<<32 | uint64(g.halves[u>>48&mask])<<48
		})
	case BF16:
		g.words(dst, func(u uint64) uint64 {
			var out uint64
			for shift := 0; shift < 64; shift += 16 {
				out |= uint64(bfloatFromFloat(float32(u>>shift&(bfloatSteps-1))/bfloatSteps)) << shift
			}
			return out
		})
	case FP32:
		g.words(dst, func(u uint64) uint64 {
			low := float32(u&0xFFFFFF) / (1 << 24)
			high := float32(u>>40) / (1 << 24)
			return uint64(math.Float32bits(low)) | uint64(math.Float32bits(high))<<32
		})
	case FP64:
		g.words(dst, func(u uint64) uint64 { return math.Float64bits(float64(u>>11) / (1 << 53)) })
	case Bytes:
		g.strings(dst, g.spec.stringLength)
	}
}

func (g *generator) words(dst []byte, make func(uint64) uint64) {
	for len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, make(g.random.Uint64()))
		dst = dst[8:]
	}
	if len(dst) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], make(g.random.Uint64()))
		copy(dst, last[:])
	}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (g *generator) strings(dst []byte, length int) {
	for len(dst) > 0 {
		binary.LittleEndian.PutUint32(dst, uint32(length))
		text := dst[4 : 4+length]
		dst = dst[4+length:]
		for len(text) > 0 {
			u := g.random.Uint64()
			n := min(len(text), 10)
			for i := range n {
				text[i] = alphabet[u&63]
				u >>= 6
			}
			text = text[n:]
		}
	}
}
