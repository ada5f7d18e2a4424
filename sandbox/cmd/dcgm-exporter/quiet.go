package main

// quietFields report faults, throttling and parts that a healthy simulated GPU
// has none of: they are 0 at all times.
func quietFields() []field {
	quiet := func(id int, name, metricType, help string, byDefault bool) field {
		return field{id: id, name: name, metricType: metricType, help: help, byDefault: byDefault, value: zero}
	}
	return []field{
		quiet(202, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", counter, "Total number of PCIe retries.", true),
		quiet(240, "DCGM_FI_DEV_POWER_VIOLATION", counter, "Throttling duration due to power constraints (in ns).", false),
		quiet(241, "DCGM_FI_DEV_THERMAL_VIOLATION", counter, "Throttling duration due to thermal constraints (in ns).", false),
		quiet(242, "DCGM_FI_DEV_SYNC_BOOST_VIOLATION", counter, "Throttling duration due to sync-boost constraints (in ns).", false),
		quiet(243, "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", counter, "Throttling duration due to board limit constraints (in ns).", false),
		quiet(244, "DCGM_FI_DEV_LOW_UTIL_VIOLATION", counter, "Throttling duration due to low utilization (in ns).", false),
		quiet(245, "DCGM_FI_DEV_RELIABILITY_VIOLATION", counter, "Throttling duration due to reliability constraints (in ns).", false),
		quiet(310, "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", counter, "Total number of single-bit volatile ECC errors.", false),
		quiet(311, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", counter, "Total number of double-bit volatile ECC errors.", false),
		quiet(312, "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", counter, "Total number of single-bit persistent ECC errors.", false),
		quiet(313, "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", counter, "Total number of double-bit persistent ECC errors.", false),
		quiet(390, "DCGM_FI_DEV_RETIRED_SBE", counter, "Total number of retired pages due to single-bit errors.", false),
		quiet(391, "DCGM_FI_DEV_RETIRED_DBE", counter, "Total number of retired pages due to double-bit errors.", false),
		quiet(392, "DCGM_FI_DEV_RETIRED_PENDING", counter, "Total number of pages pending retirement.", false),
		quiet(393, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", counter, "Number of remapped rows for uncorrectable errors", true),
		quiet(394, "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", counter, "Number of remapped rows for correctable errors", true),
		quiet(395, "DCGM_FI_DEV_ROW_REMAP_FAILURE", gauge, "Whether remapping of rows has failed", true),
		quiet(409, "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", counter, "Total number of NVLink flow-control CRC errors.", false),
		quiet(419, "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", counter, "Total number of NVLink data CRC errors.", false),
		quiet(429, "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", counter, "Total number of NVLink retries.", false),
		quiet(439, "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", counter, "Total number of NVLink recovery errors.", false),
		quiet(449, "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", counter, "Total number of NVLink bandwidth counters for all lanes.", true),
		quiet(500, "DCGM_FI_DEV_VGPU_LICENSE_STATUS", gauge, "vGPU License status", true),
	}
}
