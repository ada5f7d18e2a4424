package gpu

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testUUID = "GPU-5c1f3a52-0d7e-4c4e-9b39-6a1d7a1c0001"

func testDevice() Device {
	return Device{
		Index: 0, UUID: testUUID, Name: "NVIDIA A100-SXM4-40GB", PCIBusID: "00000000:07:00.0",
		MemoryTotalBytes: 40 << 30, IdlePowerW: 50, LimitPowerW: 400,
	}
}

func testNode(t *testing.T, devices ...Device) string {
	t.Helper()
	if len(devices) == 0 {
		devices = []Device{testDevice()}
	}
	dir := t.TempDir()
	if err := WriteInventory(dir, devices); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInventoryRoundTrip(t *testing.T) {
	second := testDevice()
	second.Index, second.UUID, second.SMClockMaxMHz = 1, "GPU-2", 1980
	want := []Device{testDevice(), second}
	dir := testNode(t, want...)
	got, err := ReadInventory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("read %+v, want %+v", got, want)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*.*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files %v left behind (%v)", left, err)
	}
}

func TestInventoryRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Device)
		want   string
	}{
		"no UUID":            {func(d *Device) { d.UUID = "" }, "unusable UUID"},
		"a path as UUID":     {func(d *Device) { d.UUID = "../x" }, "unusable UUID"},
		"dots as UUID":       {func(d *Device) { d.UUID = ".." }, "unusable UUID"},
		"UUID twice":         {func(d *Device) { d.UUID = "GPU-first" }, "given twice"},
		"index twice":        {func(d *Device) { d.Index = 0 }, "given twice"},
		"negative index":     {func(d *Device) { d.Index = -1 }, "negative index"},
		"no memory":          {func(d *Device) { d.MemoryTotalBytes = 0 }, "no memory"},
		"idle above limit":   {func(d *Device) { d.IdlePowerW = 500 }, "idle power"},
		"power not a number": {func(d *Device) { d.IdlePowerW = math.NaN() }, "idle power"},
		"negative clock":     {func(d *Device) { d.SMClockMaxMHz = -1 }, "negative clock"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := testDevice(), testDevice()
			first.UUID, second.Index = "GPU-first", 1
			tc.change(&second)
			err := WriteInventory(t.TempDir(), []Device{first, second})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestReadInventoryRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"empty":           {"", "not valid JSON"},
		"wrong type":      {`{"index":0}`, "not valid JSON"},
		"impossible":      {`[{"index":0,"uuid":"GPU-1"}]`, "no memory"},
		"nothing written": {"-", "is this directory that of a GPU node?"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.content != "-" {
				if err := os.WriteFile(filepath.Join(dir, inventoryFile), []byte(tc.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := ReadInventory(dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ReadInventory: got %v, want an error with %q", err, tc.want)
			}
			if _, err := NewTelemetry(dir); err == nil {
				t.Error("NewTelemetry accepted it")
			}
			if _, err := OpenAccounting(dir, testUUID, "p"); err == nil {
				t.Error("OpenAccounting accepted it")
			}
		})
	}
}

func TestDamagedAccountingFileIsRefused(t *testing.T) {
	for name, content := range map[string][]byte{
		"empty":        nil,
		"other format": make([]byte, sharedSize),
	} {
		t.Run(name, func(t *testing.T) {
			dir := testNode(t)
			if err := os.WriteFile(sharedPath(dir, testUUID), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenAccounting(dir, testUUID, "p"); err == nil || !strings.Contains(err.Error(), "not an accounting file") {
				t.Errorf("got %v", err)
			}
			if _, err := NewTelemetry(dir); err == nil {
				t.Error("NewTelemetry accepted it")
			}
		})
	}
}

func TestRewritingTheInventoryKeepsTheAccounting(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	a.SetMemoryBytes(123)
	renamed := testDevice()
	renamed.Name = "renamed"
	if err := WriteInventory(dir, []Device{renamed}); err != nil {
		t.Fatal(err)
	}
	tel := watch(t, dir)
	if s := sampleNow(t, tel); s.MemoryUsedBytes != 123 || s.Device.Name != "renamed" {
		t.Errorf("after rewriting the inventory: %+v", s)
	}
}
