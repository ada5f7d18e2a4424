package grafana

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// provision loads the dashboards of a provider. As in Grafana, a file that
// isn't a dashboard is reported in the log and left out, and so is one whose
// uid another file has.
func (s *Server) provision(provider dashboardProvider) error {
	dir := provider.Options.Path
	files, err := dashboardFiles(dir)
	if errors.Is(err, fs.ErrNotExist) && provider.Name != "default" {
		s.log.Error("Cannot read directory", "path", dir, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the provisioned dashboards: %w", err)
	}
	fault := s.store.change(func(st *state) *apiError {
		if !provider.DisableDeletion {
			st.Dashboards = slices.DeleteFunc(st.Dashboards, func(d *dashboard) bool {
				return d.Provisioned && d.Provider == provider.Name && !slices.Contains(files, d.File)
			})
		}
		for _, file := range files {
			if err := st.provisionFile(provider, file, s); err != nil {
				s.log.Error("failed to load dashboard", "file", file, "error", err)
				continue
			}
		}
		s.log.Info("provisioned dashboards", "provider", provider.Name, "files", len(files))
		return nil
	})
	if fault != nil {
		return fmt.Errorf("keep the provisioned dashboards: %v", fault.body["message"])
	}
	return nil
}

func (st *state) provisionFile(provider dashboardProvider, file string, s *Server) error {
	data, err := os.ReadFile(filepath.Join(provider.Options.Path, file))
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
	var known *dashboard
	for _, d := range st.Dashboards {
		if d.Provisioned && d.Provider == provider.Name && d.File == file {
			known = d
		}
	}
	if uid == "" && known != nil {
		uid = known.UID
	}
	if other := st.dashboard(uid); uid != "" && other != nil && other != known && other.Provisioned {
		return fmt.Errorf("the same UID is used more than once: %s, also by %s", uid, other.File)
	}
	folderUID := st.providedFolder(provider, file, s)
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if known != nil && known.UID == uid && known.SourceSHA256 == digest && known.FolderUID == folderUID {
		return nil
	}
	if known != nil && known.UID != uid {
		st.Dashboards = slices.DeleteFunc(st.Dashboards, func(d *dashboard) bool { return d == known })
	}
	d := st.saveDashboard(uid, text(model, "title"), folderUID, model, "", s.now())
	d.Provisioned, d.Provider, d.File, d.SourceSHA256 = true, provider.Name, file, digest
	return nil
}

// providedFolder returns the UID of the folder that a file's dashboard is in:
// by the file's directory, or the provider's own; empty for none.
func (st *state) providedFolder(provider dashboardProvider, file string, s *Server) string {
	if provider.Options.FoldersFromFilesStructure {
		if title := filepath.ToSlash(filepath.Dir(file)); title != "." {
			return st.provisionFolder("", title, s).UID
		}
		return ""
	}
	if provider.Folder == "" {
		return ""
	}
	return st.provisionFolder(provider.FolderUID, provider.Folder, s).UID
}

func (st *state) provisionFolder(uid, title string, s *Server) *folder {
	for _, f := range st.Folders {
		if f.Title == title {
			return f
		}
	}
	f := st.addFolder(uid, title, s.now())
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
