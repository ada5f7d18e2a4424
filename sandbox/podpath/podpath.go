// Package podpath translates the paths that a container sees to those of this
// machine, since the sandbox's containers are not isolated.
package podpath

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// EnvMounts names the variable in which a node agent hands a program the
// mounts of its pod, as JSON.
const EnvMounts = "SANDBOX_MOUNTS"

// Mount is a directory or file that a container sees under another path.
type Mount struct {
	ContainerPath string `json:"containerPath"`
	LocalPath     string `json:"localPath"`
}

// Mounts are those of one container or pod.
type Mounts []Mount

// FromEnvironment returns the mounts that the node agent handed over; none if
// the program was not started by one.
func FromEnvironment() (Mounts, error) {
	text := os.Getenv(EnvMounts)
	if text == "" {
		return nil, nil
	}
	var mounts Mounts
	if err := json.Unmarshal([]byte(text), &mounts); err != nil {
		return nil, fmt.Errorf("%s is not a list of mounts: %w", EnvMounts, err)
	}
	return mounts, nil
}

// Local returns the local path of a container's path, by the longest mount
// that holds it. It is false for a path outside of all mounts.
func (m Mounts) Local(p string) (string, bool) {
	best, rest := -1, ""
	for i, mount := range m {
		tail, ok := strings.CutPrefix(p, mount.ContainerPath)
		if !ok || (tail != "" && tail[0] != '/') {
			continue
		}
		if best < 0 || len(mount.ContainerPath) > len(m[best].ContainerPath) {
			best, rest = i, tail
		}
	}
	if best < 0 {
		return "", false
	}
	local := filepath.Join(m[best].LocalPath, rest)
	if strings.HasSuffix(rest, "/") {
		local += "/"
	}
	return local, true
}

// LocalOr returns p itself where Local finds nothing.
func (m Mounts) LocalOr(p string) string {
	if local, ok := m.Local(p); ok {
		return local
	}
	return p
}

// Files returns the local paths of the files that a container sees in a
// directory, sorted by name: those of a mounted directory, and files that are
// mounted into it one by one. Names that begin with a dot are left out.
func (m Mounts) Files(dir string) ([]string, error) {
	found := map[string]string{}
	entries, err := os.ReadDir(m.LocalOr(dir))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			found[e.Name()] = filepath.Join(m.LocalOr(dir), e.Name())
		}
	}
	for _, mount := range m {
		if path.Dir(mount.ContainerPath) != path.Clean(dir) {
			continue
		}
		if info, err := os.Stat(mount.LocalPath); err == nil && !info.IsDir() {
			found[path.Base(mount.ContainerPath)] = mount.LocalPath
		}
	}
	var names []string
	for name := range found {
		if !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = found[name]
	}
	return files, nil
}
