package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/yaml"
)

// maxValuesBytes bounds a values file; Kubernetes could not store a release
// with more.
const maxValuesBytes = 4 << 20

// Values are what a chart's templates are filled with: YAML as Go has it, with
// map[string]any for each map.
type Values map[string]any

// ReadValues reads values as helm's flags -f, --set, --set-string and --set-file
// have them: files first, each over the one before, then the settings. Errors
// say which of them is wrong.
func ReadValues(files []string, sets, setStrings, setFiles []string) (Values, error) {
	values := Values{}
	for _, name := range files {
		if name == "-" {
			return nil, errors.New("values can't be read from standard input (-f -): write them to a file and give its name")
		}
		data, err := readValuesFile(name)
		if err != nil {
			return nil, fmt.Errorf("could not read the values file %s: %w", name, err)
		}
		layer, err := ParseValues(data, name)
		if err != nil {
			return nil, err
		}
		values = Merge(values, layer)
	}
	fromFile := func(name []rune) (any, error) {
		data, err := readValuesFile(string(name))
		return string(data), err
	}
	for _, flag := range []struct {
		name   string
		values []string
		parse  func(string) error
	}{
		{"--set", sets, func(s string) error { return strvals.ParseInto(s, values) }},
		{"--set-string", setStrings, func(s string) error { return strvals.ParseIntoString(s, values) }},
		{"--set-file", setFiles, func(s string) error { return strvals.ParseIntoFile(s, values, fromFile) }},
	} {
		for _, s := range flag.values {
			if err := flag.parse(s); err != nil {
				// Of the setting only its key: the value may be a secret.
				key, _, _ := strings.Cut(s, "=")
				return nil, fmt.Errorf("%s %s=… can't be used: %w; write key.below=value, with a \\ before a comma or dot that belongs to the text", flag.name, key, err)
			}
		}
	}
	return values, nil
}

// readValuesFile reads a local file, not too large a one.
func readValuesFile(name string) ([]byte, error) {
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return nil, errors.New("it is an address; download it and give the file")
	}
	info, err := os.Stat(name)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, path.Err
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case info.Size() > maxValuesBytes:
		return nil, fmt.Errorf("it has %d bytes; at most %d are accepted", info.Size(), maxValuesBytes)
	}
	return os.ReadFile(name)
}

// ParseValues reads one YAML or JSON document whose top level is a map; an
// empty one gives empty values. A key that appears twice in a map is refused.
// name says in errors what was read.
func ParseValues(data []byte, name string) (Values, error) {
	var document any
	if err := yaml.UnmarshalStrict(data, &document); err != nil {
		return nil, fmt.Errorf("%s is not a values file: %w", name, err)
	}
	switch d := document.(type) {
	case nil:
		return Values{}, nil
	case map[string]any:
		return d, nil
	default:
		return nil, fmt.Errorf("%s is not a values file: its top level is %s, but must be keys with values", name, yamlKind(d))
	}
}

func yamlKind(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case string:
		return "a text"
	}
	return fmt.Sprintf("the single value %v", v)
}

// Merge lays the layers over each other: later ones win, maps are merged, lists
// and all else are replaced. A null stays in the result as a null: that is how
// Helm is told to take a chart's default away. The layers are not changed and
// share nothing with the result.
func Merge(layers ...Values) Values {
	merged := Values{}
	for _, layer := range layers {
		mergeInto(merged, layer)
	}
	return merged
}

func mergeInto(to, from map[string]any) {
	for k, v := range from {
		v = clone(v)
		above, isTable := v.(map[string]any)
		below, isTableBelow := to[k].(map[string]any)
		if isTable && isTableBelow {
			mergeInto(below, above)
			continue
		}
		to[k] = v
	}
}

// clone copies maps and lists to any depth; each map becomes a plain one.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = clone(e)
		}
		return c
	case Values:
		return clone(map[string]any(v))
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	}
	return v
}
