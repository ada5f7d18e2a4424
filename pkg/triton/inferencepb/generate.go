// Package inferencepb holds the messages and stubs of Triton's gRPC protocol
// (service inference.GRPCInferenceService), generated from the .proto files
// beside it. They carry the protocol's names and field numbers; registering
// shared memory is left out, as nothing here shares memory with a server.
package inferencepb

//go:generate ./generate.sh
