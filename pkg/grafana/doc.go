// Package grafana marks load tests in Grafana and finds dashboards, over
// Grafana's HTTP API.
//
// Annotations are those of the organisation, found by their tags: annotations
// bound to a provisioned dashboard are lost when Grafana restarts.
package grafana
