package grafana

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

// Provisioning is where the files lie that configure an instance: Dir has the
// subdirectories dashboards and datasources, as the container sees them.
type Provisioning struct {
	Dir    string
	Mounts podpath.Mounts
}

// dashboardProvider is one entry of a file in the directory dashboards.
type dashboardProvider struct {
	Name                  string `json:"name"`
	Folder                string `json:"folder"`
	FolderUID             string `json:"folderUid"`
	Type                  string `json:"type"`
	DisableDeletion       bool   `json:"disableDeletion"`
	UpdateIntervalSeconds int    `json:"updateIntervalSeconds"`
	Options               struct {
		Path                      string `json:"path"`
		FoldersFromFilesStructure bool   `json:"foldersFromFilesStructure"`
	} `json:"options"`
}

const defaultUpdateInterval = 10 * time.Second

// providers reads what the files in the directory dashboards say.
func (p *Provisioning) providers() ([]dashboardProvider, error) {
	var all []dashboardProvider
	err := p.each("dashboards", func(content []byte) error {
		var file struct {
			Providers []dashboardProvider `json:"providers"`
		}
		if err := yaml.Unmarshal(content, &file); err != nil {
			return err
		}
		for _, provider := range file.Providers {
			if provider.Type != "" && provider.Type != "file" {
				return fmt.Errorf("the provider %q has the type %q; only file is known", provider.Name, provider.Type)
			}
			if provider.Options.Path == "" {
				return fmt.Errorf("the provider %q has no path", provider.Name)
			}
			provider.Options.Path = p.Mounts.LocalOr(provider.Options.Path)
			all = append(all, provider)
		}
		return nil
	})
	return all, err
}

// dataSources reads what the files in the directory datasources say.
func (p *Provisioning) dataSources() ([]map[string]any, error) {
	all := []map[string]any{}
	err := p.each("datasources", func(content []byte) error {
		var file struct {
			DataSources []map[string]any `json:"datasources"`
		}
		if err := yaml.Unmarshal(content, &file); err != nil {
			return err
		}
		for _, source := range file.DataSources {
			if text(source, "name") == "" || text(source, "type") == "" {
				return fmt.Errorf("a data source has no name or no type")
			}
			all = append(all, source)
		}
		return nil
	})
	return all, err
}

func (p *Provisioning) each(subdirectory string, read func(content []byte) error) error {
	files, err := p.Mounts.Files(path.Join(p.Dir, subdirectory))
	if err != nil {
		return fmt.Errorf("cannot read the provisioning of %s: %w", subdirectory, err)
	}
	for _, file := range files {
		if extension := path.Ext(file); extension != ".yaml" && extension != ".yml" {
			continue
		}
		content, err := os.ReadFile(file)
		if err == nil {
			err = read(content)
		}
		if err != nil {
			return fmt.Errorf("cannot read the provisioning of %s in %s: %w", subdirectory, path.Base(file), err)
		}
	}
	return nil
}

// ReloadDashboards reads the provisioned dashboards anew.
func (s *Server) ReloadDashboards() error {
	providers := []dashboardProvider{}
	if s.cfg.DashboardsDir != "" {
		own := dashboardProvider{Name: "default"}
		own.Options.Path, own.Options.FoldersFromFilesStructure = s.cfg.DashboardsDir, true
		providers = append(providers, own)
	}
	if s.cfg.Provisioning != nil {
		more, err := s.cfg.Provisioning.providers()
		if err != nil {
			return err
		}
		providers = append(providers, more...)
	}
	for _, provider := range providers {
		if err := s.provision(provider); err != nil {
			return err
		}
	}
	return nil
}

// ReloadDataSources reads the provisioned data sources anew. Without any, the
// one of the configuration stays.
func (s *Server) ReloadDataSources() error {
	if s.cfg.Provisioning == nil {
		return nil
	}
	sources, err := s.cfg.Provisioning.dataSources()
	if err != nil {
		return err
	}
	s.sources.Store(&sources)
	return nil
}

// UpdateInterval is how often the provisioned dashboards are to be read anew
// without being told to: the shortest of the providers.
func (s *Server) UpdateInterval() time.Duration {
	shortest := time.Duration(0)
	if s.cfg.Provisioning != nil {
		providers, err := s.cfg.Provisioning.providers()
		if err != nil {
			return defaultUpdateInterval
		}
		for _, p := range providers {
			if interval := time.Duration(p.UpdateIntervalSeconds) * time.Second; interval > 0 && (shortest == 0 || interval < shortest) {
				shortest = interval
			}
		}
	}
	if shortest == 0 {
		return defaultUpdateInterval
	}
	return shortest
}

func (s *Server) provisioningRoutes(mux *http.ServeMux) {
	for what, reload := range map[string]func() error{"dashboards": s.ReloadDashboards, "datasources": s.ReloadDataSources} {
		s.route(mux, "POST /api/admin/provisioning/"+what+"/reload", reloadProvisioning, func(w http.ResponseWriter, _ *http.Request, _ identity) {
			if err := reload(); err != nil {
				s.log.Error("Failed to provision "+what, "error", err)
				failure(http.StatusInternalServerError, "").write(w)
				return
			}
			succeed(w, map[string]string{"dashboards": "Dashboards config reloaded", "datasources": "Datasources config reloaded"}[what])
		})
	}
}
