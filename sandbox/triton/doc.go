// Package triton simulates NVIDIA Triton Inference Server: a queueing system
// with instances, dynamic batching, limits and a response cache, whose models
// take a configured time, behind Triton's HTTP, gRPC and metrics endpoints.
//
// What it answers, including its errors and oddities, is held to captures of a
// real server by a conformance test. What really happened to each request can
// be read from the control port.
package triton
