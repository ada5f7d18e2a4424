package stack

import (
	"regexp"
	"slices"
	"strings"
)

var (
	keyLine   = regexp.MustCompile(`^(?:([A-Za-z0-9_][A-Za-z0-9_./-]*)|"([^"]+)"|'([^']+)'):(?:[ \t]|$)`)
	blockLine = regexp.MustCompile(`(?:^|[\s:-])[|>][-+0-9]*\s*(?:#.*)?$`)
)

// commentedKeys finds the keys that the comments of a values.yaml document,
// such as "# storageSpec:", and gives their paths. It reads lines, not YAML:
// where a comment could be meant in two ways, or is prose, it says rather too
// much than too little.
func commentedKeys(data []byte) [][]string {
	var (
		found    [][]string
		live     keyStack // the keys that enclose the current line
		comments keyStack // the keys in the current run of comment lines
		block    = -1     // indentation of the line that a block text belongs to
	)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, " \t\r\n")
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if text == "" {
			continue
		}
		if block >= 0 {
			if indent > block {
				continue
			}
			block = -1
		}
		if !strings.HasPrefix(text, "#") {
			comments = nil
			if blockLine.MatchString(text) {
				block = indent
			}
			if key := keyOf(text); key != "" {
				live.enter(indent, key)
			}
			continue
		}
		text = strings.TrimLeft(text, "#")
		comment := strings.TrimLeft(text, " ")
		spaces := len(text) - len(comment)
		key := keyOf(comment)
		if key == "" {
			continue
		}
		// The comment as it would stand with "# " taken away.
		at := indent + max(spaces-1, 0)
		parent := slices.Concat(live.above(at), comments.above(at))
		found = append(found, append(parent, key))
		// A "#" in the first column may also stand for the first space.
		if indent == 0 && spaces > 1 {
			if parent := live.above(1 + spaces); len(parent) > 0 {
				found = append(found, append(parent, key))
			}
		}
		comments.enter(at, key)
	}
	return found
}

// keyOf is the key that a line begins with; "" for none.
func keyOf(text string) string {
	m := keyLine.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}

// keyStack is a path of keys with their indentation, which grows inwards.
type keyStack []struct {
	indent int
	key    string
}

// enter leaves what the new key is not below of, and adds it.
func (s *keyStack) enter(indent int, key string) {
	for len(*s) > 0 && (*s)[len(*s)-1].indent >= indent {
		*s = (*s)[:len(*s)-1]
	}
	*s = append(*s, struct {
		indent int
		key    string
	}{indent, key})
}

// above is the path of the keys that something at an indentation is below of.
func (s keyStack) above(indent int) []string {
	var path []string
	for _, k := range s {
		if k.indent >= indent {
			break
		}
		path = append(path, k.key)
	}
	return path
}
