package core

import (
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// Device is one GPU that the server sees.
type Device struct {
	Index int32 // as the server counts them, from 0
	UUID  string
	Meter Meter
}

// Meter takes account of what the server does with a device.
type Meter interface {
	Begin()                      // a kernel starts
	End()                        // and ends
	SetMemoryBytes(bytes uint64) // all that the server uses
}

func (d *Device) begin() {
	if d != nil && d.Meter != nil {
		d.Meter.Begin()
	}
}

func (d *Device) end() {
	if d != nil && d.Meter != nil {
		d.Meter.End()
	}
}

// contextBytes is what a CUDA context takes of a device before any model does.
const contextBytes = 450 << 20

func (s *Server) gpuIndices() []int32 {
	indices := make([]int32, len(s.options.Devices))
	for i := range s.options.Devices {
		indices[i] = s.options.Devices[i].Index
	}
	return indices
}

func (s *Server) groupsOf(config *inferencepb.ModelConfig) []instanceGroup {
	var groups []instanceGroup
	for _, g := range config.InstanceGroup {
		if g.Passive {
			continue
		}
		if g.Kind != inferencepb.ModelInstanceGroup_KIND_GPU {
			groups = append(groups, instanceGroup{name: g.Name, count: int(g.Count)})
			continue
		}
		for i := range s.options.Devices {
			for _, index := range g.Gpus {
				if s.options.Devices[i].Index == index {
					groups = append(groups, instanceGroup{name: g.Name, count: int(g.Count), device: &s.options.Devices[i]})
				}
			}
		}
	}
	return groups
}

// accountMemory tells every device how much the loaded models take of it.
func (s *Server) accountMemory() {
	used := make(map[*Device]uint64, len(s.options.Devices))
	for i := range s.options.Devices {
		used[&s.options.Devices[i]] = contextBytes
	}
	for _, m := range s.Loaded() {
		memory := m.sim.Load().GPUMemory
		if memory == nil || m.scheduler == nil {
			continue
		}
		for _, inst := range m.scheduler.instances {
			if inst.device != nil {
				used[inst.device] += uint64(memory.Value())
			}
		}
	}
	for device, bytes := range used {
		if device.Meter != nil {
			device.Meter.SetMemoryBytes(bytes)
		}
	}
}
