//go:build benchmark

package benchmark

import (
	"cmp"
	"os"
	"strings"
	"testing"
)

// tableFile is the document; BENCHMARK_TABLE names another one.
func tableFile() string {
	return cmp.Or(os.Getenv("BENCHMARK_TABLE"), "../../docs/benchmarks.md")
}

const (
	preface = `# Benchmarks

Written by "make benchmark". Absolute figures belong to the machine; the ratios,
measured against the named peer in the same run, are what is compared.
`
)

// writeSection replaces one section of the document, or adds it at the end. What
// stands before the first section, such as on which machine it was, stays.
func writeSection(t *testing.T, heading, body string) {
	t.Helper()
	t.Logf("%s\n\n%s", heading, body)
	old, err := os.ReadFile(tableFile())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(old), "\n## ")
	var sections []string
	replaced := false
	for section := range strings.SplitSeq(rest, "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		switch {
		case title == heading:
			replaced = true
			sections = append(sections, heading+"\n"+body)
		case title != "":
			sections = append(sections, strings.TrimRight(section, "\n")+"\n")
		}
	}
	if !replaced {
		sections = append(sections, heading+"\n"+body)
	}
	text := cmp.Or(before, preface) + "\n## " + strings.Join(sections, "\n## ")
	if err := os.WriteFile(tableFile(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
