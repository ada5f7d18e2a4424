package grafana

import "strings"

// Grafana keeps a tag as a key and, after the first colon, a value.
type tagPair struct{ key, value string }

// parseTags drops empty tags and repeated ones.
func parseTags(tags []string) []tagPair {
	var pairs []tagPair
	seen := map[tagPair]bool{}
	for _, tag := range tags {
		key, value, _ := strings.Cut(tag, ":")
		pair := tagPair{strings.TrimSpace(key), strings.TrimSpace(value)}
		if pair.key == "" || seen[pair] {
			continue
		}
		seen[pair] = true
		pairs = append(pairs, pair)
	}
	return pairs
}

func joinTags(pairs []tagPair) []string {
	tags := make([]string, len(pairs))
	for i, p := range pairs {
		tags[i] = p.String()
	}
	return tags
}

func (p tagPair) String() string {
	if p.value == "" {
		return p.key
	}
	return p.key + ":" + p.value
}

// tagsMatch says whether an annotation's tags answer a query. A wanted tag
// without a value matches any value of its key. As in Grafana's own query, all
// of the wanted tags match when the number of matching tags equals theirs.
func tagsMatch(have, want []string, matchAny bool) bool {
	wanted := parseTags(want)
	if len(wanted) == 0 {
		return true
	}
	matching := 0
	for _, h := range parseTags(have) {
		for _, w := range wanted {
			if h.key == w.key && (w.value == "" || h.value == w.value) {
				matching++
				break
			}
		}
	}
	if matchAny {
		return matching > 0
	}
	return matching == len(wanted)
}

const maxTagsBytes = 500

// encodedTagsLength is the length of the tags as a JSON array.
func encodedTagsLength(tags []string) int {
	length := 2
	for i, tag := range tags {
		length += len(tag) + 2
		if i > 0 {
			length++
		}
	}
	return length
}
