// Package dashboard reads Grafana dashboards in classic JSON, checks them
// against conventions, and brings them into a form that can be kept in a
// repository: clean, portable, with small diffs.
package dashboard
