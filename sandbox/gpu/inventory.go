package gpu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const inventoryFile = "inventory.json"

// Device is one GPU of the node, as its driver describes it.
type Device struct {
	Index            int     `json:"index"`
	UUID             string  `json:"uuid"`
	Name             string  `json:"name"`
	PCIBusID         string  `json:"pci_bus_id"`
	MemoryTotalBytes uint64  `json:"memory_total_bytes"`
	IdlePowerW       float64 `json:"idle_power_w"`
	LimitPowerW      float64 `json:"limit_power_w"`

	// Clocks reached under load; zero means those of an A100.
	SMClockMaxMHz     float64 `json:"sm_clock_max_mhz,omitempty"`
	MemoryClockMaxMHz float64 `json:"memory_clock_max_mhz,omitempty"`
}

// WriteInventory describes the node's GPUs in dir, which it creates, and
// starts their clocks. Writing it again changes the descriptions and leaves
// the accounting of devices already known untouched.
func WriteInventory(dir string, devices []Device) error {
	if err := validate(devices); err != nil {
		return fmt.Errorf("write the GPU inventory in %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the directory of the GPU inventory: %w", err)
	}
	for _, device := range devices {
		if err := createShared(dir, device.UUID); err != nil {
			return fmt.Errorf("create the accounting file of GPU %s: %w", device.UUID, err)
		}
	}
	data, err := json.MarshalIndent(devices, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the GPU inventory: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, inventoryFile), append(data, '\n')); err != nil {
		return fmt.Errorf("write the GPU inventory: %w", err)
	}
	return nil
}

// ReadInventory returns the node's GPUs in the order they were written.
func ReadInventory(dir string) ([]Device, error) {
	path := filepath.Join(dir, inventoryFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no GPU inventory at %s; is this directory that of a GPU node? %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the GPU inventory: %w", err)
	}
	var devices []Device
	if err := json.Unmarshal(data, &devices); err != nil {
		return nil, fmt.Errorf("the GPU inventory %s is not valid JSON: %w", path, err)
	}
	if err := validate(devices); err != nil {
		return nil, fmt.Errorf("the GPU inventory %s: %w", path, err)
	}
	return devices, nil
}

func validate(devices []Device) error {
	indexes, uuids := map[int]bool{}, map[string]bool{}
	for _, d := range devices {
		powerOK := d.IdlePowerW >= 0 && d.IdlePowerW < d.LimitPowerW // false for NaN
		switch {
		case d.UUID == "" || d.UUID == "." || d.UUID == ".." || strings.ContainsAny(d.UUID, "/\x00"):
			return fmt.Errorf("device %d has the unusable UUID %q", d.Index, d.UUID)
		case uuids[d.UUID]:
			return fmt.Errorf("UUID %s is given twice", d.UUID)
		case d.Index < 0:
			return fmt.Errorf("device %s has the negative index %d", d.UUID, d.Index)
		case indexes[d.Index]:
			return fmt.Errorf("index %d is given twice", d.Index)
		case d.MemoryTotalBytes == 0:
			return fmt.Errorf("device %s has no memory", d.UUID)
		case !powerOK:
			return fmt.Errorf("device %s needs 0 <= idle power < power limit, but has %g W and %g W", d.UUID, d.IdlePowerW, d.LimitPowerW)
		case d.SMClockMaxMHz < 0 || d.MemoryClockMaxMHz < 0:
			return fmt.Errorf("device %s has a negative clock", d.UUID)
		}
		indexes[d.Index], uuids[d.UUID] = true, true
	}
	return nil
}

// replaceFile makes readers see either the old content or the new one.
func replaceFile(path string, data []byte) error {
	tmp, err := writeTemporary(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

func writeTemporary(path string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
