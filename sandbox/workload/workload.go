// Package workload is the process side of the sandbox's socket activation: a
// program that the node agent starts as a container asks it for the listeners
// of its container ports.
//
// The agent opens one loopback listener per container port and passes it as an
// inherited file descriptor, from 3 on. LISTEN_FDS holds their number and
// LISTEN_FDNAMES the container ports in the same order, separated by colons,
// as in sd_listen_fds(3). LISTEN_PID is checked when it is set.
package workload

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	firstInheritedFD = 3

	// EnvCount names the variable that holds the number of inherited listeners.
	EnvCount = "LISTEN_FDS"
	// EnvNames names the variable that holds their container ports, colon-separated.
	EnvNames = "LISTEN_FDNAMES"
	// EnvPID names the variable that says which process the listeners are for; empty means any.
	EnvPID = "LISTEN_PID"
)

// Listeners returns the inherited listeners by container port, for example
// 8000. The map is empty when the process was not started by a node agent. The
// descriptors are consumed: a second call finds them closed.
func Listeners() (map[int]net.Listener, error) {
	ports, err := parsePorts(os.Getenv, os.Getpid())
	if err != nil {
		return nil, err
	}
	return adopt(ports, firstInheritedFD)
}

func adopt(ports []int, firstFD int) (map[int]net.Listener, error) {
	listeners := make(map[int]net.Listener, len(ports))
	for i, port := range ports {
		fd := firstFD + i
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), fmt.Sprintf("container-port-%d", port))
		l, err := net.FileListener(file)
		err = errors.Join(err, file.Close())
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return nil, fmt.Errorf("inherited descriptor %d for container port %d is not a usable listener: %w", fd, port, err)
		}
		listeners[port] = l
	}
	return listeners, nil
}

func parsePorts(getenv func(string) string, pid int) ([]int, error) {
	count := getenv(EnvCount)
	if count == "" {
		return nil, nil
	}
	if want := getenv(EnvPID); want != "" && want != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%s is %q; it must be a number of descriptors", EnvCount, count)
	}
	if n == 0 {
		return nil, nil
	}
	names := strings.Split(getenv(EnvNames), ":")
	if len(names) != n {
		return nil, fmt.Errorf("%s announces %d descriptors but %s names %d", EnvCount, n, EnvNames, len(names))
	}
	ports := make([]int, n)
	seen := make(map[int]bool, n)
	for i, name := range names {
		port, err := strconv.Atoi(name)
		if err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("%s names %q, which is not a container port (1-65535)", EnvNames, name)
		}
		if seen[port] {
			return nil, fmt.Errorf("%s names container port %d twice", EnvNames, port)
		}
		seen[port] = true
		ports[i] = port
	}
	return ports, nil
}
