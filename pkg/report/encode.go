package report

import (
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"
)

// JSON writes a result, a *Bench or a *Stack, as one indented JSON document.
func JSON(w io.Writer, b any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return fmt.Errorf("could not write the result as JSON: %w", err)
	}
	return nil
}

// YAML writes a result as one YAML document with the same fields as JSON.
func YAML(w io.Writer, b any) error {
	out, err := yaml.Marshal(b)
	if err != nil {
		return fmt.Errorf("could not write the result as YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}
