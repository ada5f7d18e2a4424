package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// holder is the container that holds a GPU.
type holder struct {
	UUID      string `json:"uuid"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
}

// readHolders asks the node agent, as the real exporter asks the kubelet's pod
// resources socket at each scrape. A node without one has no holders.
func readHolders(path string) (map[string]holder, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's pod resources: %w", err)
	}
	var list []holder
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the node's pod resources %s are not valid JSON: %w", path, err)
	}
	holders := make(map[string]holder, len(list))
	for _, h := range list {
		holders[h.UUID] = h
	}
	return holders, nil
}
