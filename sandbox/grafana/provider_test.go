package grafana

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

// provisionedClient serves an instance whose provider file is mounted alone and
// whose dashboards and data sources lie in mounted directories, as in the chart.
func provisionedClient(t *testing.T, provider string) (c *client, write func(name, content string)) {
	t.Helper()
	dir := t.TempDir()
	write = func(name, content string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if content == "" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config/provider.yaml", provider)
	for _, name := range []string{"dashboards", "datasources"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mounts := podpath.Mounts{
		{ContainerPath: "/etc/grafana/provisioning/dashboards/p.yaml", LocalPath: filepath.Join(dir, "config/provider.yaml")},
		{ContainerPath: "/etc/grafana/provisioning/datasources", LocalPath: filepath.Join(dir, "datasources")},
		{ContainerPath: "/tmp/dashboards", LocalPath: filepath.Join(dir, "dashboards")},
	}
	return newClient(t, func(cfg *Config) { cfg.Provisioning = &Provisioning{Dir: "/etc/grafana/provisioning", Mounts: mounts} }), write
}

const reloadDashboards = "/api/admin/provisioning/dashboards/reload"

func TestDashboardsComeAndGoWithReload(t *testing.T) {
	c, write := provisionedClient(t, "providers: [{name: sidecarProvider, type: file, options: {path: /tmp/dashboards, foldersFromFilesStructure: true}}]")
	c.object(http.MethodGet, "/api/dashboards/uid/gpu", "", http.StatusNotFound)
	write("dashboards/Triton/gpu.json", `{"uid":"gpu","title":"GPU"}`)
	write("dashboards/twin.json", `{"uid":"gpu","title":"Twin"}`)
	if got := c.object(http.MethodPost, reloadDashboards, "", http.StatusOK); got["message"] != "Dashboards config reloaded" {
		t.Errorf("%v", got)
	}
	get := func() (meta, model map[string]any) {
		got := c.object(http.MethodGet, "/api/dashboards/uid/gpu", "", http.StatusOK)
		return got["meta"].(map[string]any), got["dashboard"].(map[string]any)
	}
	meta, model := get()
	if meta["folderTitle"] != "Triton" || meta["provisioned"] != true || model["title"] != "GPU" {
		t.Errorf("%v %v: want the first file's, in its folder", meta, model)
	}
	c.object(http.MethodPost, reloadDashboards, "", http.StatusOK)
	if _, again := get(); again["version"] != model["version"] {
		t.Errorf("version %v became %v although the file is the same", model["version"], again["version"])
	}
	write("dashboards/Triton/gpu.json", `{"uid":"gpu","title":"GPU 2"}`)
	c.object(http.MethodPost, reloadDashboards, "", http.StatusOK)
	if _, changed := get(); changed["title"] != "GPU 2" || changed["version"] == model["version"] {
		t.Errorf("%v: want the new title and version", changed)
	}
	write("dashboards/Triton/gpu.json", "")
	write("dashboards/twin.json", "")
	c.object(http.MethodPost, reloadDashboards, "", http.StatusOK)
	c.object(http.MethodGet, "/api/dashboards/uid/gpu", "", http.StatusNotFound)
	c.as(bearer(viewerToken)).object(http.MethodPost, reloadDashboards, "", http.StatusForbidden)
}

func TestProvidersFolder(t *testing.T) {
	c, write := provisionedClient(t, "providers: [{name: p, folder: All, folderUid: all, options: {path: /tmp/dashboards}}]")
	write("dashboards/Sub/gpu.json", `{"uid":"gpu","title":"GPU"}`)
	c.object(http.MethodPost, reloadDashboards, "", http.StatusOK)
	if meta := c.object(http.MethodGet, "/api/dashboards/uid/gpu", "", http.StatusOK)["meta"].(map[string]any); meta["folderUid"] != "all" || meta["folderTitle"] != "All" {
		t.Errorf("%v: want the provider's folder", meta)
	}
}

func TestProvisionedDataSources(t *testing.T) {
	c, write := provisionedClient(t, "providers: []")
	if got := c.object(http.MethodGet, "/api/datasources/uid/prometheus", "", http.StatusOK); got["type"] != "prometheus" {
		t.Errorf("%v: without files there is the configuration's", got)
	}
	write("datasources/datasource.yaml", "datasources: [{name: Prometheus, type: prometheus, uid: prom, url: 'http://p:9090/', isDefault: true, jsonData: {timeInterval: 1s}}, {name: Alertmanager, type: alertmanager, uid: am}]")
	c.object(http.MethodPost, "/api/admin/provisioning/datasources/reload", "", http.StatusOK)
	got := c.object(http.MethodGet, "/api/datasources/uid/prom", "", http.StatusOK)
	if got["url"] != "http://p:9090/" || got["isDefault"] != true || got["jsonData"].(map[string]any)["timeInterval"] != "1s" {
		t.Errorf("%v", got)
	}
	c.object(http.MethodGet, "/api/datasources/uid/prometheus", "", http.StatusNotFound)
	if got := c.object(http.MethodGet, "/api/datasources/name/Alertmanager", "", http.StatusOK); got["uid"] != "am" {
		t.Errorf("%v", got)
	}
	write("datasources/datasource.yaml", "datasources: [{name: x}]")
	c.object(http.MethodPost, "/api/admin/provisioning/datasources/reload", "", http.StatusInternalServerError)
}
