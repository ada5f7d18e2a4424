// Package cluster is the life of a sandbox instance: a daemon that holds a
// control plane and its nodes, the workloads on it, and one directory with all
// of its state. Instances are independent: each has its own directory, lock
// and free ports.
package cluster
