package gpu

import (
	"math"
	"time"
)

const (
	// A fully busy device draws this share of what its limit allows beyond
	// idle: inference kernels rarely reach the limit.
	fullLoadShare = 0.85

	inletTemperatureC   = 27.0
	riseAtLimitC        = 48.0 // steady state at the power limit, above the inlet
	thermalTimeConstant = 20 * time.Second
	memoryHotterC       = 6.0

	idleSMClockMHz        = 210
	defaultSMClockMHz     = 1410
	idleMemoryClockMHz    = 405
	defaultMemoryClockMHz = 1215
)

func activePowerW(d Device) float64 { return fullLoadShare * (d.LimitPowerW - d.IdlePowerW) }

func powerW(d Device, utilization float64) float64 {
	return d.IdlePowerW + utilization*activePowerW(d)
}

// energyJ is the integral of powerW: both speak of the same device.
func energyJ(d Device, elapsed, busy time.Duration) float64 {
	return d.IdlePowerW*elapsed.Seconds() + activePowerW(d)*busy.Seconds()
}

func steadyTemperatureC(d Device, powerW float64) float64 {
	return inletTemperatureC + riseAtLimitC*powerW/d.LimitPowerW
}

func restingTemperatureC(d Device) float64 { return steadyTemperatureC(d, d.IdlePowerW) }

// warm moves a temperature towards that of the power drawn for the given time,
// by Newton's law of cooling. The result doesn't depend on how the time is
// divided into samples of equal power.
func warm(d Device, temperatureC, powerW float64, elapsed time.Duration) float64 {
	target := steadyTemperatureC(d, powerW)
	return target + (temperatureC-target)*math.Exp(-elapsed.Seconds()/thermalTimeConstant.Seconds())
}

func memoryTemperatureC(temperatureC float64) float64 { return temperatureC + memoryHotterC }

// clocksMHz are the highest ones as soon as a process holds the device: a
// context keeps a data-centre GPU in its performance state.
func clocksMHz(d Device, held bool) (sm, memory float64) {
	if !held {
		return idleSMClockMHz, idleMemoryClockMHz
	}
	sm, memory = d.SMClockMaxMHz, d.MemoryClockMaxMHz
	if sm == 0 {
		sm = defaultSMClockMHz
	}
	if memory == 0 {
		memory = defaultMemoryClockMHz
	}
	return sm, memory
}
