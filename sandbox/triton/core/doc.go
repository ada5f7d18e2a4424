// Package core is the simulator's inference server without its protocols: model
// repository, schedulers with their queues and dynamic batches, instances that
// take real time, response cache, ensembles, sequences, statistics and a log of
// what really happened.
package core
