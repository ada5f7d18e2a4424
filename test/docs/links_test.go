// Package docs tests the documentation: that its links lead somewhere, that what
// it quotes is really said, and (with the build tag e2e) that its commands run.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// pages are the repository's Markdown files, by their path from its root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || name == "bin" || name == "dist" || name == "node_modules" || strings.HasPrefix(name, ".") && name != ".." && name != "../..") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel("../..", path)
		found[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 20 || found["README.md"] == "" {
		t.Fatalf("%d pages were found", len(found))
	}
	return found
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	mention = regexp.MustCompile(`\bdocs/[a-z0-9/-]+\.md(#[a-z0-9-]+)?`)
)

// anchors are those that a page's headings have on GitHub.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		found[anchor(m[1])] = true
	}
	return found
}

func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// TestLinks: relative links lead to files of the repository, anchors to headings.
func TestLinks(t *testing.T) {
	all := pages(t)
	links := 0
	for page, text := range all {
		text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			path, fragment, _ := strings.Cut(target, "#")
			file := page
			if path != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
			}
			if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", page, target, err)
			}
			if fragment != "" && !anchors(all[file])[fragment] {
				t.Errorf("%s: %s has no heading for the link %s", page, file, target)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links were found", links)
	}
}

// TestMentions: what programs and pages call docs/….md is there, with its heading.
func TestMentions(t *testing.T) {
	all := pages(t)
	texts := map[string]string{}
	for page, text := range all {
		texts[page] = text
	}
	for _, dir := range []string{"cmd", "pkg", "hack", "assets", "sandbox/cmd", "sandbox/cluster"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for path, text := range texts {
		for _, m := range mention.FindAllString(text, -1) {
			found++
			file, fragment, _ := strings.Cut(m, "#")
			if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
				t.Errorf("%s speaks of %s: %v", path, m, err)
			} else if fragment != "" && !anchors(all[file])[fragment] {
				t.Errorf("%s speaks of %s, and there is no such heading", path, m)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d mentions were found", found)
	}
}
