// Package grafana stands in for the HTTP API of Grafana in the sandbox: health,
// annotations, dashboards, search, folders, data sources, the organisation and
// the user, behind basic authentication and service-account tokens.
//
// Paths, status codes and bodies follow Grafana's HTTP API reference and the
// answers of Grafana 13; there is no user interface beyond a login page. A
// separate control handler makes chosen requests slow or fail.
package grafana
