package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// gpuResource is the extended resource of NVIDIA's device plugin.
const gpuResource corev1.ResourceName = "nvidia.com/gpu"

// Allocation says which container holds a GPU. The file of all allocations of
// a node stands for the kubelet's pod-resources endpoint.
type Allocation struct {
	UUID      string `json:"uuid"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`

	podUID types.UID
}

// devices allocates the GPUs of one node to containers.
type devices struct {
	mu    sync.Mutex
	path  string
	uuids []string
	held  []Allocation
}

func newDevices(path string, uuids []string) (*devices, error) {
	d := &devices{path: path, uuids: uuids}
	return d, d.save()
}

// allocate gives every container of the pod the GPUs that its limits ask for,
// or none to any. It returns the UUIDs by container name.
func (d *devices) allocate(pod *corev1.Pod) (map[string][]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	busy := map[string]bool{}
	for _, a := range d.held {
		busy[a.UUID] = true
	}
	var free []string
	for _, uuid := range d.uuids {
		if !busy[uuid] {
			free = append(free, uuid)
		}
	}
	granted := map[string][]string{}
	held := d.held
	for _, c := range pod.Spec.Containers {
		quantity, ok := c.Resources.Limits[gpuResource]
		if !ok || quantity.IsZero() {
			continue
		}
		want := int(quantity.Value())
		if want > len(free) {
			return nil, fmt.Errorf("container %s asks for %d of %s, but only %d are free on the node", c.Name, want, gpuResource, len(free))
		}
		for _, uuid := range free[:want] {
			held = append(held, Allocation{UUID: uuid, Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name, podUID: pod.UID})
		}
		granted[c.Name], free = free[:want], free[want:]
	}
	if len(granted) == 0 {
		return nil, nil
	}
	d.held = held
	return granted, d.save()
}

func (d *devices) release(pod types.UID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var kept []Allocation
	for _, a := range d.held {
		if a.podUID != pod {
			kept = append(kept, a)
		}
	}
	if len(kept) == len(d.held) {
		return nil
	}
	d.held = kept
	return d.save()
}

// save replaces the file at once, so that no reader sees half of it.
func (d *devices) save() error {
	held := d.held
	if held == nil {
		held = []Allocation{}
	}
	content, err := json.MarshalIndent(held, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the GPU allocations: %w", err)
	}
	next := filepath.Join(filepath.Dir(d.path), "."+filepath.Base(d.path))
	if err := os.WriteFile(next, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot store the GPU allocations: %w", err)
	}
	if err := os.Rename(next, d.path); err != nil {
		return fmt.Errorf("cannot store the GPU allocations: %w", err)
	}
	return nil
}
