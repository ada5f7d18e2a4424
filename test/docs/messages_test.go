package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var message = regexp.MustCompile("(?m)^### `([^`]*)`$")

// TestMessages: what troubleshooting.md explains is what the programs say.
func TestMessages(t *testing.T) {
	var lines []string
	err := filepath.WalkDir("../../pkg", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		lines = append(lines, strings.Split(string(text), "\n")...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page := pages(t)["docs/troubleshooting.md"]
	found := message.FindAllStringSubmatch(page, -1)
	if len(found) < 30 || len(found) != strings.Count(page, "\n### ") {
		t.Errorf("%d of the %d headings are messages", len(found), strings.Count(page, "\n### "))
	}
	for _, m := range found {
		if !said(lines, m[1]) {
			t.Errorf("no program says: %s", m[1])
		}
	}
	if said(lines, "there is no Service … on the moon") {
		t.Error("the search finds what nobody says")
	}
}

// said looks for a line of code that holds the parts of a message between the
// dots, in their order.
func said(lines []string, message string) bool {
	for _, line := range lines {
		rest, ok := line, true
		for part := range strings.SplitSeq(message, "…") {
			_, rest, ok = strings.Cut(rest, part)
			if !ok {
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}
