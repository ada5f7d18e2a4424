package workload

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestParsePorts(t *testing.T) {
	tests := []struct {
		name    string
		env     map[string]string
		want    []int
		wantErr string
	}{
		{name: "not activated", env: nil},
		{name: "two ports", env: map[string]string{EnvCount: "2", EnvNames: "8000:8001"}, want: []int{8000, 8001}},
		{name: "own pid", env: map[string]string{EnvCount: "1", EnvNames: "9400", EnvPID: "42"}, want: []int{9400}},
		{name: "other pid", env: map[string]string{EnvCount: "1", EnvNames: "9400", EnvPID: "43"}},
		{name: "no descriptors", env: map[string]string{EnvCount: "0"}},
		{name: "count is no number", env: map[string]string{EnvCount: "x"}, wantErr: "must be a number"},
		{name: "count and names differ", env: map[string]string{EnvCount: "2", EnvNames: "8000"}, wantErr: "announces 2 descriptors"},
		{name: "name is no port", env: map[string]string{EnvCount: "1", EnvNames: "http"}, wantErr: "not a container port"},
		{name: "port out of range", env: map[string]string{EnvCount: "1", EnvNames: "65536"}, wantErr: "not a container port"},
		{name: "port twice", env: map[string]string{EnvCount: "2", EnvNames: "1:1"}, wantErr: "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePorts(func(k string) string { return tt.env[k] }, 42)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error = %v, want one that contains %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("ports = %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("ports = %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// TestListenersInChild starts this test binary as the agent would start a
// program, and talks to the listener that the child inherits.
func TestListenersInChild(t *testing.T) {
	if os.Getenv("WORKLOAD_TEST_CHILD") == "1" {
		serveOnce(t)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestListenersInChild$")
	child.Env = append(os.Environ(), "WORKLOAD_TEST_CHILD=1", EnvCount+"=1", EnvNames+"=8000")
	child.ExtraFiles = []*os.File{file}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	file.Close()

	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 16)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "port 8000" {
		t.Errorf("read %q, %v; want the child's greeting", buf[:n], err)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a dead process's port still accepts connections")
	}
}

func serveOnce(t *testing.T) {
	listeners, err := Listeners()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listeners[8000].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("port 8000")); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptRefusesOtherDescriptors(t *testing.T) {
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adopt([]int{8000}, fd); err == nil || !strings.Contains(err.Error(), "container port 8000") {
		t.Errorf("error = %v, want one that names the container port", err)
	}
}
