package metrics

import (
	"io"
	"maps"
	"slices"
	"strings"
)

// FamilyNames reads the names of the metric families of an exposition page, in
// order.
func FamilyNames(r io.Reader) ([]string, error) {
	families, err := parseExposition(r)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(families)), nil
}

// DCGMNames says which generations of dcgm-exporter's names are among some
// names: those up to 4.8, and those that 4.9 gave to 23 fields. Names that both
// have count for neither.
func DCGMNames(names []string) (any, upTo48, from49 bool) {
	for _, name := range names {
		if !strings.HasPrefix(name, "DCGM_FI_") {
			continue
		}
		any = true
		known := slices.ContainsFunc(metricNames(), func(m metricName) bool { return m.name == name })
		switch {
		case !known:
		case renamed(name):
			from49 = true
		case strings.HasPrefix(name, "DCGM_FI_DEV_"):
			upTo48 = true
		}
	}
	return any, upTo48, from49
}

// renamed tells a name of 4.9 by the unit at its end.
func renamed(name string) bool {
	return name == "DCGM_FI_DEV_XID_ERROR" || slices.ContainsFunc([]string{"_RATIO", "_BYTES", "_WATTS", "_CELSIUS", "_JOULES_TOTAL", "_HERTZ"},
		func(unit string) bool { return strings.HasSuffix(name, unit) })
}
