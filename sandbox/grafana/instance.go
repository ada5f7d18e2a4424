package grafana

import (
	"cmp"
	"net/http"
	"strings"
)

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
		respond(w, http.StatusOK, s.dataSources())
	})
	for _, by := range []string{"uid", "name"} {
		s.route(mux, "GET /api/datasources/"+by+"/{value}", readDataSources, func(w http.ResponseWriter, r *http.Request, _ identity) {
			for _, source := range s.dataSources() {
				if source[by] == r.PathValue("value") {
					respond(w, http.StatusOK, source)
					return
				}
			}
			failure(http.StatusNotFound, "Data source not found").write(w)
		})
	}
}

// dataSources are the provisioned ones, or the one of the configuration.
func (s *Server) dataSources() []map[string]any {
	provisioned := s.sources.Load()
	if provisioned == nil || len(*provisioned) == 0 {
		return []map[string]any{dataSource(1, map[string]any{
			"uid": dataSourceUID, "name": "Prometheus", "type": "prometheus", "url": s.cfg.PrometheusURL, "isDefault": true,
			"jsonData": map[string]any{"httpMethod": "POST", "timeInterval": "30s"},
		})}
	}
	var all []map[string]any
	for i, source := range *provisioned {
		all = append(all, dataSource(i+1, source))
	}
	return all
}

// dataSource is the API's view of a data source that a file describes.
func dataSource(id int, described map[string]any) map[string]any {
	name, kind := text(described, "name"), text(described, "type")
	uid := cmp.Or(text(described, "uid"), generatedUID(name, int64(id)))
	isDefault, _ := described["isDefault"].(bool)
	settings, _ := described["jsonData"].(map[string]any)
	if settings == nil {
		settings = map[string]any{}
	}
	typeName := kind
	if kind != "" {
		typeName = strings.ToUpper(kind[:1]) + kind[1:]
	}
	return map[string]any{
		"id": id, "uid": uid, "orgId": 1, "name": name, "type": kind, "typeName": typeName,
		"typeLogoUrl": "public/plugins/" + kind + "/img/" + kind + "_logo.svg", "access": cmp.Or(text(described, "access"), "proxy"), "url": text(described, "url"),
		"user": "", "database": "", "basicAuth": false, "isDefault": isDefault, "readOnly": true, "jsonData": settings,
	}
}
