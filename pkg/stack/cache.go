package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cache keeps packages by the address they came from. A file's name ends with
// the SHA-256 of its content, so that each one can be verified by itself and
// processes may write at the same time.
type cache struct {
	dir string // "" for a cache that holds nothing
}

func (s cache) folder(address string) string {
	return filepath.Join(s.dir, digestOf([]byte(address))[:16])
}

// get finds an intact package; corrupt ones are removed.
func (s cache) get(c Chart, address string) ([]byte, bool) {
	if s.dir == "" {
		return nil, false
	}
	folder := s.folder(address)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, false
	}
	for _, e := range entries {
		digest, ok := strings.CutPrefix(e.Name(), c.Name+"-"+c.Version+"-")
		if !ok {
			continue
		}
		digest, ok = strings.CutSuffix(digest, ".tgz")
		if !ok || len(digest) != 64 {
			continue
		}
		file := filepath.Join(folder, e.Name())
		if info, err := e.Info(); err != nil || info.Size() > maxPackageBytes {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if digestOf(data) == digest {
			return data, true
		}
		os.Remove(file)
	}
	return nil, false
}

// put keeps a package. What can't be kept is fetched again next time.
func (s cache) put(c Chart, address string, data []byte, digest string) {
	if s.dir == "" {
		return
	}
	folder := s.folder(address)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return
	}
	_ = writeAtomically(filepath.Join(folder, fmt.Sprintf("%s-%s-%s.tgz", c.Name, c.Version, digest)), data, 0o600)
}

// writeAtomically gives a file its content at once: a reader sees the old one
// or the new one, and a failure leaves the old one.
func writeAtomically(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
