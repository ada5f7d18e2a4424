// Command package-charts writes the sandbox's stand-in charts as a Helm
// repository: one archive per chart and an index. The same sources give the
// same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	source := flag.String("source", "charts", "directory that holds one directory per chart")
	crds := flag.String("crds", "", "directory of the custom resource definitions that go into kube-prometheus-stack")
	destination := flag.String("destination", "", "directory of the repository")
	flag.Parse()
	if err := run(*source, *crds, *destination); err != nil {
		fmt.Fprintln(os.Stderr, "package-charts:", err)
		os.Exit(1)
	}
}

func run(source, crds, destination string) error {
	if crds == "" || destination == "" {
		return errors.New("both --crds and --destination are needed")
	}
	definitions, err := readDir(crds)
	if err != nil {
		return fmt.Errorf("cannot read the custom resource definitions: %w", err)
	}
	if len(definitions) == 0 {
		return fmt.Errorf("there are no custom resource definitions in %s", crds)
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return fmt.Errorf("cannot read the charts: %w", err)
	}
	if err := os.MkdirAll(destination, 0o755); err != nil {
		return fmt.Errorf("cannot make the repository's directory: %w", err)
	}
	index := index{APIVersion: "v1", Entries: map[string][]entry{}}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "testdata" {
			continue
		}
		files, err := readDir(filepath.Join(source, e.Name()))
		if err != nil {
			return fmt.Errorf("cannot read the chart %s: %w", e.Name(), err)
		}
		if _, ok := files[filepath.Join(crdsChart, "Chart.yaml")]; ok {
			for name, content := range definitions {
				files[filepath.Join(crdsChart, "crds", name)] = content
			}
		}
		if err := index.add(e.Name(), files, destination); err != nil {
			return err
		}
	}
	return index.write(destination)
}
