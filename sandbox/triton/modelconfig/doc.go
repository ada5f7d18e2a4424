// Package modelconfig reads the simulator's model files: the fields of a Triton
// model configuration, as /v2/models/NAME/config shows them, plus a sim section
// that says how the simulated model behaves.
package modelconfig
