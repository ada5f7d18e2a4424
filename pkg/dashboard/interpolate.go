package dashboard

import (
	"regexp"
	"strings"
)

// reference is one use of a variable: $name, ${name}, ${name:format} or
// [[name]], as Grafana's template engine reads them. $1 is left to PromQL.
var reference = regexp.MustCompile(`\$([A-Za-z_]\w*)|\$\{(\w+)(?:\.[^:^}]+)?(?::([^}]+))?\}|\[\[(\w+?)(?::(\w+))?\]\]`)

// Interpolate replaces the variables in a query. value returns what stands for
// a variable in the given format ("" for none); a variable that it doesn't know
// stays as it is.
func Interpolate(query string, value func(name, format string) (string, bool)) string {
	return reference.ReplaceAllStringFunc(query, func(use string) string {
		m := reference.FindStringSubmatch(use)
		if v, ok := value(m[1]+m[2]+m[4], m[3]+m[5]); ok {
			return v
		}
		return use
	})
}

// Uses are the names of the variables in a query, in order, with repetitions.
func Uses(query string) []string {
	var names []string
	for _, m := range reference.FindAllStringSubmatch(query, -1) {
		names = append(names, m[1]+m[2]+m[4])
	}
	return names
}

// builtin tells whether Grafana itself sets a variable: $__rate_interval,
// $__from, $timeFilter.
func builtin(name string) bool { return strings.HasPrefix(name, "__") || name == "timeFilter" }

// parsable are forms of a query in which each variable is replaced by something
// that can stand in its place, so that PromQL's parser can read it. Where a
// variable outside of a string may be a name or a number, both are tried.
func parsable(query string) []string {
	forms := make([]string, 0, 2)
	for _, free := range []string{"x", "1"} {
		forms = append(forms, replaceAll(query, free))
	}
	return forms
}

func replaceAll(query, free string) string {
	var b strings.Builder
	last := 0
	for _, m := range reference.FindAllStringSubmatchIndex(query, -1) {
		b.WriteString(query[last:m[0]])
		name := ""
		for _, group := range []int{1, 2, 4} {
			if m[2*group] >= 0 {
				name = query[m[2*group]:m[2*group+1]]
			}
		}
		b.WriteString(standIn(query, m[0], m[1], name, free))
		last = m[1]
	}
	b.WriteString(query[last:])
	return b.String()
}

// standIn is the replacement of the variable at query[from:to].
func standIn(query string, from, to int, name, free string) string {
	quoted, inRange := context(query[:from])
	switch {
	case quoted:
		return "x"
	case name == "__interval_ms" || name == "__range_s" || name == "__range_ms" || name == "__from" || name == "__to":
		return "1"
	case inRange || builtin(name):
		if to < len(query) && query[to] >= 'a' && query[to] <= 'z' {
			return "5" // the unit follows
		}
		return "5m"
	}
	return free
}

// context tells whether a query's end is in a string and whether in brackets.
func context(before string) (quoted, inRange bool) {
	var quote byte
	depth := 0
	for i := 0; i < len(before); i++ {
		c := before[i]
		switch {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth--
		}
	}
	return quote != 0, depth > 0
}
