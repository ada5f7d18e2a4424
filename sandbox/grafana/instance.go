package grafana

import "net/http"

// dataSourceUID is that of the kube-prometheus-stack chart.
const dataSourceUID = "prometheus"

func (s *Server) instanceRoutes(mux *http.ServeMux) {
	s.route(mux, "GET /api/org", readOrganisation, func(w http.ResponseWriter, _ *http.Request, _ identity) {
		respond(w, http.StatusOK, map[string]any{
			"id": 1, "name": "Main Org.",
			"address": map[string]any{"address1": "", "address2": "", "city": "", "zipCode": "", "state": "", "country": ""},
		})
	})
	s.route(mux, "GET /api/user", signedIn, func(w http.ResponseWriter, _ *http.Request, by identity) {
		respond(w, http.StatusOK, map[string]any{
			"id": by.id, "login": by.login, "email": by.email, "name": by.login, "theme": "", "orgId": 1,
			"isGrafanaAdmin": by.role >= Admin, "isDisabled": false, "isExternal": false, "authLabels": []string{}, "avatarUrl": "",
		})
	})
	s.route(mux, "GET /api/datasources", readDataSources, func(w http.ResponseWriter, _ *http.Request, _ identity) {
		respond(w, http.StatusOK, []any{s.dataSource()})
	})
	s.route(mux, "GET /api/datasources/uid/{uid}", readDataSources, func(w http.ResponseWriter, r *http.Request, _ identity) {
		if r.PathValue("uid") != dataSourceUID {
			failure(http.StatusNotFound, "Data source not found").write(w)
			return
		}
		respond(w, http.StatusOK, s.dataSource())
	})
}

func (s *Server) dataSource() map[string]any {
	return map[string]any{
		"id": 1, "uid": dataSourceUID, "orgId": 1, "name": "Prometheus", "type": "prometheus", "typeName": "Prometheus",
		"typeLogoUrl": "public/plugins/prometheus/img/prometheus_logo.svg", "access": "proxy", "url": s.cfg.PrometheusURL,
		"user": "", "database": "", "basicAuth": false, "isDefault": true, "readOnly": true,
		"jsonData": map[string]any{"httpMethod": "POST", "timeInterval": "30s"},
	}
}
