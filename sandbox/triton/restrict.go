package triton

import (
	"fmt"
	"slices"
	"strings"
)

// restrictions are the APIs that need a header with a secret value, by name.
type restrictions map[string]restriction

type restriction struct{ header, value string }

func restrictable() []string {
	return []string{"health", "metadata", "inference", "shared-memory", "model-config", "model-repository", "statistics", "trace", "logging"}
}

// add reads api[,api…]:header=value, as the flags have it.
func (r restrictions) add(flag string) error {
	apis, key, ok := strings.Cut(flag, ":")
	header, value, hasValue := strings.Cut(key, "=")
	if !ok || !hasValue || header == "" {
		return fmt.Errorf("a restriction is written API,API:header=value, not %q", flag)
	}
	for api := range strings.SplitSeq(apis, ",") {
		if !slices.Contains(restrictable(), api) {
			return fmt.Errorf("unknown restricted API %q; known are %s", api, strings.Join(restrictable(), ", "))
		}
		if _, twice := r[api]; twice {
			return fmt.Errorf("API %q is restricted twice", api)
		}
		r[api] = restriction{header: header, value: value}
	}
	return nil
}

// protocolOf is the API that a gRPC method belongs to.
func protocolOf(method string) string {
	switch name := method[strings.LastIndex(method, "/")+1:]; {
	case strings.HasSuffix(name, "Infer"):
		return "inference"
	case strings.HasPrefix(name, "Repository"):
		return "model-repository"
	case strings.Contains(name, "SharedMemory"):
		return "shared-memory"
	case strings.HasSuffix(name, "Metadata"):
		return "metadata"
	case name == "ModelConfig":
		return "model-config"
	case name == "ModelStatistics":
		return "statistics"
	case name == "TraceSetting":
		return "trace"
	case name == "LogSettings":
		return "logging"
	}
	return "health"
}
