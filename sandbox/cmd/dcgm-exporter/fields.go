package main

import (
	"cmp"
	"slices"
	"strconv"
)

// field is one DCGM field: how its metric is named and what it says about a
// GPU. help and metricType are those of the exporter's default-counters.csv.
type field struct {
	id         int // DCGM's field number, by which the exporter orders metrics
	name       string
	metricType string
	help       string
	byDefault  bool
	value      func(reading) string
	attributes []label // further labels, in alphabetic order
}

const (
	gauge   = "gauge"
	counter = "counter"

	labelField = "label" // the "type" of a field that becomes a label of all metrics

	bytesPerMiB = 1 << 20
	hertzPerMHz = 1e6
)

// driverVersion is published as a label of all metrics.
const driverVersion = "580.95.05"

func driverVersionField() field {
	return field{id: 1, name: "DCGM_FI_DRIVER_VERSION", metricType: labelField, help: "Driver Version", byDefault: true,
		value: func(reading) string { return driverVersion }}
}

// fieldsOf lists the fields that the simulated GPUs have, by field number.
func fieldsOf(g generation) []field {
	fields := append(commonFields(), quietFields()...)
	if g == names48 {
		fields = append(fields, fields48()...)
	} else {
		fields = append(fields, fields49()...)
	}
	slices.SortFunc(fields, func(a, b field) int { return cmp.Compare(a.id, b.id) })
	return fields
}

// commonFields have the same name in both generations.
func commonFields() []field {
	return []field{
		driverVersionField(),
		{160, "DCGM_FI_DEV_POWER_MGMT_LIMIT", gauge, "Current power limit (in W).", false, float(func(r reading) float64 { return r.Device.LimitPowerW }), nil},
		{1009, "DCGM_FI_PROF_PCIE_TX_BYTES", gauge, "The rate of data transmitted over the PCIe bus - including both protocol headers and data payloads - in bytes per second.", true, integer(reading.pcieBytesPerSecond), nil},
		{1010, "DCGM_FI_PROF_PCIE_RX_BYTES", gauge, "The rate of data received over the PCIe bus - including both protocol headers and data payloads - in bytes per second.", true, integer(reading.pcieBytesPerSecond), nil},
	}
}

func fields48() []field {
	return []field{
		{100, "DCGM_FI_DEV_SM_CLOCK", gauge, "SM clock frequency (in MHz).", true, integer(func(r reading) float64 { return r.SMClockMHz }), nil},
		{101, "DCGM_FI_DEV_MEM_CLOCK", gauge, "Memory clock frequency (in MHz).", true, integer(func(r reading) float64 { return r.MemoryClockMHz }), nil},
		{140, "DCGM_FI_DEV_MEMORY_TEMP", gauge, "Memory temperature (in C).", true, integer(func(r reading) float64 { return r.MemoryTemperatureC }), nil},
		{150, "DCGM_FI_DEV_GPU_TEMP", gauge, "GPU temperature (in C).", true, integer(func(r reading) float64 { return r.TemperatureC }), nil},
		{155, "DCGM_FI_DEV_POWER_USAGE", gauge, "Power draw (in W).", true, float(func(r reading) float64 { return r.PowerW }), nil},
		{156, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", counter, "Total energy consumption since boot (in mJ).", true, integer(func(r reading) float64 { return r.EnergyJ * 1000 }), nil},
		{203, "DCGM_FI_DEV_GPU_UTIL", gauge, "GPU utilization (in %).", true, integer(func(r reading) float64 { return r.Utilization * 100 }), nil},
		{204, "DCGM_FI_DEV_MEM_COPY_UTIL", gauge, "Memory utilization (in %).", true, integer(func(r reading) float64 { return r.memoryUtilization() * 100 }), nil},
		{206, "DCGM_FI_DEV_ENC_UTIL", gauge, "Encoder utilization (in %).", true, zero, nil},
		{207, "DCGM_FI_DEV_DEC_UTIL", gauge, "Decoder utilization (in %).", true, zero, nil},
		{230, "DCGM_FI_DEV_XID_ERRORS", gauge, "Value of the last XID error encountered.", true, zero, noXID()},
		{250, "DCGM_FI_DEV_FB_TOTAL", gauge, "Total framebuffer memory (in MiB).", false, mebibytes(reading.memoryTotalBytes), nil},
		{251, "DCGM_FI_DEV_FB_FREE", gauge, "Framebuffer memory free (in MiB).", true, mebibytes(reading.memoryFreeBytes), nil},
		{252, "DCGM_FI_DEV_FB_USED", gauge, "Framebuffer memory used (in MiB).", true, mebibytes(reading.memoryUsedBytes), nil},
		{253, "DCGM_FI_DEV_FB_RESERVED", gauge, "Framebuffer memory reserved (in MiB).", true, mebibytes(reading.memoryReservedBytes), nil},
		{1001, "DCGM_FI_PROF_GR_ENGINE_ACTIVE", gauge, "Ratio of time the graphics engine is active.", true, float(reading.engineActive), nil},
		{1002, "DCGM_FI_PROF_SM_ACTIVE", gauge, "The ratio of cycles an SM has at least 1 warp assigned.", false, float(reading.engineActive), nil},
		{1004, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", gauge, "Ratio of cycles the tensor (HMMA) pipe is active.", true, float(reading.tensorActive), nil},
		{1005, "DCGM_FI_PROF_DRAM_ACTIVE", gauge, "Ratio of cycles the device memory interface is active sending or receiving data.", true, float(reading.memoryUtilization), nil},
	}
}

// fields49 are those that release 4.9 renamed, in base units where it changed
// the unit as well.
func fields49() []field {
	return []field{
		{140, "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", gauge, "Memory temperature (in C).", true, integer(func(r reading) float64 { return r.MemoryTemperatureC }), nil},
		{150, "DCGM_FI_DEV_GPU_TEMP_CELSIUS", gauge, "GPU temperature (in C).", true, integer(func(r reading) float64 { return r.TemperatureC }), nil},
		{155, "DCGM_FI_DEV_BOARD_POWER_WATTS", gauge, "Power draw (in W).", true, float(func(r reading) float64 { return r.PowerW }), nil},
		{230, "DCGM_FI_DEV_XID_ERROR", gauge, "Value of the last XID error encountered.", true, zero, noXID()},
		{1001, "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", gauge, "Ratio of time the graphics engine is active.", true, float(reading.engineActive), nil},
		{1002, "DCGM_FI_PROF_SM_UTIL_RATIO", gauge, "The ratio of cycles an SM has at least 1 warp assigned.", false, float(reading.engineActive), nil},
		{1004, "DCGM_FI_PROF_TENSOR_UTIL_RATIO", gauge, "Ratio of cycles the tensor (HMMA) pipe is active.", true, float(reading.tensorActive), nil},
		{1005, "DCGM_FI_PROF_DRAM_UTIL_RATIO", gauge, "Ratio of cycles the device memory interface is active sending or receiving data.", true, float(reading.memoryUtilization), nil},
		{1603, "DCGM_FI_DEV_SM_CLOCK_HERTZ", gauge, "SM clock frequency (in Hz).", true, integer(func(r reading) float64 { return r.SMClockMHz * hertzPerMHz }), nil},
		{1604, "DCGM_FI_DEV_MEMORY_CLOCK_HERTZ", gauge, "Memory clock frequency (in Hz).", true, integer(func(r reading) float64 { return r.MemoryClockMHz * hertzPerMHz }), nil},
		{1611, "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", counter, "Total energy consumption since boot (in J).", true, integer(func(r reading) float64 { return r.EnergyJ }), nil},
		{1613, "DCGM_FI_DEV_GPU_UTIL_RATIO", gauge, "GPU utilization (0 to 1).", true, float(func(r reading) float64 { return r.Utilization }), nil},
		{1614, "DCGM_FI_DEV_MEMORY_UTIL_RATIO", gauge, "Memory utilization (0 to 1).", true, float(reading.memoryUtilization), nil},
		{1615, "DCGM_FI_DEV_ENC_UTIL_RATIO", gauge, "Encoder utilization (0 to 1).", true, float(func(reading) float64 { return 0 }), nil},
		{1616, "DCGM_FI_DEV_DEC_UTIL_RATIO", gauge, "Decoder utilization (0 to 1).", true, float(func(reading) float64 { return 0 }), nil},
		{1625, "DCGM_FI_DEV_FB_CAPACITY_BYTES", gauge, "Total framebuffer memory (in bytes).", false, integer(reading.memoryTotalBytes), nil},
		{1626, "DCGM_FI_DEV_FB_FREE_BYTES", gauge, "Framebuffer memory free (in bytes).", true, integer(reading.memoryFreeBytes), nil},
		{1627, "DCGM_FI_DEV_FB_USED_BYTES", gauge, "Framebuffer memory used (in bytes).", true, integer(reading.memoryUsedBytes), nil},
		{1628, "DCGM_FI_DEV_FB_RESERVED_BYTES", gauge, "Framebuffer memory reserved (in bytes).", true, integer(reading.memoryReservedBytes), nil},
	}
}

func noXID() []label { return []label{{"err_code", "0"}, {"err_msg", "No Error"}} }

// The exporter prints a field of DCGM's integer type with %d and one of its
// floating-point type with %f.

func integer(value func(reading) float64) func(reading) string {
	return func(r reading) string { return strconv.FormatInt(nearest(value(r)), 10) }
}

func float(value func(reading) float64) func(reading) string {
	return func(r reading) string { return strconv.FormatFloat(value(r), 'f', 6, 64) }
}

func mebibytes(value func(reading) float64) func(reading) string {
	return integer(func(r reading) float64 { return value(r) / bytesPerMiB })
}

func zero(reading) string { return "0" }
