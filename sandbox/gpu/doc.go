// Package gpu stands in for the GPU driver of one sandbox node.
//
// The node's GPUs are described by an inventory file in a directory that all
// processes of the node share. A process that computes on a device opens an
// [Accounting] for it and reports its kernels and its memory; a process that
// watches the devices opens a [Telemetry] and samples them, as NVML and DCGM
// let it do on real hardware. Everything is kept in one small memory-mapped
// file per device, so reporting a kernel costs one atomic operation and a
// process killed in the middle of a kernel leaves the device consistent.
//
// All readers agree: busy time and energy are functions of the shared file
// and the clock, not of who samples them or how often.
package gpu
