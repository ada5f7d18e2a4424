package node

import (
	"regexp"
	"slices"
	"strings"
)

// operatorListening matches the line in which the Prometheus operator tells
// the address that it listens on.
var operatorListening = regexp.MustCompile(`msg="starting (?:in)?secure server" address=(127\.0\.0\.1:[0-9]+)`)

// prepareOperator has the real operator listen on a free loopback port. It asks
// the API server with the pod's own ServiceAccount, by $KUBECONFIG.
func prepareOperator(l *launch) error {
	var arguments []string
	for _, argument := range l.arguments {
		switch name, _, _ := strings.Cut(strings.TrimLeft(argument, "-"), "="); name {
		case "web.listen-address":
		case "log-format": // the announcement is looked for in the default format
		default:
			arguments = append(arguments, argument)
		}
	}
	l.arguments = slices.Concat(arguments, []string{"--web.listen-address=127.0.0.1:0"})
	return nil
}
