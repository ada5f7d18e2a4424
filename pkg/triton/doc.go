// Package triton talks to a Triton Inference Server: its control plane over
// HTTP (health, metadata, configuration, statistics, repository), and
// inference over HTTP and gRPC with requests built from the model's own
// metadata and configuration.
//
// The protocol is KServe v2 with Triton's extensions for binary tensors, model
// configuration, statistics and the model repository:
// https://github.com/triton-inference-server/server/tree/main/docs/protocol
// Behaviour that differs from those pages was read from a real server's
// answers, which are the test data of this package.
package triton
