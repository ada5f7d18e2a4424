package triton

import (
	"embed"
	"fmt"
	"path"
)

//go:embed models/*.yaml
var modelFiles embed.FS

// DefaultModels returns the model files that the sandbox serves if it is given
// no others: file name to content.
func DefaultModels() map[string]string {
	entries, err := modelFiles.ReadDir("models")
	if err != nil {
		panic(fmt.Sprintf("embedded model files: %v", err)) // the build embeds them
	}
	files := make(map[string]string, len(entries))
	for _, e := range entries {
		data, err := modelFiles.ReadFile(path.Join("models", e.Name()))
		if err != nil {
			panic(fmt.Sprintf("embedded model files: %v", err))
		}
		files[e.Name()] = string(data)
	}
	return files
}
