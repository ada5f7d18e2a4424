package grafana

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// provision loads the dashboards of a directory. A subdirectory becomes a
// folder. As in Grafana, a file that isn't a dashboard is reported in the log
// and left out.
func (s *Server) provision(dir string) error {
	files, err := dashboardFiles(dir)
	if err != nil {
		return fmt.Errorf("read the provisioned dashboards: %w", err)
	}
	fault := s.store.change(func(st *state) *apiError {
		for _, file := range files {
			if err := st.provisionFile(dir, file, s); err != nil {
				s.log.Error("failed to load dashboard", "file", file, "error", err)
				continue
			}
		}
		st.Dashboards = slices.DeleteFunc(st.Dashboards, func(d *dashboard) bool { return d.Provisioned && !slices.Contains(files, d.File) })
		s.log.Info("provisioned dashboards", "directory", dir, "files", len(files))
		return nil
	})
	if fault != nil {
		return fmt.Errorf("keep the provisioned dashboards: %v", fault.body["message"])
	}
	return nil
}

func (st *state) provisionFile(dir, file string, s *Server) error {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return err
	}
	model, err := decodeModel(data)
	if err != nil {
		return err
	}
	uid := text(model, "uid")
	if fault := validUID(uid); fault != nil {
		return fmt.Errorf("%v", fault.body["message"])
	}
	for _, d := range st.Dashboards {
		if d.File == file {
			uid = d.UID
		}
	}
	var folderUID string
	if title := filepath.ToSlash(filepath.Dir(file)); title != "." {
		folderUID = st.provisionFolder(title, s).UID
	}
	d := st.saveDashboard(uid, text(model, "title"), folderUID, model, "", s.now())
	d.Provisioned, d.File = true, file
	return nil
}

func (st *state) provisionFolder(title string, s *Server) *folder {
	for _, f := range st.Folders {
		if f.Title == title {
			return f
		}
	}
	f := st.addFolder("", title, s.now())
	f.Provisioned = true
	return f
}

// dashboardFiles lists the JSON files below dir. The data directories of a
// mounted ConfigMap begin with two dots and are reached through links.
func dashboardFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(entry.Name(), "..") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() || filepath.Ext(path) != ".json" {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, name)
		return err
	})
	return files, err
}
