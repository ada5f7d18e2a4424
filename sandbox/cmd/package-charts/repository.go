package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// crdsChart is where kube-prometheus-stack keeps the subchart of definitions.
const crdsChart = "charts/crds"

// created stands in the archives and the index for the time of packaging.
var created = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// index is a repository's index.yaml.
type index struct {
	APIVersion string             `json:"apiVersion"`
	Entries    map[string][]entry `json:"entries"`
	Generated  time.Time          `json:"generated"`
}

// entry is one version of a chart: what its Chart.yaml says, and where it is.
type entry map[string]any

// readDir returns the files below dir by their slash-separated paths.
func readDir(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(file)
		return err
	})
	return files, err
}

func (i *index) add(name string, files map[string][]byte, destination string) error {
	var metadata entry
	if err := yaml.Unmarshal(files["Chart.yaml"], &metadata); err != nil {
		return fmt.Errorf("the Chart.yaml of %s is not valid: %w", name, err)
	}
	if metadata["name"] != name || metadata["version"] == nil {
		return fmt.Errorf("the Chart.yaml of %s must have the directory's name and a version", name)
	}
	packed, err := archive(name, files)
	if err != nil {
		return fmt.Errorf("cannot pack the chart %s: %w", name, err)
	}
	file := fmt.Sprintf("%s-%s.tgz", name, metadata["version"])
	if err := os.WriteFile(filepath.Join(destination, file), packed, 0o644); err != nil {
		return fmt.Errorf("cannot store the chart %s: %w", name, err)
	}
	digest := sha256.Sum256(packed)
	metadata["digest"], metadata["urls"], metadata["created"] = hex.EncodeToString(digest[:]), []string{file}, created
	i.Entries[name] = append(i.Entries[name], metadata)
	return nil
}

func (i *index) write(destination string) error {
	i.Generated = created
	content, err := yaml.Marshal(i)
	if err != nil {
		return fmt.Errorf("cannot encode the index: %w", err)
	}
	if err := os.WriteFile(filepath.Join(destination, "index.yaml"), content, 0o644); err != nil {
		return fmt.Errorf("cannot store the index: %w", err)
	}
	return nil
}

// archive packs the files below one directory, the chart's own Chart.yaml first.
func archive(name string, files map[string][]byte) ([]byte, error) {
	paths := make([]string, 0, len(files))
	for p := range files {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int {
		if first := cmp.Compare(depth(a), depth(b)); first != 0 {
			return first
		}
		return strings.Compare(a, b)
	})
	var packed bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	writer := tar.NewWriter(compressed)
	for _, p := range paths {
		header := &tar.Header{Name: path.Join(name, p), Mode: 0o644, Size: int64(len(files[p])), ModTime: created, Format: tar.FormatUSTAR}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(files[p]); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func depth(p string) int { return strings.Count(p, "/") }
