// Package stack installs, inspects and removes the observability stack:
// kube-prometheus-stack and dcgm-exporter as Helm releases, and the monitors,
// rules and dashboards for Triton beside them. It is the only package that
// knows Helm; none of Helm's types leave it.
//
// A change is planned before it is made: Plan compares each object with what
// the API server has, by a server-side dry run, and Apply carries a plan out.
package stack
