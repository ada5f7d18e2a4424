package metrics

import "math"

// meaning is what a metric says about a GPU, whichever name it goes by.
type meaning int

const (
	utilization meaning = iota // ratio of time in which a kernel ran
	engineActive
	memoryUsed
	memoryFree
	memoryReserved
	memoryTotal
	power
	powerLimit
	temperature
	energy
	lastXID
	meaningCount
)

// Family is the kind of exporter that published a metric.
type Family string

const (
	FamilyDCGM   Family = "DCGM"          // dcgm-exporter
	FamilyTriton Family = "Triton nv_gpu" // Triton's own GPU metrics
)

// metricName is one name that one generation of an exporter uses. The value
// times scale is in this package's units.
type metricName struct {
	name    string
	family  Family
	meaning meaning
	scale   float64
}

const mebibyte = 1 << 20

// metricNames lists the names in order of preference within a meaning.
//
// dcgm-exporter up to 4.8 uses DCGM's old field names (its
// etc/default-counters.csv); 4.9 renames 23 of them and changes the unit of 11.
// DCGM_FI_DEV_GPU_UTIL does not exist under MIG, where the graphics engine's
// activity stands in for it.
func metricNames() []metricName {
	return []metricName{
		{"DCGM_FI_DEV_GPU_UTIL", FamilyDCGM, utilization, 0.01},
		{"DCGM_FI_DEV_GPU_UTIL_RATIO", FamilyDCGM, utilization, 1},
		{"DCGM_FI_PROF_GR_ENGINE_ACTIVE", FamilyDCGM, engineActive, 1},
		{"DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", FamilyDCGM, engineActive, 1},
		{"DCGM_FI_DEV_FB_USED", FamilyDCGM, memoryUsed, mebibyte},
		{"DCGM_FI_DEV_FB_USED_BYTES", FamilyDCGM, memoryUsed, 1},
		{"DCGM_FI_DEV_FB_FREE", FamilyDCGM, memoryFree, mebibyte},
		{"DCGM_FI_DEV_FB_FREE_BYTES", FamilyDCGM, memoryFree, 1},
		{"DCGM_FI_DEV_FB_RESERVED", FamilyDCGM, memoryReserved, mebibyte},
		{"DCGM_FI_DEV_FB_RESERVED_BYTES", FamilyDCGM, memoryReserved, 1},
		{"DCGM_FI_DEV_FB_TOTAL", FamilyDCGM, memoryTotal, mebibyte},
		{"DCGM_FI_DEV_FB_CAPACITY_BYTES", FamilyDCGM, memoryTotal, 1},
		{"DCGM_FI_DEV_POWER_USAGE", FamilyDCGM, power, 1},
		{"DCGM_FI_DEV_BOARD_POWER_WATTS", FamilyDCGM, power, 1},
		{"DCGM_FI_DEV_ENFORCED_POWER_LIMIT", FamilyDCGM, powerLimit, 1},
		{"DCGM_FI_DEV_POWER_MGMT_LIMIT", FamilyDCGM, powerLimit, 1},
		{"DCGM_FI_DEV_GPU_TEMP", FamilyDCGM, temperature, 1},
		{"DCGM_FI_DEV_GPU_TEMP_CELSIUS", FamilyDCGM, temperature, 1},
		{"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", FamilyDCGM, energy, 0.001},
		{"DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", FamilyDCGM, energy, 1},
		{"DCGM_FI_DEV_XID_ERRORS", FamilyDCGM, lastXID, 1},
		{"DCGM_FI_DEV_XID_ERROR", FamilyDCGM, lastXID, 1},

		{"nv_gpu_utilization", FamilyTriton, utilization, 1},
		{"nv_gpu_memory_used_bytes", FamilyTriton, memoryUsed, 1},
		{"nv_gpu_memory_total_bytes", FamilyTriton, memoryTotal, 1},
		{"nv_gpu_power_usage", FamilyTriton, power, 1},
		{"nv_gpu_power_limit", FamilyTriton, powerLimit, 1},
		{"nv_energy_consumption", FamilyTriton, energy, 1},
	}
}

// blankFrom is the smallest of DCGM's "no value" marks: 2^47 for floating
// point fields; the marks of 64-bit fields lie just below 2^63.
const blankFrom = 1 << 47

// known tells whether an exporter's raw value is a measurement. Everything
// read here is non-negative by nature.
func known(raw float64) bool {
	return raw >= 0 && raw < blankFrom && !math.IsNaN(raw)
}

// inRange tells whether a scaled value can be what its name says it is.
func inRange(m meaning, v float64) bool {
	return (m != utilization && m != engineActive) || v <= 1.0001
}
